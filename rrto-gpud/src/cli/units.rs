//! Quantities as people write them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Longest time that can be given, seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Units of bytes, in lower case.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// A number of bytes: `4GiB`, `500MB`, `1048576`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a whole number of bytes above 0, such as 4GiB, 500MB or 1048576".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    number.checked_mul(*factor).filter(|bytes| *bytes > 0).ok_or_else(expected)
}

/// A time in seconds: `30`, `0.5`.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let value = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_SECONDS);
    let duration = value.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("expected seconds above 0, up to {MAX_SECONDS}"))
}

/// A TCP address, or a port of this machine's loopback address.
pub(super) fn local_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "expected a port such as 9464, or an address such as 127.0.0.1:9464".to_owned())
}
