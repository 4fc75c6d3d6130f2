//! What the library says: single lines, rarely, and never on standard output.
//!
//! `RRTO_LOG` chooses `off`, `error` (the default), `info` or `debug`; `RRTO_LOG_FILE` names a file to append
//! to instead of standard error. Errors and information are said once each: a program that calls an
//! unsupported function a million times gets one line. Debug lines are said every time.
//!
//! Nothing here panics or fails: a line that cannot be written is lost.

#![forbid(unsafe_code)]

use std::{
    collections::HashSet,
    env, fmt,
    fs::OpenOptions,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

/// How much is said. Ordered: a level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Nothing at all.
    Off = 0,
    /// What the user has to know: something does not work, and why.
    Error = 1,
    /// What helps to understand a run: connections, sequences found.
    Info = 2,
    /// What helps to understand the library.
    Debug = 3,
}

/// A longer line is cut: names and texts in it may come from the program or the server.
const LINE_MAX_BYTES: usize = 1024;

/// So many distinct lines are remembered; later ones are not said. Bounds the memory of a process that
/// produces ever new lines, and spares its log.
const REMEMBERED_MAX_LINES: usize = 1024;

/// Says something that the user has to know, once.
macro_rules! error {
    ($($text:tt)*) => { $crate::log::say($crate::log::Level::Error, format_args!($($text)*)) };
}
/// Says something that helps to understand a run, once.
macro_rules! info {
    ($($text:tt)*) => { $crate::log::say($crate::log::Level::Info, format_args!($($text)*)) };
}
/// Says something that helps to understand the library, every time.
macro_rules! debug {
    ($($text:tt)*) => { $crate::log::say($crate::log::Level::Debug, format_args!($($text)*)) };
}
pub(crate) use {debug, error, info};

/// Says a line at a level, if that is asked for. The text is formatted only then.
#[inline]
pub fn say(level: Level, text: fmt::Arguments<'_>) {
    if is_on(level) {
        global().say(level, text);
    }
}

/// Whether lines of this level are said; a few nanoseconds.
#[inline]
pub fn is_on(level: Level) -> bool {
    match LEVEL.load(Ordering::Relaxed) {
        UNKNOWN => level <= global().level,
        known => level as u8 <= known,
    }
}

/// `LEVEL` before the environment has been read.
const UNKNOWN: u8 = u8::MAX;
static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

fn global() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::from_environment();
        LEVEL.store(log.level as u8, Ordering::Relaxed);
        log
    })
}

struct Log {
    level: Level,
    sink: Mutex<Box<dyn Write + Send>>,
    said: Mutex<HashSet<u64>>,
}

impl Log {
    fn new(level: Level, sink: Box<dyn Write + Send>) -> Self {
        Self { level, sink: Mutex::new(sink), said: Mutex::default() }
    }

    fn from_environment() -> Self {
        let chosen = env::var("RRTO_LOG").unwrap_or_default();
        let level = parse_level(&chosen);
        let file = env::var_os("RRTO_LOG_FILE").filter(|path| !path.is_empty());
        let (sink, complaint): (Box<dyn Write + Send>, _) = match &file {
            None => (Box::new(io::stderr()), None),
            Some(path) => match OpenOptions::new().create(true).append(true).open(path) {
                Ok(file) => (Box::new(file), None),
                Err(error) => (Box::new(io::stderr()), Some((path, error))),
            },
        };

        let log = Self::new(level.unwrap_or(Level::Error), sink);
        if level.is_none() {
            log.say(
                Level::Error,
                format_args!("RRTO_LOG={chosen} is not one of off, error, info, debug: logging errors"),
            );
        }
        if let Some((path, error)) = complaint {
            log.say(Level::Error, format_args!("cannot log to {}: {error}", path.display()));
        }
        log
    }

    fn say(&self, level: Level, text: fmt::Arguments<'_>) {
        if level > self.level || level == Level::Off {
            return;
        }
        let line = single_line(&text.to_string());
        if level != Level::Debug && !self.is_new(&line) {
            return;
        }
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line, so that lines of several processes do not mix. If it fails there is nobody to
        // tell.
        let _ = sink.write_all(format!("rrto: {line}\n").as_bytes());
    }

    fn is_new(&self, line: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < REMEMBERED_MAX_LINES && said.insert(hasher.finish())
    }
}

fn parse_level(text: &str) -> Option<Level> {
    match text {
        "off" => Some(Level::Off),
        "" | "error" => Some(Level::Error),
        "info" => Some(Level::Info),
        "debug" => Some(Level::Debug),
        _ => None,
    }
}

/// `text` on one line of bounded length, without anything that a terminal would interpret.
fn single_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > LINE_MAX_BYTES {
        let cut = (0..=LINE_MAX_BYTES).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn each_distinct_line_is_said_once() {
        let page = Page::default();
        let log = Log::new(Level::Info, Box::new(page.clone()));
        for _ in 0..3 {
            log.say(Level::Error, format_args!("one"));
            log.say(Level::Info, format_args!("two"));
            log.say(Level::Debug, format_args!("three"));
        }
        assert_eq!(page.text(), "rrto: one\nrrto: two\n");
    }

    #[test]
    fn debug_lines_repeat_and_off_says_nothing() {
        let page = Page::default();
        let log = Log::new(Level::Debug, Box::new(page.clone()));
        log.say(Level::Debug, format_args!("x"));
        log.say(Level::Debug, format_args!("x"));
        log.say(Level::Off, format_args!("x"));
        assert_eq!(page.text(), "rrto: x\nrrto: x\n");

        let page = Page::default();
        Log::new(Level::Off, Box::new(page.clone())).say(Level::Error, format_args!("x"));
        assert_eq!(page.text(), "");
    }

    #[test]
    fn a_line_is_one_short_line() {
        assert_eq!(single_line("a\nb\x1b[31m"), "a b [31m");
        let long = single_line(&"\u{e9}".repeat(LINE_MAX_BYTES));
        assert!(long.len() <= LINE_MAX_BYTES + 3 && long.ends_with("..."));
    }

    #[test]
    fn distinct_lines_are_bounded() {
        let page = Page::default();
        let log = Log::new(Level::Error, Box::new(page.clone()));
        for n in 0..2 * REMEMBERED_MAX_LINES {
            log.say(Level::Error, format_args!("{n}"));
        }
        assert_eq!(page.text().lines().count(), REMEMBERED_MAX_LINES);
    }

    #[test]
    fn a_closed_sink_is_no_error() {
        Log::new(Level::Error, Box::new(Closed)).say(Level::Error, format_args!("lost"));
    }

    #[test]
    fn levels() {
        assert_eq!(parse_level(""), Some(Level::Error));
        assert_eq!(parse_level("debug"), Some(Level::Debug));
        assert_eq!(parse_level("loud"), None);
        assert!(is_on(Level::Off));
    }
}
