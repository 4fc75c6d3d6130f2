//! Why a connection ended before its greeting, in words for whoever runs the server.

use quinn::ConnectionError;

use crate::streams::StreamError;
use crate::tls::{Date, alert};

/// What the end means. Codes of QUIC and TLS are evidence for that, and not the message.
pub(super) fn meaning(error: &StreamError) -> String {
    let (alert, is_ours) = match error.of_connection() {
        Some(ConnectionError::TransportError(error)) => (alert::of_code(error.code.into()), true),
        Some(ConnectionError::ConnectionClosed(close)) => (alert::of_code(close.error_code.into()), false),
        _ => (None, true),
    };
    match alert.and_then(|alert| about(alert, is_ours)) {
        Some(meaning) => meaning,
        None => error.to_string(),
    }
}

/// `is_ours`: the alert is this side's, about the robot's certificate, and not the robot's about this side's.
fn about(alert: u8, is_ours: bool) -> Option<String> {
    let now = Date::now();
    Some(match (alert, is_ours) {
        (alert::EXPIRED, true) => {
            format!(
                "the robot's certificate is not valid now, by the clock of this machine, which says {now}"
            )
        }
        (alert::EXPIRED, false) => format!(
            "by the robot's clock the certificate of this server is not valid now; the clock of this machine says {now}"
        ),
        (alert::CERTIFICATE_REQUIRED, true) => "it has no certificate, so it is no robot".to_owned(),
        (alert, true) if alert::is_of_another_authority(alert) => {
            "the robot's certificate is not of the authority of ca.pem here".to_owned()
        }
        (alert, false) if alert::is_of_another_authority(alert) => {
            "the certificate of this server is not of the authority of the robot's ca.pem".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whose_certificate_it_was() {
        for (alert, ours, theirs) in [
            (alert::EXPIRED, Some("the robot's certificate is not valid now"), Some("by the robot's clock")),
            (alert::UNKNOWN_CA, Some("ca.pem here"), Some("the robot's ca.pem")),
            (alert::DECRYPT_ERROR, Some("ca.pem here"), Some("the robot's ca.pem")),
            (alert::CERTIFICATE_REQUIRED, Some("no certificate"), None),
            (120, None, None),
        ] {
            for (is_ours, words) in [(true, ours), (false, theirs)] {
                let meaning = about(alert, is_ours);
                assert_eq!(meaning.is_some(), words.is_some(), "{alert}");
                assert!(meaning.unwrap_or_default().contains(words.unwrap_or_default()), "{alert}");
            }
        }
    }
}
