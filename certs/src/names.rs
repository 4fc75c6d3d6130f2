//! What may be a name in a certificate, and so in a path or an address.

use std::net::IpAddr;

use crate::CertsError;

/// The longest common name that X.520 allows (`ub-common-name`).
const MAX_COMMON_NAME_CHARS: usize = 64;

/// The longest host name, and the longest part of one between dots (RFC 1035).
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Refuses a robot's name that is not safe as a file's name and in logs.
pub(crate) fn check_robot(name: &str) -> Result<(), CertsError> {
    check_file_name("a robot", name)
}

/// Refuses a room's name, by the same rule.
pub(crate) fn check_room(name: &str) -> Result<(), CertsError> {
    check_file_name("a room", name)
}

fn check_file_name(what: &'static str, name: &str) -> Result<(), CertsError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = name.len() <= MAX_COMMON_NAME_CHARS
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rule = "use 1 to 64 letters, digits, '-', '_' and '.', starting with a letter or digit";
    check(good, what, name, rule)
}

/// Refuses an authority's name that does not fit a certificate.
pub(crate) fn check_authority(name: &str) -> Result<(), CertsError> {
    let count = name.chars().count();
    let good = (1..=MAX_COMMON_NAME_CHARS).contains(&count) && !name.chars().any(char::is_control);
    check(good, "an authority", name, "use 1 to 64 printable characters")
}

/// Refuses what is neither a host name nor an IP address. Ports and brackets
/// are common mistakes, and would make a certificate that never matches.
pub(crate) fn check_server(name: &str) -> Result<(), CertsError> {
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = name.len() <= MAX_HOST_BYTES && name.split('.').all(label);
    // 10.0.0.256 would pass as a host name.
    let number_last =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let good = name.parse::<IpAddr>().is_ok() || (host && !number_last);
    let rule =
        "give a host name (gpu.example.org) or an IP address (10.0.0.7, fd00::7), without port or brackets";
    check(good, "a server", name, rule)
}

fn check(good: bool, what: &'static str, name: &str, rule: &'static str) -> Result<(), CertsError> {
    if good { Ok(()) } else { Err(CertsError::BadName { what, name: name.to_owned(), rule }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<(), CertsError>;

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(65);
        let cases: [(Check, &[&str], &[&str]); 3] = [
            (
                check_robot,
                &["r", "robot-1", "Spot_2.lab"],
                &["", ".", "..", ".hidden", "-v", "a/b", "a\\b", "../ca", "a b", "a\0", "röbot", &long],
            ),
            (check_authority, &["RRTO authority", "Büro"], &["", "a\nb", &long]),
            (
                check_server,
                &["localhost", "gpu-1.example.org", "10.0.0.7", "::1", "fd00::7"],
                &[
                    "",
                    "host:4433",
                    "[::1]",
                    "10.0.0.256",
                    "a..b",
                    "-a",
                    "a_b",
                    "*.lan",
                    "a b",
                    "host.",
                    &long,
                ],
            ),
        ];
        for (check, good, bad) in cases {
            for name in good {
                assert!(check(name).is_ok(), "{name:?}");
            }
            for name in bad {
                assert!(matches!(check(name), Err(CertsError::BadName { .. })), "{name:?}");
            }
        }
    }
}
