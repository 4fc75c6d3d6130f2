//! What the library says: single lines, rarely, and never on standard output.
//!
//! `RRTO_LOG` chooses `off`, `error` (the default), `info` or `debug`; `RRTO_LOG_FILE` names a file to append
//! to instead of standard error. Errors and information are said once each: a program that calls an
//! unsupported function a million times gets one line. Debug lines are said every time.
//!
//! Nothing here panics or fails: a line that cannot be written is lost. A line takes no lock and no memory, so it can be said from
//! anywhere, also where a signal handler has interrupted the allocator.
//!
//! What a thread of our own has to say is kept until a thread of the program's says something: it may have descriptors of its own, and
//! no standard error.

#![forbid(unsafe_code)]

use std::{
    env,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hasher},
    io::Write as _,
    path::PathBuf,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{
    boundary::{self, Output},
    thread,
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

/// So many lines of our own threads are kept.
const KEPT_MAX_LINES: usize = 8;

/// What every line begins with.
const PREFIX: &str = "rrto: ";

/// What a line ends with that was cut.
const CUT: &str = "...";

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

/// Reads the environment, so that later nothing has to.
pub(crate) fn prepare() {
    global();
}

fn global() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::from_environment();
        LEVEL.store(log.level as u8, Ordering::Relaxed);
        log
    })
}

/// Says what threads of our own have said since the last line.
pub(crate) fn say_the_rest() {
    global().say_kept();
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    StandardError,
    /// Opened for each line: what a library keeps open, a program may close.
    File(PathBuf),
    #[cfg(test)]
    Page(std::sync::Arc<Mutex<Vec<u8>>>),
}

impl Sink {
    /// One write a line, so that lines of several processes do not mix. If it fails there is nobody to tell.
    fn write(&self, line: &[u8]) {
        match self {
            Sink::StandardError => boundary::to_standard_error(line),
            Sink::File(path) => {
                let _ = Output::append(path).and_then(|mut file| file.write_all(line));
            }
            #[cfg(test)]
            Sink::Page(page) => page.lock().unwrap().extend_from_slice(line),
        }
    }
}

#[derive(Debug)]
struct Log {
    level: Level,
    sink: Sink,
    said: Said,
    kept: Mutex<Vec<Line>>,
    has_kept: AtomicBool,
}

impl Log {
    fn new(level: Level, sink: Sink) -> Self {
        Self { level, sink, said: Said::default(), kept: Mutex::default(), has_kept: AtomicBool::new(false) }
    }

    fn from_environment() -> Self {
        let chosen = env::var("RRTO_LOG").unwrap_or_default();
        let level = parse_level(&chosen);
        let file = env::var_os("RRTO_LOG_FILE").filter(|path| !path.is_empty());
        let file = file.map(|path| std::path::absolute(&path).unwrap_or_else(|_| path.into()));
        // Now, so that it is said where everything is said if there is no such file.
        let (sink, complaint) = match file {
            None => (Sink::StandardError, None),
            Some(path) => match Output::append(&path) {
                Ok(_) => (Sink::File(path), None),
                Err(error) => (Sink::StandardError, Some((path, error))),
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
        let mut line = Line::new();
        // The only failure is that the line is full.
        let _ = line.write_fmt(text);
        if level != Level::Debug && !self.said.insert(line.text()) {
            return;
        }
        if thread::this(|this| this.is_own.get()) {
            return self.keep(line);
        }
        self.say_kept();
        self.sink.write(line.finish());
    }

    fn keep(&self, line: Line) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX_LINES {
            kept.push(line);
            self.has_kept.store(true, Ordering::Release);
        }
    }

    fn say_kept(&self) {
        if !self.has_kept.load(Ordering::Acquire) {
            return;
        }
        // Who has the lock says them.
        let Ok(mut kept) = self.kept.try_lock() else { return };
        self.has_kept.store(false, Ordering::Relaxed);
        kept.iter_mut().for_each(|line| self.sink.write(line.finish()));
        kept.clear();
    }
}

/// A line of bounded length, without anything that a terminal would interpret.
#[derive(Debug)]
struct Line {
    bytes: [u8; PREFIX.len() + LINE_MAX_BYTES + CUT.len() + 1],
    used: usize,
}

impl Line {
    fn new() -> Self {
        let mut line = Line { bytes: [0; _], used: 0 };
        line.push(PREFIX);
        line
    }

