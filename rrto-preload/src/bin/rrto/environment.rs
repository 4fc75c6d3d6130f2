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
    /// The directory where the library is found as a file, by the driver's names, if there is one.
    pub(crate) links: Option<&'a Path>,
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

/// Lists of directories in which ours comes first: the dynamic linker's, and the one of compilers that link with the driver.
const SEARCHED: [&str; 2] = ["LD_LIBRARY_PATH", "LIBRARY_PATH"];

/// Where Triton looks for the driver, before it asks the system.
const TRITON: &str = "TRITON_LIBCUDA_PATH";

impl Environment<'_> {
    /// The variables to set, given those that are there.
    pub(crate) fn variables(
        &self,
        there: impl Fn(&'static str) -> Option<OsString>,
    ) -> Vec<(&'static str, OsString)> {
        let first = |ours: &Path, name, separators| first(ours, &there(name).unwrap_or_default(), separators);
        let mut variables = vec![
            ("LD_PRELOAD", first(self.library, "LD_PRELOAD", b": ")),
            ("RRTO_SERVER", self.server.into()),
            ("RRTO_CERTS", self.robot.dir.clone().into()),
            ("RRTO_ROBOT", self.robot.name.clone().into()),
            ("RRTO_MODE", self.mode.to_string().into()),
        ];
        if let Some(links) = self.links {
            variables.extend(SEARCHED.map(|name| (name, first(links, name, b":;"))));
            variables.push((TRITON, links.into()));
        }
        variables.extend(self.log.map(|log| ("RRTO_LOG", log.into())));
        let files = [("RRTO_STATS", self.stats), ("RRTO_REPORT", self.report), ("RRTO_TRACE", self.trace)];
        variables.extend(files.into_iter().filter_map(|(name, path)| Some((name, path?.into()))));
        variables
    }
}

/// Ours comes first, so that it is the driver even if another library there has the same symbols; what was there
/// before stays, in its order.
fn first(ours: &Path, others: &OsStr, separators: &[u8]) -> OsString {
    let mut list = ours.as_os_str().to_owned();
    for other in others.as_encoded_bytes().split(|byte| separators.contains(byte)) {
        // What another program put there need not be UTF-8; our own path must not be there twice. Nothing between two separators
        // would be the directory that the program is in.
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
            assert_eq!(first(ours, before.as_ref(), b": "), after, "{before:?}");
        }
        assert_eq!(first(ours, "/a b;/c::/d".as_ref(), b":;"), "/lib/ours.so:/a b:/c:/d");
    }

    #[test]
    fn every_setting_becomes_a_variable() {
        let robot = Robot { dir: "/certs".into(), name: "spot".into() };
        let least = Environment {
            library: Path::new("/ours.so"),
            links: None,
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
        assert_eq!(least.variables(|_| None), base);

        let most = Environment {
            links: Some(Path::new("/links")),
            log: Some("debug"),
            stats: Some(Path::new("/s.json")),
            report: Some(Path::new("-")),
            trace: Some(Path::new("/t.json")),
            ..least
        };
        let more = [
            ("LD_LIBRARY_PATH", "/links:/mine".into()),
            ("LIBRARY_PATH", "/links".into()),
            ("TRITON_LIBCUDA_PATH", "/links".into()),
            ("RRTO_LOG", "debug".into()),
            ("RRTO_STATS", "/s.json".into()),
            ("RRTO_REPORT", "-".into()),
            ("RRTO_TRACE", "/t.json".into()),
        ];
        let there = |name| (name == "LD_LIBRARY_PATH").then(|| OsString::from("/mine"));
        assert_eq!(most.variables(there), [base.as_slice(), &more].concat());
    }
}
