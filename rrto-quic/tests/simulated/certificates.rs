//! Certificates for all simulations of a process.

use std::path::Path;
use std::sync::LazyLock;

use rrto_quic::Credentials;

/// Certificates of one authority for all tests.
static CERTIFICATES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    rrto_certs::create_all(dir.path(), &["localhost"], &["robot"]).unwrap();
    dir
});

/// The server's credentials, or the robot's.
pub(crate) fn credentials(server: bool) -> Credentials {
    let files = rrto_certs::Files::new(Path::new(CERTIFICATES.path()));
    let identity = if server { files.server() } else { files.robot("robot") };
    Credentials { ca: files.authority().certificate, certificate: identity.certificate, key: identity.key }
}
