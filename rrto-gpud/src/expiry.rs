//! Tells of a server certificate that is no longer good, or soon will not be: robots that do not accept it say so on their side, where
//! nobody can do anything about it.

use std::path::Path;
use std::time::Duration;

use rrto_quic::{Credentials, Date, Standing, Validity};

/// How many days before it expires it is told.
const NOTICE_DAYS: i64 = 30;

/// How often it is looked at: often enough to be told on the day.
const LOOK_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What there is to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Notice {
    /// No robot can connect.
    Bad(String),
    /// They can as yet.
    Soon(String),
}

/// Tells now, and every day for as long as the server runs. Must be called in a tokio runtime.
pub fn watch(credentials: Credentials) {
    tell(&credentials);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            tell(&credentials);
        }
    });
}

fn tell(credentials: &Credentials) {
    match credentials.validity() {
        Ok(validity) => match notice(&credentials.certificate, validity, Date::now()) {
            Some(Notice::Bad(text)) => tracing::error!("{text}"),
            Some(Notice::Soon(text)) => tracing::warn!("{text}"),
            None => {}
        },
        Err(error) => tracing::warn!("{error}"),
    }
}

fn notice(path: &Path, validity: Validity, now: Date) -> Option<Notice> {
    let path = path.display();
    let renewal = "make another one, with `rrto certs DIR --add-server` where its ca.key is, bring it here, and send rrto-gpud a SIGHUP";
    match validity.standing(now) {
        Standing::NotYet => Some(Notice::Bad(format!(
            "no robot can connect: the clock of this machine says {now}, and {path} is valid only from {}: set the clock",
            validity.from
        ))),
        Standing::Expired => Some(Notice::Bad(format!(
            "no robot can connect: {path} has expired on {} (the clock of this machine says {now}): {renewal}",
            validity.until
        ))),
        Standing::Good => {
            let days = now.days_until(validity.until);
            let soon = || format!("{path} expires on {}, in {days} days: {renewal} by then", validity.until);
            (days < NOTICE_DAYS).then(|| Notice::Soon(soon()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_when_a_certificate_is_not_good_and_before() {
        let day = |days: i64| Date::from_unix(days * 24 * 60 * 60);
        let validity = Validity { from: day(100), until: day(200) };
        let told = |now| notice(Path::new("server.pem"), validity, day(now));
        assert_eq!([100, 150, 170].map(told), [None, None, None]);
        for (now, words) in [(171, "in 29 days"), (200, "in 0 days")] {
            assert!(matches!(told(now), Some(Notice::Soon(text)) if text.contains(words)), "{:?}", told(now));
        }
        for (now, words) in [(99, "set the clock"), (201, "has expired on 1970-07-20"), (9999, "1997-05-18")]
        {
            assert!(matches!(told(now), Some(Notice::Bad(text)) if text.contains(words)), "{:?}", told(now));
        }
    }
}
