//! The files as rustls sees them, and their permissions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rrto_certs::{
    Authority, CertsError, Files, Identity, RobotError, Validity, add_robot, add_room, create_all, revoke,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// The certificate and key in `identity`'s files.
fn load(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_file(&identity.certificate).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_file(&identity.key).unwrap())
}

/// A mutual TLS handshake in which both sides trust the authority of their `Files`.
fn handshake(
    (server_files, server): (&Files, &Identity),
    (client_files, client): (&Files, &Identity),
    server_name: &str,
) -> Result<(), rustls::Error> {
    handshake_later((server_files, server), (client_files, client), server_name, 0)
}

/// A clock that is a number of days ahead.
#[derive(Debug)]
struct DaysAhead(u64);

impl TimeProvider for DaysAhead {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs() + self.0 * 24 * 60 * 60;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

/// A handshake between two whose clocks are `days` ahead.
fn handshake_later(
    (server_files, server): (&Files, &Identity),
    (client_files, client): (&Files, &Identity),
    server_name: &str,
    days: u64,
) -> Result<(), rustls::Error> {
    let trust = |files: &Files| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(files.authority().certificate).unwrap()).unwrap();
        Arc::new(roots)
    };
    let provider = Arc::new(default_provider());
    let clock = Arc::new(DaysAhead(days));
    let verifier = WebPkiClientVerifier::builder_with_provider(trust(server_files), provider.clone());
    let (chain, key) = load(server);
    let server = ServerConfig::builder_with_details(provider.clone(), clock.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)?;
    let (chain, key) = load(client);
    let client = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trust(client_files))
        .with_client_auth_cert(chain, key)?;
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// Every file and directory below `dir`, with its permissions.
fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = vec![(dir.to_owned(), fs::metadata(dir).unwrap().permissions().mode() & 0o777)];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(modes(&path));
        } else {
            found.push((path.clone(), fs::metadata(&path).unwrap().permissions().mode() & 0o777));
        }
    }
    found
}

const NO_ROBOTS: [&str; 0] = [];

#[test]
fn server_and_robots_of_one_authority_accept_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        create_all(dir.path().join("certs"), &["gpu.lab", "127.0.0.1", "::1"], &["one", "two.b"]).unwrap();
    let later = add_robot(files.dir(), "later").unwrap();
    assert_eq!(later, files.robot("later"));
    for robot in ["one", "two.b", "later"] {
        for name in ["gpu.lab", "127.0.0.1", "::1"] {
            let robot = files.robot(robot);
            assert_eq!(handshake((&files, &files.server()), (&files, &robot), name), Ok(()));
        }
    }
}

#[test]
fn nothing_else_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let files = create_all(dir.path().join("ours"), &["gpu.lab"], &["robot"]).unwrap();
    let others = create_all(dir.path().join("theirs"), &["gpu.lab"], &["robot"]).unwrap();
    let (server, robot) = (files.server(), files.robot("robot"));
    let ours = |identity| (&files, identity);
    let cases = [
        ("another name", ours(&server), ours(&robot), "other.lab"),
        ("a robot as a server", ours(&robot), ours(&robot), "gpu.lab"),
        ("a server as a robot", ours(&server), ours(&server), "gpu.lab"),
        ("another authority's robot", ours(&server), (&files, &others.robot("robot")), "gpu.lab"),
        ("another authority's server", (&files, &others.server()), ours(&robot), "gpu.lab"),
    ];
    for (what, server, client, name) in cases {
        assert!(handshake(server, client, name).is_err(), "{what} was accepted");
    }
}

#[test]
fn a_certificate_is_not_valid_longer_than_asked() {
    let dir = tempfile::tempdir().unwrap();
    let validity = Validity { authority_days: 100, identity_days: 10 };
    let authority = Authority::create_with(dir.path(), "short", validity).unwrap();
    let server = authority.issue_server(&["gpu.lab"]).unwrap();
    let robot = authority.issue_robot("robot").unwrap();
    let files = authority.files();
    for (days, valid) in [(0, true), (9, true), (11, false)] {
        let result = handshake_later((files, &server), (files, &robot), "gpu.lab", days);
        assert_eq!(result.is_ok(), valid, "{days} days later: {result:?}");
    }
}

#[test]
fn the_authority_signs_no_other_authority() {
    let dir = tempfile::tempdir().unwrap();
    let files = create_all(dir.path(), &["gpu.lab"], &["robot"]).unwrap();
    // The extension basicConstraints, critical: a CA with path length 0; not a CA.
    let identifier = [0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04];
    let cases: [(Identity, &[u8]); 3] = [
        (files.authority(), &[0x08, 0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00]),
        (files.server(), &[0x02, 0x30, 0x00]),
        (files.robot("robot"), &[0x02, 0x30, 0x00]),
    ];
    for (identity, value) in cases {
        let wanted = [identifier.as_slice(), value].concat();
        let (chain, _) = load(&identity);
        let found = chain.iter().any(|der| der.windows(wanted.len()).any(|bytes| bytes == wanted));
        assert!(found, "{}", identity.certificate.display());
    }
}

