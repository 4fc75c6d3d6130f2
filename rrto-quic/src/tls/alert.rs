//! Alerts of TLS that are about certificates (RFC 8446, section 6.2).

pub(crate) const BAD_CERTIFICATE: u8 = 42;
pub(crate) const REVOKED: u8 = 44;
pub(crate) const EXPIRED: u8 = 45;
pub(crate) const UNKNOWN_CA: u8 = 48;
pub(crate) const DECRYPT_ERROR: u8 = 51;
pub(crate) const CERTIFICATE_REQUIRED: u8 = 116;

/// All of them, with unsupported_certificate, certificate_unknown and access_denied.
const ALL: [u8; 9] =
    [BAD_CERTIFICATE, 43, REVOKED, EXPIRED, 46, UNKNOWN_CA, 49, DECRYPT_ERROR, CERTIFICATE_REQUIRED];

/// The alert that QUIC's error code carries (RFC 9001, section 4.8).
pub(crate) fn of_code(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

/// Whether it is about a certificate.
pub(crate) fn is_about_certificates(alert: u8) -> bool {
    ALL.contains(&alert)
}

/// Whether the other authority is meant: one of the same name with another key looks like a wrong signature.
pub(crate) fn is_of_another_authority(alert: u8) -> bool {
    [BAD_CERTIFICATE, UNKNOWN_CA, DECRYPT_ERROR].contains(&alert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_carry_alerts() {
        let alerts = [0xff, 0x100, 0x12d, 0x1ff, 0x200].map(of_code);
        assert_eq!(alerts, [None, Some(0), Some(EXPIRED), Some(255), None]);
        assert!(is_about_certificates(EXPIRED) && !is_about_certificates(120));
    }
}
