//! The secret of a room, and what is derived from it.

use std::io;
use std::path::{Path, PathBuf};

use ring::hmac;

use super::wire::{FlowId, Party, Proof, RoomId};
use crate::secret::{self, SecretError};

/// Bytes of a room's secret: as many as HMAC-SHA256 has of security.
const SECRET_BYTES: usize = 32;

/// What the secret is used for. Each use has a text of its own in front of what is authenticated, and none begins with another.
const ROOM: &[u8] = b"rrto relay 1 room:";
const FLOW: &[u8] = b"rrto relay 1 flow:";
const REGISTER: &[u8] = b"rrto relay 1 register:";
const REGISTERED: &[u8] = b"rrto relay 1 registered:";

/// A room's secret. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct RoomKey(hmac::Key);

/// Why a room's secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoomKeyError {
    /// The file is not there. A new secret would be no good: what all of a room have in common is that they have the same.
    #[error(
        "there is no {}: bring it from where `rrto certs DIR --add-room NAME` has made the room, for its relay, its server and \
         its robots all have the same file",
        path.display()
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// The file is not readable.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is not its owner's alone.
    #[error("{} can be read or changed by others (mode {mode:03o}), and a secret is its owner's alone: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a secret.
    #[error(
        "{} holds no room secret, which is 64 hexadecimal digits: bring the file from where `rrto certs DIR --add-room NAME` has made it",
        path.display()
    )]
    Unusable {
        /// Which.
        path: PathBuf,
    },
}

impl RoomKey {
    /// The key that is this secret.
    pub fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        RoomKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The secret in a file: 64 hexadecimal digits, with nothing but white space around them.
    ///
    /// # Errors
    /// The file is not readable, or not by its owner alone, or something else is in it.
    pub fn read(path: &Path) -> Result<Self, RoomKeyError> {
        let text = secret::read(path).map_err(|error| match error {
            SecretError::Unreadable(cause) if cause.kind() == io::ErrorKind::NotFound => {
                RoomKeyError::Missing { path: path.to_owned() }
            }
            SecretError::Unreadable(cause) => RoomKeyError::Unreadable { path: path.to_owned(), cause },
            SecretError::Exposed(mode) => RoomKeyError::Exposed { path: path.to_owned(), mode },
        })?;
        let secret =
            decode(text.trim_ascii()).ok_or_else(|| RoomKeyError::Unusable { path: path.to_owned() })?;
        Ok(RoomKey::new(&secret))
    }

    /// How the room is called on the wire: tells nothing about its name or its secret.
    pub fn room(&self) -> RoomId {
        let mut id = RoomId::default();
        fill(&mut id.0, &self.tag(ROOM, &[]));
        id
    }

    /// The number that a client of this room has at the relay, however often it registers and from wherever.
    pub fn flow(&self, party: Party) -> FlowId {
        let mut id = [0; FlowId::BYTES];
        fill(&mut id, &self.tag(FLOW, &party.0));
        FlowId(id)
    }

    /// Proves to the relay that whoever wrote `registration` knows the secret.
    pub(super) fn prove_registration(&self, registration: &[u8]) -> Proof {
        self.prove(REGISTER, registration)
    }

    /// Whether this proof was made for this registration.
    pub(super) fn is_registration(&self, registration: &[u8], proof: &Proof) -> bool {
        self.is_proof(REGISTER, registration, proof)
    }

    /// Proves to a party that whoever wrote `answer` knows the secret.
    pub(super) fn prove_answer(&self, answer: &[u8]) -> Proof {
        self.prove(REGISTERED, answer)
    }

    /// Whether this proof was made for this answer.
    pub(super) fn is_answer(&self, answer: &[u8], proof: &Proof) -> bool {
        self.is_proof(REGISTERED, answer, proof)
    }

    fn prove(&self, purpose: &[u8], message: &[u8]) -> Proof {
        let mut proof = Proof::default();
        fill(&mut proof.0, &self.tag(purpose, message));
        proof
    }

    /// In a time that does not depend on the bytes.
    fn is_proof(&self, purpose: &[u8], message: &[u8], proof: &Proof) -> bool {
        hmac::verify(&self.0, &[purpose, message].concat(), &proof.0).is_ok()
    }

    fn tag(&self, purpose: &[u8], message: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(message);
        context.sign()
    }
}

/// The first bytes of a tag; nothing here takes more than it has.
fn fill(out: &mut [u8], tag: &hmac::Tag) {
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
}

fn decode(digits: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != SECRET_BYTES || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, [high, low]) in secret.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_holds_one_secret_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("room.key");
        let digits = "00ff".repeat(16);
        std::fs::write(&path, format!("{digits}\n")).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(matches!(RoomKey::read(&path), Err(RoomKeyError::Exposed { .. })));
        mode(0o600);
        let secret: Vec<u8> = [0, 255].repeat(16);
        let expected = RoomKey::new(&secret.try_into().unwrap());
        assert_eq!(RoomKey::read(&path).unwrap().room(), expected.room());
        for bad in
            ["", &digits[1..], &format!("{digits}00"), &digits.replace("ff", "fg"), &format!("{digits} 1")]
        {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(RoomKey::read(&path), Err(RoomKeyError::Unusable { .. })), "{bad}");
        }
        let missing = RoomKey::read(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("--add-room"), "{missing}");
    }

    #[test]
    fn nothing_shows_the_secret() {
        let key = RoomKey::new(&[7; 32]);
        assert!(!format!("{key:?}").contains('7'), "{key:?}");
    }

    #[test]
    fn proofs_are_for_one_purpose_one_message_and_one_room() {
        let (key, other) = (RoomKey::new(&[1; 32]), RoomKey::new(&[2; 32]));
        let proof = key.prove_registration(b"message");
        assert!(key.is_registration(b"message", &proof));
        assert!(!key.is_registration(b"massage", &proof));
        assert!(!key.is_answer(b"message", &proof));
        assert!(!other.is_registration(b"message", &proof));
        assert_ne!(key.room(), other.room());
        let party = Party([3; 16]);
        assert_ne!(key.flow(party), other.flow(party));
        assert_ne!(key.flow(party), key.flow(Party([4; 16])));
    }
}