#[test]
fn only_the_owner_may_read_keys() {
    let dir = tempfile::tempdir().unwrap();
    let files = create_all(dir.path().join("new/certs"), &["gpu.lab"], &["robot"]).unwrap();
    let found = modes(files.dir());
    assert_eq!(found.len(), 8, "{found:?}");
    for (path, mode) in found {
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
        } else if path.extension().is_some_and(|extension| extension == "key") {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_half_made_stays() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    // The last file to be made is in the way.
    let last = files.robot("robot").certificate;
    fs::create_dir(last.parent().unwrap()).unwrap();
    fs::write(&last, "precious").unwrap();
    let error = create_all(dir.path(), &["gpu.lab"], &["robot"]).unwrap_err();
    assert!(matches!(&error, CertsError::Exists { path } if *path == last), "{error}");
    assert!(error.to_string().contains("choose another directory"), "{error}");
    let left: Vec<_> = modes(dir.path()).into_iter().filter(|(path, _)| path.is_file()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(&last).unwrap(), "precious");

    fs::remove_file(&last).unwrap();
    create_all(dir.path(), &["gpu.lab"], &["robot"]).unwrap();
    let key = fs::read(files.authority().key).unwrap();
    let again = [
        create_all(dir.path(), &["gpu.lab"], &NO_ROBOTS).map(drop),
        Authority::create(dir.path(), "again").map(drop),
        Authority::open(dir.path()).unwrap().issue_server(&["gpu.lab"]).map(drop),
        add_robot(dir.path(), "robot").map(drop),
    ];
    for result in again {
        assert!(matches!(result, Err(CertsError::Exists { .. })));
    }
    assert_eq!(fs::read(files.authority().key).unwrap(), key);
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path().join("made"), "x").unwrap();
    for name in ["../robot", "a/b", "..", ".", "/etc/robot", ""] {
        let results = [
            create_all(dir.path().join("certs"), &["gpu.lab"], &[name]).map(drop),
            authority.issue_robot(name).map(drop),
        ];
        for error in results.map(Result::unwrap_err) {
            assert!(matches!(error, CertsError::BadName { .. }), "{error}");
        }
    }
    assert!(!dir.path().join("certs").exists(), "names are checked before anything is written");
}

#[test]
fn mistakes_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let missing = add_robot(dir.path().join("none"), "robot").unwrap_err();
    let no_name = create_all(dir.path(), &[] as &[&str], &NO_ROBOTS).unwrap_err();
    let port = create_all(dir.path(), &["gpu.lab:4433"], &NO_ROBOTS).unwrap_err();
    let twice = create_all(dir.path(), &["gpu.lab"], &["r", "r"]).unwrap_err();
    let damaged = {
        Authority::create(dir.path(), "x").unwrap();
        fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
        add_robot(dir.path(), "robot").unwrap_err()
    };
    let cases = [
        (missing, "create one first"),
        (no_name, "at least one name"),
        (port, "without port"),
        (twice, "given twice"),
        (damaged, "restore it"),
    ];
    for (error, hint) in cases {
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn debug_output_has_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path(), "secret keeper").unwrap();
    let shown = format!("{authority:?}");
    assert_eq!(shown, format!("Authority {{ dir: {:?}, .. }}", dir.path()));
}

#[test]
fn the_robot_is_the_one_named_or_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path());
    let none = RobotError::None { dir: dir.path().into() };
    assert_eq!(files.choose_robot(None), Err(none.clone()));
    assert_eq!(files.choose_robot(Some("")), Err(none));
    create_all(dir.path(), &["gpu"], &["two.b"]).unwrap();
    assert_eq!(files.choose_robot(None), Ok("two.b".into()));
    add_robot(dir.path(), "one").unwrap();
    let several = RobotError::Several { dir: dir.path().into(), robots: vec!["one".into(), "two.b".into()] };
    assert_eq!(files.choose_robot(None), Err(several.clone()));
    assert!(several.to_string().ends_with("one, two.b"), "{several}");
    assert_eq!(files.choose_robot(Some("one")), Ok("one".into()));
}

#[test]
fn the_default_directory_is_in_the_home() {
    let in_home = |home: &str| Files::in_home(Some(home.as_ref()));
    assert_eq!(in_home("/home/spot"), Some(Files::new("/home/spot/.config/rrto")));
    assert_eq!(in_home(""), None);
    assert_eq!(Files::in_home(None), None);
}

#[test]
fn a_rooms_secret_is_its_owners_only_and_never_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["one", "two.b"].map(|name| add_room(dir.path(), name).unwrap());
    assert_eq!(paths, ["one", "two.b"].map(|name| Files::new(dir.path()).room(name)));
    let texts = paths.each_ref().map(|path| fs::read_to_string(path).unwrap());
    assert_ne!(texts[0], texts[1]);
    for (path, text) in paths.iter().zip(&texts) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(text.ends_with('\n') && text.trim().len() == 64, "{text:?}");
        assert!(text.trim().bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
    assert!(matches!(add_room(dir.path(), "one"), Err(CertsError::Exists { .. })));
    assert!(matches!(add_room(dir.path(), "../one"), Err(CertsError::BadName { .. })));
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), texts[0]);
}

#[test]
fn a_robot_is_revoked_by_its_certificate_or_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let files = create_all(dir.path(), &["gpu.lab"], &["spot", "rex"]).unwrap();
    let lines = || fs::read_to_string(files.revoked()).unwrap();
    assert_eq!(revoke(dir.path(), "spot").unwrap(), files.revoked());
    let first = lines();
    let (serial, comment) = first.trim_end().split_once(' ').unwrap();
    assert_eq!(comment, "# spot");
    assert!(serial.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok()), "{serial}");
    revoke(dir.path(), "spot").unwrap();
    assert_eq!(lines(), first, "once is enough");
    fs::write(files.revoked(), first.trim_end()).unwrap();
    revoke(dir.path(), "gone").unwrap();
    assert_eq!(lines(), format!("{first}robot gone\n"));
    assert!(matches!(revoke(dir.path(), "../spot"), Err(CertsError::BadName { .. })));
    fs::write(files.robot("rex").certificate, "no certificate").unwrap();
    assert!(matches!(revoke(dir.path(), "rex"), Err(CertsError::NoCertificate { .. })));
}
