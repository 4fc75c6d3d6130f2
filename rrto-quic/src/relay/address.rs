//! How people say where a server is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::names;
use crate::tls::Credentials;

/// What the address of a server behind a relay begins with.
const SCHEME: &str = "relay://";

/// The longest name of a room.
const MAX_ROOM_BYTES: usize = 64;

/// Where a server is: at an address of its own, or in a room of a relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// HOST:PORT of the server.
    Direct(String),
    /// `relay://HOST:PORT/ROOM`.
    Relayed(RelayAddress),
}

/// A room of a relay: `relay://HOST:PORT/ROOM`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayAddress {
    /// HOST:PORT of the relay.
    pub relay: String,
    /// The room's name, which is safe as a file's name. The relay does not see it: it knows the room by its secret.
    pub room: String,
}

/// What is wrong with an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(&'static str);

impl ServerAddress {
    /// What the name service is asked for.
    pub fn host_and_port(&self) -> &str {
        match self {
            ServerAddress::Direct(address) => address,
            ServerAddress::Relayed(address) => &address.relay,
        }
    }
}

impl RelayAddress {
    /// Where the room's secret lies: in `rooms/ROOM.key` beside the authority's certificate.
    pub fn key_path(&self, credentials: &Credentials) -> PathBuf {
        // Not by extension, for a name may have dots in it.
        credentials.ca.with_file_name("rooms").join(format!("{}.key", self.room))
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with(SCHEME) {
            return text.parse().map(ServerAddress::Relayed);
        }
        if text.contains("://") {
            return Err(AddressError("expected HOST:PORT, or relay://HOST:PORT/ROOM"));
        }
        check_host_and_port(text)?;
        Ok(ServerAddress::Direct(text.to_owned()))
    }
}

impl FromStr for RelayAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let expected = AddressError("expected relay://HOST:PORT/ROOM, such as relay://relay.lan:7787/robots");
        let (relay, room) =
            text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(expected)?;
        check_host_and_port(relay)?;
        if !is_room(room) {
            let rule = "a room is named by 1 to 64 letters, digits, '-', '_' and '.', starting with a letter or digit";
            return Err(AddressError(rule));
        }
        Ok(RelayAddress { relay: relay.to_owned(), room: room.to_owned() })
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}/{}", self.relay, self.room)
    }
}

/// Refuses what cannot be an address, so that the mistake shows here and not as a name that does not resolve.
fn check_host_and_port(text: &str) -> Result<(), AddressError> {
    let (host, _) = names::split(text).ok_or(AddressError("expected HOST:PORT, such as gpu.lan:7786"))?;
    if !host.contains(':') {
        return Ok(());
    }
    if !text.starts_with('[') {
        return Err(AddressError("put an IPv6 address in brackets, such as [fd00::7]:7786"));
    }
    match names::scoped(host) {
        None => Err(AddressError("what is in brackets is no IPv6 address")),
        Some((address, None | Some("0"))) if names::is_link_local(address) => Err(AddressError(
            "a link-local address needs the interface behind which it is, such as [fe80::7%wlan0]:7786",
        )),
        Some(_) => Ok(()),
    }
}

/// Whether this can be a room's name: the rule for robots' names, which are files' names too.
fn is_room(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= MAX_ROOM_BYTES
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in [
            "gpu:1",
            "10.0.0.7:7786",
            "[fd00::7]:7786",
            "gpu.lan:65535",
            "[fe80::1%wlan0]:7786",
            "[fe80::1%3]:1",
        ] {
            assert_eq!(good.parse(), Ok(ServerAddress::Direct(good.to_owned())));
        }
        for (good, relay, room) in [
            ("relay://r.lan:7787/a", "r.lan:7787", "a"),
            ("relay://[fe80::1%lo]:1/b-2_c.d", "[fe80::1%lo]:1", "b-2_c.d"),
        ] {
            let address = RelayAddress { relay: relay.into(), room: room.into() };
            assert_eq!(address.to_string(), good);
            assert_eq!(good.parse(), Ok(ServerAddress::Relayed(address)));
        }
        for bad in [
            "",
            "gpu",
            ":1",
            "gpu:",
            "gpu:0",
            "gpu:65536",
            "gpu:x",
            "fd00::7:7786",
            "[]:1",
            "[fd00::7:1",
            "[gpu:lan]:1",
            "[fe80::1]:1",
            "[fe80::1%]:1",
            "[fe80::1%0]:1",
            "relay://",
            "relay://r:1",
            "relay://r:1/",
            "relay://r/a",
            "relay://r:1/../x",
            "relay://r:1/.x",
            "relay://r:1/a/b",
            "relay://fd00::7:1/a",
            "http://gpu:1",
        ] {
            assert!(bad.parse::<ServerAddress>().is_err(), "{bad}");
        }
        assert!(format!("relay://r:1/{}", "a".repeat(65)).parse::<ServerAddress>().is_err());
    }

    #[test]
    fn the_secret_lies_beside_the_authority() {
        let credentials = Credentials {
            ca: "c/ca.pem".into(),
            certificate: "c/robots/r.pem".into(),
            key: "c/robots/r.key".into(),
        };
        let address: RelayAddress = "relay://r:1/a.b".parse().unwrap();
        assert_eq!(address.key_path(&credentials), PathBuf::from("c/rooms/a.b.key"));
    }
}
