//! Which release this is, as a text that a library carries in its file, so that it can be asked without being run.

use super::{PROTOCOL_VERSION, SCHEMA_NUMBERS};
use crate::api;

/// The symbol that the preload library exports its [`RELEASE`] by.
pub const RELEASE_SYMBOL: &str = "rrto_library_release";

/// Bytes of a release: room for every version that a package can have in practice, and zeros after it.
pub const RELEASE_BYTES: usize = 96;

/// This build's: version, protocol, and a fingerprint of what both sides number alike. Two builds of different texts may not
/// understand each other.
pub const RELEASE: [u8; RELEASE_BYTES] = Text::new()
    .and(b"rrto ")
    .and(env!("CARGO_PKG_VERSION").as_bytes())
    .and(b", protocol ")
    .and_number(PROTOCOL_VERSION as u64, 10)
    .and(b", table ")
    .and_number(fingerprint(), 16)
    .bytes;

/// A release as people read it; `None` if it is none.
pub fn release_text(release: &[u8]) -> Option<&str> {
    let text = release.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?;
    (text.starts_with("rrto ") && !text.contains(char::is_control)).then_some(text)
}

/// FNV-1a of the table and of the schema's numbers: it only has to differ where they do, and can be had when this is compiled.
const fn fingerprint() -> u64 {
    let mut hash = api::TABLE_FINGERPRINT;
    let mut at = 0;
    while at < SCHEMA_NUMBERS.len() {
        hash = api::fingerprint(hash, &SCHEMA_NUMBERS[at].to_le_bytes());
        at += 1;
    }
    hash
}

/// A text that is put together when this is compiled; what does not fit is an error then.
struct Text {
    bytes: [u8; RELEASE_BYTES],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Text { bytes: [0; RELEASE_BYTES], length: 0 }
    }

    const fn and(mut self, text: &[u8]) -> Self {
        let mut at = 0;
        while at < text.len() {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
        // A zero byte ends it.
        assert!(self.length < RELEASE_BYTES);
        self
    }

    const fn and_number(self, number: u64, base: u64) -> Self {
        let before = if number >= base { self.and_number(number / base, base) } else { self };
        before.and(&[b"0123456789abcdef"[(number % base) as usize]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_version_and_protocol() {
        let text = release_text(&RELEASE).unwrap();
        let begin = format!("rrto {}, protocol {PROTOCOL_VERSION}, table ", env!("CARGO_PKG_VERSION"));
        let table = text.strip_prefix(&begin).unwrap();
        assert_eq!(u64::from_str_radix(table, 16), Ok(fingerprint()));
    }

    #[test]
    fn what_is_no_release_is_none() {
        for other in [&b""[..], b"\0", b"libcuda", b"rrto \x1b[31m", b"rrto \xff"] {
            assert_eq!(release_text(other), None, "{other:?}");
        }
    }
}
