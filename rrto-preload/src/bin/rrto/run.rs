//! `rrto run`: becomes the program, with its CUDA driver replaced.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rrto_core::wire::Mode;

use crate::connection::ServerArgs;
use crate::elf::{Architecture, Elf};
use crate::environment::Environment;
use crate::library::{Library, LibraryArgs, SONAME};
use crate::links;

/// Run a program with its GPU on a server
///
/// The program and its children get the preload library as their CUDA driver and find the server through environment
/// variables; what looks for the driver as a file (libcuda.so.1 or libcuda.so) finds it in LD_LIBRARY_PATH. This
/// command becomes the program, so its exit status is the program's. Before that, it is 2 if the command line is wrong,
/// 125 if something that RRTO needs is missing, 126 if the program cannot be run this way, and 127 if there is no such
/// program.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How calls travel: replay sends what the program repeats as one word, pipeline sends every call and waits only where
    /// the program needs an answer, percall waits for each call [default: replay]
    #[arg(long, env = "RRTO_MODE", hide_env_values = true, default_value_t, hide_default_value = true, value_parser = mode_parser())]
    pub(crate) mode: Mode,
    /// What the library says on standard error (or in the file that RRTO_LOG_FILE names) [default: error]
    #[arg(long, env = "RRTO_LOG", hide_env_values = true, value_name = "LEVEL", value_parser = ["off", "error", "info", "debug"])]
    pub(crate) log: Option<String>,
    /// Write what the link has carried to FILE, as JSON, when the program ends
    #[arg(long, env = "RRTO_STATS", hide_env_values = true, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
    /// Print what the run has cost when the program ends, or write it to FILE as JSON: calls, round trips, bytes, time of
    /// an inference
    #[arg(
        long, env = "RRTO_REPORT", hide_env_values = true, value_name = "FILE",
        num_args = 0..=1, require_equals = true, default_missing_value = STANDARD_ERROR
    )]
    pub(crate) report: Option<PathBuf>,
    /// Write a timeline of calls, waits, the link and segments to FILE when the program ends, for Perfetto (ui.perfetto.dev) or chrome://tracing
    #[arg(long, env = "RRTO_TRACE", hide_env_values = true, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) library: LibraryArgs,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

/// What the library takes for a report that is printed.
const STANDARD_ERROR: &str = "-";

const EXAMPLES: &str = "\
Examples:
  rrto run --server gpu.lan:7786 -- python3 infer.py --batch 1
  rrto run --server gpu.lan:7786 --report -- python3 infer.py
  RRTO_SERVER=gpu.lan:7786 rrto run --log info --stats stats.json -- ./my_cuda_program

The same without this command:
  LD_PRELOAD=/path/to/librrto_preload.so RRTO_SERVER=gpu.lan:7786 RRTO_CERTS=~/.config/rrto ./my_cuda_program";

fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(Mode::NAMES.map(|(_, name)| name)).try_map(|mode| mode.parse::<Mode>())
}

/// Why the program was not started, by the exit status that `env`, `nice` and `timeout` give for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Something that RRTO needs is not there.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
    /// The program exists and cannot run with its GPU elsewhere.
    #[error("cannot run {}: {reason}", program.display())]
    Unsuitable {
        /// Which.
        program: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// There is no such program.
    #[error("there is no program {}: is its path right, and is it installed?", .0.display())]
    NotFound(OsString),
}

impl RunError {
    /// The exit status.
    pub(crate) fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Setup(_) => 125,
            Self::Unsuitable { .. } => 126,
            Self::NotFound(_) => 127,
        })
    }
}

/// Becomes the program. Comes back only if that fails.
pub(crate) fn run(arguments: &RunArgs) -> RunError {
    match prepare(arguments) {
        Err(error) => error,
        Ok((path, mut command)) => {
            let reason = command.exec().to_string();
            RunError::Unsuitable { program: path, reason }
        }
    }
}

/// The program's path, and the command that becomes it.
fn prepare(arguments: &RunArgs) -> Result<(PathBuf, Command), RunError> {
    let (program, rest) =
        arguments.command.split_first().ok_or_else(|| RunError::NotFound(OsString::new()))?;
    let path = find_program(program, env::var_os("PATH").as_deref())
        .ok_or_else(|| RunError::NotFound(program.to_owned()))?;
    let library = arguments.library.find()?;
    if let Some(reason) = objection(&path, &library) {
        return Err(RunError::Unsuitable { program: path, reason });
    }
    let robot = arguments.server.robot()?;
    robot.check(&arguments.server.server)?;
    // Most programs do without.
    let links = links::directory(&library.path).inspect_err(|error| {
        let _ = writeln!(
            io::stderr(),
            "rrto: programs that look for the file {SONAME}, to link with it or to open it as libcuda.so, will not find it: {error:#}"
        );
    });
    let [stats, report, trace] =
        [&arguments.stats, &arguments.report, &arguments.trace].map(|path| path.as_deref().map(lasting));
    let environment = Environment {
        library: &library.path,
        links: links.as_deref().ok(),
        server: &arguments.server.server,
        robot: &robot,
        mode: arguments.mode,
        log: arguments.log.as_deref(),
        stats: stats.as_deref(),
        report: report.as_deref(),
        trace: trace.as_deref(),
    };
    let mut command = Command::new(&path);
    // Many programs look at the name that they were called by: busybox, Python's virtual environments.
    command.arg0(program).args(rest).envs(environment.variables(env::var_os));
    Ok((path, command))
}

