//! What makes a party show that it gets what is sent to its address, without remembering that it was asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ring::hmac;
use ring::rand::SystemRandom;
use rrto_quic::relay::wire::{COOKIE_BYTES, Cookie};

/// How long a cookie is good. Longer than a client is silent (15 s), shorter than a flow is kept that is, so that
/// nothing that was recorded outlives what it was recorded of.
pub(super) const COOKIE_LIFE: Duration = Duration::from_secs(40);

/// Bytes of the time in a cookie.
const TIME_BYTES: usize = 8;

/// Makes cookies: the time, and its HMAC with the address. The key is drawn when the relay starts, and so an earlier
/// run's cookies are no good.
pub(super) struct Cookies(hmac::Key);

impl Cookies {
    pub(super) fn new() -> io::Result<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(Cookies)
            .map_err(|_| io::Error::other("the system gives no random bytes"))
    }

    /// For whoever is at `address`; `now` is since the relay started.
    pub(super) fn mint(&self, address: SocketAddr, now: Duration) -> Cookie {
        let time = micros(now).to_be_bytes();
        let tag = hmac::sign(&self.0, &authenticated(time, address));
        let mut cookie = [0; COOKIE_BYTES];
        for (to, from) in cookie.iter_mut().zip(time.iter().chain(tag.as_ref())) {
            *to = *from;
        }
        Cookie(cookie)
    }

    /// When it was made, microseconds, if it was made here for this address and is not too old.
    pub(super) fn open(&self, cookie: &Cookie, address: SocketAddr, now: Duration) -> Option<u64> {
        let (time, tag) = cookie.0.split_first_chunk::<TIME_BYTES>()?;
        hmac::verify(&self.0, &authenticated(*time, address), tag).ok()?;
        let made = u64::from_be_bytes(*time);
        (micros(now).checked_sub(made)? <= micros(COOKIE_LIFE)).then_some(made)
    }
}

fn authenticated(time: [u8; TIME_BYTES], address: SocketAddr) -> Vec<u8> {
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    [&time[..], &ip.octets(), &address.port().to_be_bytes()].concat()
}

/// 584,000 years of them fit.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_at_its_address_and_for_its_time() {
        let (cookies, others) = (Cookies::new().unwrap(), Cookies::new().unwrap());
        let here = ([192, 0, 2, 1], 5).into();
        let made = Duration::from_micros(1_000_001);
        let cookie = cookies.mint(here, made);
        for (later, good) in
            [(Duration::ZERO, true), (COOKIE_LIFE, true), (COOKIE_LIFE + Duration::from_micros(1), false)]
        {
            assert_eq!(cookies.open(&cookie, here, made + later), good.then_some(1_000_001));
        }
        assert_eq!(cookies.open(&cookie, here, made - Duration::from_micros(1)), None);
        for elsewhere in [
            ([192, 0, 2, 1], 6).into(),
            ([192, 0, 2, 2], 5).into(),
            ([0xfd00_u16, 0, 0, 0, 0, 0, 0, 1], 5).into(),
        ] {
            assert_eq!(cookies.open(&cookie, elsewhere, made), None);
        }
        assert_eq!(others.open(&cookie, here, made), None);
        assert_eq!(cookies.open(&Cookie::NONE, here, made), None);
        for bit in 0..COOKIE_BYTES * 8 {
            let mut forged = cookie;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cookies.open(&forged, here, made), None);
        }
    }
}
