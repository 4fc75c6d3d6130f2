//! How the preload library is told what to do: environment variables, which a program's children inherit.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use rrto_core::wire::Mode;

use crate::connection::Robot;

/// What a program's preload library is to do.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    /// The preload library.
    pub(crate) library: &'a Path,
    /// HOST:PORT.
    pub(crate) server: &'a str,
    /// As whom.
    pub(crate) robot: &'a Robot,
    /// How calls travel.
    pub(crate) mode: Mode,
    /// `RRTO_LOG`; the library's default if not given.
    pub(crate) log: Option<&'a str>,
    /// Where statistics are written at the program's end.
    pub(crate) stats: Option<&'a Path>,
    /// Where the run's costs are reported at the program's end; `-` for standard error.
    pub(crate) report: Option<&'a Path>,
    /// Where a timeline is written at the program's end.
    pub(crate) trace: Option<&'a Path>,
}

impl Environment<'_> {
    /// The variables to set, given the `LD_PRELOAD` that is there.
    pub(crate) fn variables(&self, preloaded: Option<&OsStr>) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("LD_PRELOAD", preload(self.library, preloaded.unwrap_or_default())),
            ("RRTO_SERVER", self.server.into()),
            ("RRTO_CERTS", self.robot.dir.clone().into()),
            ("RRTO_ROBOT", self.robot.name.clone().into()),
            ("RRTO_MODE", self.mode.to_string().into()),
        ];
        variables.extend(self.log.map(|log| ("RRTO_LOG", log.into())));
        let files = [("RRTO_STATS", self.stats), ("RRTO_REPORT", self.report), ("RRTO_TRACE", self.trace)];
        variables.extend(files.into_iter().filter_map(|(name, path)| Some((name, path?.into()))));
        variables
    }
}

/// Ours comes first, so that it is the driver even if another library there has the same symbols; what was preloaded
/// before stays, in its order.
fn preload(ours: &Path, others: &OsStr) -> OsString {
    let mut list = ours.as_os_str().to_owned();
    let separators = |byte: &u8| b": ".contains(byte);
    for other in others.as_encoded_bytes().split(separators) {
        // What another program put there need not be UTF-8; our own path must not be there twice.
        let other: OsString = std::os::unix::ffi::OsStringExt::from_vec(other.to_vec());
        if !other.is_empty() && other != ours.as_os_str() {
            list.push(":");
            list.push(other);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_preloaded_first_and_once() {
        let ours = Path::new("/lib/ours.so");
        for (before, after) in [
            ("", "/lib/ours.so"),
            ("/a.so", "/lib/ours.so:/a.so"),
            ("/a.so b.so", "/lib/ours.so:/a.so:b.so"),
            (":/a.so::", "/lib/ours.so:/a.so"),
            ("/a.so:/lib/ours.so", "/lib/ours.so:/a.so"),
        ] {
            assert_eq!(preload(ours, before.as_ref()), after, "{before:?}");
        }
    }

    #[test]
    fn every_setting_becomes_a_variable() {
        let robot = Robot { dir: "/certs".into(), name: "spot".into() };
        let least = Environment {
            library: Path::new("/ours.so"),
            server: "gpu:1",
            robot: &robot,
            mode: Mode::Percall,
            log: None,
            stats: None,
            report: None,
            trace: None,
        };
        let base = [
            ("LD_PRELOAD", "/ours.so"),
            ("RRTO_SERVER", "gpu:1"),
            ("RRTO_CERTS", "/certs"),
            ("RRTO_ROBOT", "spot"),
            ("RRTO_MODE", "percall"),
        ];
        let base = base.map(|(name, value)| (name, OsString::from(value)));
        assert_eq!(least.variables(None), base);

        let most = Environment {
            log: Some("debug"),
            stats: Some(Path::new("/s.json")),
            report: Some(Path::new("-")),
            trace: Some(Path::new("/t.json")),
            ..least
        };
        let more = [
            ("RRTO_LOG", "debug".into()),
            ("RRTO_STATS", "/s.json".into()),
            ("RRTO_REPORT", "-".into()),
            ("RRTO_TRACE", "/t.json".into()),
        ];
        assert_eq!(most.variables(None), [base.as_slice(), &more].concat());
    }
}
