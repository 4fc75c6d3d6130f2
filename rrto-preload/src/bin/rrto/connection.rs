//! Where the server is, and as which robot to speak to it.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use rrto_certs::Files;
use rrto_quic::relay::{AddressError, RoomKey, ServerAddress};
use rrto_quic::{Credentials, Date, Role};

/// Which server, and as whom.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Where rrto-gpud listens; relay://HOST:PORT/ROOM if it is behind a relay
    #[arg(long, env = "RRTO_SERVER", hide_env_values = true, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) server: String,
    /// Directory with ca.pem and robots/NAME.pem and .key, from `rrto certs` [default: ~/.config/rrto]
    #[arg(long, env = "RRTO_CERTS", hide_env_values = true, value_name = "DIR")]
    pub(crate) certs: Option<PathBuf>,
    /// Which robot this is; not needed where there is only one in the directory
    #[arg(long, env = "RRTO_ROBOT", hide_env_values = true, value_name = "NAME")]
    pub(crate) robot: Option<String>,
}

impl ServerArgs {
    /// The robot whose certificate is to be used.
    pub(crate) fn robot(&self) -> Result<Robot> {
        let dir = match self.certs.as_deref().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => std::path::absolute(dir)?,
            None => {
                let files = Files::in_home(env::var_os("HOME").as_deref());
                let files =
                    files.context("HOME is not set: name the directory of the certificates with --certs")?;
                files.dir().to_owned()
            }
        };
        Robot::find(dir, self.robot.as_deref())
    }
}

/// One robot's certificate in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Robot {
    /// The directory, an absolute path.
    pub(crate) dir: PathBuf,
    /// The certificate's name.
    pub(crate) name: String,
}

impl Robot {
    /// The robot called `name` in `dir`, or the only one there. Whether its files are good is another question.
    pub(crate) fn find(dir: PathBuf, name: Option<&str>) -> Result<Self> {
        let name = Files::new(&dir).choose_robot(name)?;
        Ok(Self { dir, name })
    }

    /// Whether everything is there, and fits, that a program needs to reach `server` as this robot.
    pub(crate) fn check(&self, server: &str) -> Result<()> {
        self.credentials().check(Role::Robot, Date::now())?;
        self.room_key(server).transpose()?;
        Ok(())
    }

    /// Where the secret of the relay's room is, if `server` is in one, and whether it is good.
    pub(crate) fn room_key(&self, server: &str) -> Option<Result<PathBuf>> {
        let Ok(ServerAddress::Relayed(room)) = server.parse() else { return None };
        let path = room.key_path(&self.credentials());
        Some(RoomKey::read(&path).map(|_| path).map_err(Into::into))
    }

    /// Its files.
    pub(crate) fn credentials(&self) -> Credentials {
        let files = Files::new(&self.dir);
        let robot = files.robot(&self.name);
        Credentials { ca: files.authority().certificate, certificate: robot.certificate, key: robot.key }
    }
}

/// Refuses what cannot be an address, so that the mistake shows here and not as a name that does not resolve.
fn address(text: &str) -> Result<String, AddressError> {
    text.parse::<ServerAddress>().map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["gpu:1", "10.0.0.7:7786", "relay://relay.lan:7787/robots"] {
            assert_eq!(address(good), Ok(good.to_owned()));
        }
        for bad in ["", "gpu", "fd00::7:7786", "relay://relay.lan:7787"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_robot_is_the_one_named_or_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let find = |name| Robot::find(dir.path().to_owned(), name);
        assert!(find(None).unwrap_err().to_string().contains("no robot"));

        rrto_certs::create_all(dir.path(), &["localhost"], &["one"]).unwrap();
        assert_eq!(find(None).unwrap().name, "one");
        rrto_certs::add_robot(dir.path(), "two.b").unwrap();
        assert!(find(None).unwrap_err().to_string().contains("one, two.b"));
        assert_eq!(find(Some("two.b")).unwrap().name, "two.b");
        let check = |name| find(Some(name)).unwrap().check("gpu:1").map_err(|error| format!("{error:#}"));
        assert_eq!(check("one"), Ok(()));
        assert!(check("three").unwrap_err().contains("there is no"), "{:?}", check("three"));
    }

    #[test]
    fn a_room_s_secret_has_to_be_there() {
        let dir = tempfile::tempdir().unwrap();
        rrto_certs::create_all(dir.path(), &["localhost"], &["one"]).unwrap();
        let robot = Robot::find(dir.path().to_owned(), None).unwrap();
        let missing = format!("{:#}", robot.check("relay://r:1/lobby").unwrap_err());
        assert!(missing.contains("lobby.key") && missing.contains("bring it"), "{missing}");
        rrto_certs::add_room(dir.path(), "lobby").unwrap();
        assert!(robot.check("relay://r:1/lobby").is_ok());
    }
}
