//! From when until when a certificate is good, as people read it.

use std::fmt;
use std::time::SystemTime;

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// A moment, in seconds since 1970; shown in UTC, to the minute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date(i64);

impl Date {
    /// So many seconds after 1970 began.
    pub fn from_unix(seconds: i64) -> Self {
        Date(seconds)
    }

    /// By this machine's clock. One that stands before 1970 is as wrong as one at 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Date(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Whole days from here to `later`.
    pub fn days_until(self, later: Date) -> i64 {
        later.0.saturating_sub(self.0) / (24 * 60 * 60)
    }

    pub(super) fn unix(self) -> u64 {
        u64::try_from(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = ASN1Time::from_timestamp(self.0) else {
            return write!(out, "{} s after 1970", self.0);
        };
        let time = time.to_datetime();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        write!(out, "{year}-{month:02}-{day:02} {:02}:{:02} UTC", time.hour(), time.minute())
    }
}

/// When a certificate is good (RFC 5280, section 4.1.2.5): both ends are in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// `notBefore`.
    pub from: Date,
    /// `notAfter`.
    pub until: Date,
}

impl Validity {
    /// What the certificate with this DER says; `None` if it is none.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let date = |time: &ASN1Time| Date(time.timestamp());
        Some(Validity { from: date(&validity.not_before), until: date(&validity.not_after) })
    }

    /// How it stands at `now`.
    pub fn standing(&self, now: Date) -> Standing {
        if now < self.from {
            Standing::NotYet
        } else if now > self.until {
            Standing::Expired
        } else {
            Standing::Good
        }
    }
}

/// How a certificate stands at some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is not good yet.
    NotYet,
    /// It is good.
    Good,
    /// It is no longer good.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_for_people() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (1_795_884_483, "2026-11-28 16:48 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (i64::MAX, "9223372036854775807 s after 1970"),
        ] {
            assert_eq!(Date::from_unix(seconds).to_string(), text);
        }
        assert_eq!(Date(0).days_until(Date(30 * 24 * 60 * 60 + 7)), 30);
        assert_eq!(Date(i64::MIN).days_until(Date(i64::MAX)), i64::MAX / (24 * 60 * 60));
    }

    #[test]
    fn both_ends_are_good() {
        let validity = Validity { from: Date(10), until: Date(20) };
        let standings = [9, 10, 20, 21].map(|now| validity.standing(Date(now)));
        assert_eq!(standings, [Standing::NotYet, Standing::Good, Standing::Good, Standing::Expired]);
        assert_eq!(Validity::of(b"no certificate"), None);
    }
}