    fn push(&mut self, text: &str) {
        if let Some(place) = self.bytes.get_mut(self.used..self.used + text.len()) {
            place.copy_from_slice(text.as_bytes());
            self.used += text.len();
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(PREFIX.len()..self.used).unwrap_or_default()
    }

    /// All of it, with its end.
    fn finish(&mut self) -> &[u8] {
        self.push("\n");
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if self.used + c.len_utf8() > PREFIX.len() + LINE_MAX_BYTES {
                self.push(CUT);
                // Nothing more is formatted.
                return Err(fmt::Error);
            }
            self.push(c.encode_utf8(&mut [0; 4]));
        }
        Ok(())
    }
}

/// Lines that were said, by their hashes; a table with twice as many places as it may have lines.
#[derive(Debug)]
struct Said {
    hashes: [AtomicU64; 2 * REMEMBERED_MAX_LINES],
    count: AtomicUsize,
}

impl Default for Said {
    fn default() -> Self {
        Said { hashes: [const { AtomicU64::new(0) }; _], count: AtomicUsize::new(0) }
    }
}

impl Said {
    /// Whether the line is new, and still may be said.
    fn insert(&self, line: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(line);
        // 0 is a free place.
        let hash = hasher.finish().max(1);
        let places = self.hashes.len();
        let first = usize::try_from(hash % (places as u64)).unwrap_or_default();
        for place in self.hashes.iter().cycle().skip(first).take(places) {
            match place.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if self.count.fetch_add(1, Ordering::Relaxed) < REMEMBERED_MAX_LINES => return true,
                Ok(_) => {
                    // The table is full: the place stays free, so that every search comes to an end at one.
                    place.store(0, Ordering::Relaxed);
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return false;
                }
                Err(other) if other == hash => return false,
                Err(_) => {}
            }
        }
        false
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A log and the page that it is written on.
    fn log(level: Level) -> (Log, impl Fn() -> String) {
        let page = Arc::new(Mutex::new(Vec::new()));
        let log = Log::new(level, Sink::Page(page.clone()));
        (log, move || String::from_utf8(page.lock().unwrap().clone()).unwrap())
    }

    #[test]
    fn each_distinct_line_is_said_once() {
        let (log, text) = log(Level::Info);
        for _ in 0..3 {
            log.say(Level::Error, format_args!("one"));
            log.say(Level::Info, format_args!("two"));
            log.say(Level::Debug, format_args!("three"));
        }
        assert_eq!(text(), "rrto: one\nrrto: two\n");
    }

    #[test]
    fn debug_lines_repeat_and_off_says_nothing() {
        let (debug, text) = log(Level::Debug);
        debug.say(Level::Debug, format_args!("x"));
        debug.say(Level::Debug, format_args!("x"));
        debug.say(Level::Off, format_args!("x"));
        assert_eq!(text(), "rrto: x\nrrto: x\n");

        let (off, text) = log(Level::Off);
        off.say(Level::Error, format_args!("x"));
        assert_eq!(text(), "");
    }

    #[test]
    fn a_line_is_one_short_line() {
        let (log, text) = log(Level::Error);
        log.say(Level::Error, format_args!("a\nb{}", "\x1b[31m"));
        assert_eq!(text(), "rrto: a b [31m\n");
        let long = "\u{e9}".repeat(LINE_MAX_BYTES);
        log.say(Level::Error, format_args!("{long}{long}"));
        let line = text().lines().nth(1).unwrap().to_owned();
        assert!(line.len() <= PREFIX.len() + LINE_MAX_BYTES + CUT.len() && line.ends_with("..."), "{line}");
    }

    #[test]
    fn distinct_lines_are_bounded() {
        let (log, text) = log(Level::Error);
        for n in 0..4 * REMEMBERED_MAX_LINES {
            log.say(Level::Error, format_args!("{n}"));
        }
        assert_eq!(text().lines().count(), REMEMBERED_MAX_LINES);
    }

    #[test]
    fn a_sink_that_takes_nothing_is_no_error() {
        for path in ["/dev/full", "/no/such/folder/log"] {
            Log::new(Level::Error, Sink::File(path.into())).say(Level::Error, format_args!("lost"));
        }
    }

    #[test]
    fn lines_of_our_own_threads_come_before_the_next_one() {
        let (log, text) = log(Level::Error);
        let log = Arc::new(log);
        let own = log.clone();
        std::thread::spawn(move || {
            boundary::enter_own_thread();
            (0..2 * KEPT_MAX_LINES).for_each(|n| own.say(Level::Error, format_args!("own {n}")));
        })
        .join()
        .unwrap();
        assert_eq!(text(), "");
        log.say(Level::Error, format_args!("the program's"));
        let said = text();
        assert_eq!(said.lines().count(), KEPT_MAX_LINES + 1);
        assert!(said.starts_with("rrto: own 0\n") && said.ends_with("rrto: the program's\n"), "{said}");
    }

    #[test]
    fn levels() {
        assert_eq!(parse_level(""), Some(Level::Error));
        assert_eq!(parse_level("debug"), Some(Level::Debug));
        assert_eq!(parse_level("loud"), None);
        assert!(is_on(Level::Off));
    }
}