/// A path that stays right when the program changes its directory.
fn lasting(path: &Path) -> PathBuf {
    if path.as_os_str() == STANDARD_ERROR {
        return path.into();
    }
    // Fails only for an empty path, which the library takes for none, or where there is no directory to be in.
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// Where the shell would find `program`.
fn find_program(program: &OsStr, search: Option<&OsStr>) -> Option<PathBuf> {
    if program.is_empty() {
        return None;
    }
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(search?).map(|dir| dir.join(program)).find(is_program)
}

/// Why the dynamic linker would not preload `library` into `program`, in words that say what to do.
fn objection(program: &Path, library: &Library) -> Option<String> {
    let file = match fs::metadata(program) {
        Ok(file) if file.is_dir() => return Some("it is a directory".into()),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            return Some("it is not executable (chmod +x, or name its interpreter first)".into());
        }
        Ok(file) => file,
        Err(error) => return Some(error.to_string()),
    };
    // /proc/self belongs to this process' user.
    let me = fs::metadata("/proc/self").ok();
    let other_user = me.as_ref().is_some_and(|me| me.uid() != file.uid()) && file.mode() & 0o4000 != 0;
    let other_group = me.as_ref().is_some_and(|me| me.gid() != file.gid()) && file.mode() & 0o2000 != 0;
    if other_user || other_group {
        return Some(
            "it is setuid or setgid, and such a program gets no preloaded library: run a copy without".into(),
        );
    }
    match Elf::read(program) {
        // Scripts: their interpreter is what gets the library.
        Ok(None) => None,
        Ok(Some(elf)) => elf_objection(&elf, library.elf.architecture),
        // Readable it need not be, as long as it is executable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    }
}

fn elf_objection(program: &Elf, library: Architecture) -> Option<String> {
    if program.architecture != library {
        return Some(format!(
            "it is a program for {}, and this is RRTO for {library}: use the RRTO built for {0}",
            program.architecture
        ));
    }
    (!program.has_interpreter).then(|| {
        "it is statically linked, so no library can be preloaded into it: link it dynamically (the CUDA runtime may \
         stay static)"
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        let (program, data) = (dir.path().join("program"), dir.path().join("data"));
        fs::write(&program, "").unwrap();
        fs::write(&data, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o644)).unwrap();
        let search = env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        let find = |name: &str| find_program(name.as_ref(), Some(&search));
        assert_eq!(find("program"), Some(program.clone()));
        assert_eq!(find("data"), None);
        assert_eq!(find(""), None);
        assert_eq!(find("./no-such-program"), None);
        assert_eq!(find_program(program.as_ref(), None), Some(program.clone()));
    }

    #[test]
    fn files_are_named_for_wherever_the_program_goes() {
        assert_eq!(lasting(Path::new("-")), Path::new("-"));
        assert_eq!(lasting(Path::new("/r.json")), Path::new("/r.json"));
        assert_eq!(lasting(Path::new("r.json")), env::current_dir().unwrap().join("r.json"));
    }

    #[test]
    fn what_cannot_be_preloaded_is_said() {
        let this = Elf::read(&env::current_exe().unwrap()).unwrap().unwrap();
        let architecture = this.architecture;
        assert_eq!(elf_objection(&this, architecture), None);
        let fixed = Elf { has_interpreter: false, soname: None, architecture };
        assert!(elf_objection(&fixed, architecture).unwrap().contains("statically linked"));
    }

    #[test]
    fn files_that_are_no_programs_are_said() {
        let this = Elf::read(&env::current_exe().unwrap()).unwrap().unwrap();
        let library = Library { path: "/ours.so".into(), elf: this };
        assert!(objection(Path::new("/"), &library).unwrap().contains("directory"));
        assert!(objection(Path::new("/etc/passwd"), &library).unwrap().contains("not executable"));
        assert_eq!(objection(&env::current_exe().unwrap(), &library), None);
    }
}
