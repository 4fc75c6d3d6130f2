//! Writes lines, or counts them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::limiter::Limiter;
use super::{count_lost, line};

/// Lines that wait to be written; a line is some hundred bytes, so what waits is a few hundred kB.
const QUEUED_LINES: usize = 2048;

/// How often the thread looks for sums of lines that were left out.
const TICK: Duration = Duration::from_secs(1);

/// A line is cut to this, so that the queue's memory is bounded.
const MOST_LINE_BYTES: usize = 16 << 10;

enum Message {
    Line(Vec<u8>),
    /// All before it has been written once this is dropped.
    Flush(SyncSender<()>),
}

/// Takes lines and never fails. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    way: Way,
    /// Lines for which the queue had no room.
    unqueued: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Way {
    Queue(SyncSender<Message>),
    Direct(Arc<Mutex<Output<Box<dyn Write + Send>>>>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Way::Queue(_)) { "Queue" } else { "Direct" })
    }
}

impl Writer {
    /// A thread writes to `sink`. Where the system has none to give, whoever logs does.
    pub(super) fn thread(sink: impl Write + Send + 'static, limiter: Arc<Limiter>) -> Self {
        let (sender, receiver) = sync_channel(QUEUED_LINES);
        let unqueued = Arc::new(AtomicU64::new(0));
        let output = Arc::new(Mutex::new(Output::new(Box::new(sink) as _, limiter, unqueued.clone())));
        let writes = Arc::clone(&output);
        let started = std::thread::Builder::new().name("rrto-log".into()).spawn(move || {
            lock(&writes).run(&receiver);
        });
        let way = if started.is_ok() { Way::Queue(sender) } else { Way::Direct(output) };
        Writer { way, unqueued }
    }

    /// Whoever logs writes to `sink`.
    pub(super) fn direct(sink: impl Write + Send + 'static, limiter: Arc<Limiter>) -> Self {
        let unqueued = Arc::new(AtomicU64::new(0));
        let output = Output::new(Box::new(sink) as _, limiter, unqueued.clone());
        Writer { way: Way::Direct(Arc::new(Mutex::new(output))), unqueued }
    }

    /// Takes whole lines.
    pub(super) fn line(&self, mut line: Vec<u8>) {
        if line.len() > MOST_LINE_BYTES {
            line.truncate(MOST_LINE_BYTES);
            line.push(b'\n');
        }
        match &self.way {
            Way::Queue(sender) => {
                if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                    sender.try_send(Message::Line(line))
                {
                    self.unqueued.fetch_add(1, Ordering::Relaxed);
                }
            }
            Way::Direct(output) => lock(output).write_line(&line),
        }
    }

    /// Waits until what was queued has been written, `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let Way::Queue(sender) = &self.way else { return };
        let (done, written) = sync_channel(1);
        let deadline = Instant::now() + limit;
        let mut message = Message::Flush(done);
        // A full queue is waited for: what is in it is to be written too.
        while let Err(TrySendError::Full(back)) = sender.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn lock<T>(output: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { writer: self.clone(), bytes: Vec::new() }
    }
}

/// Collects one event's text.
pub(super) struct LineWriter {
    writer: Writer,
    bytes: Vec<u8>,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.writer.line(std::mem::take(&mut self.bytes));
    }
}

/// Where lines go.
pub(super) struct Output<W> {
    sink: W,
    limiter: Arc<Limiter>,
    unqueued: Arc<AtomicU64>,
    /// Lines that could not be written and of which nothing has been said.
    lost: u64,
    /// The latest line was written in part.
    is_torn: bool,
    ticked: Instant,
}

impl<W: Write> Output<W> {
    pub(super) fn new(sink: W, limiter: Arc<Limiter>, unqueued: Arc<AtomicU64>) -> Self {
        Output { sink, limiter, unqueued, lost: 0, is_torn: false, ticked: Instant::now() }
    }

    fn run(&mut self, lines: &Receiver<Message>) {
        loop {
            match lines.recv_timeout(TICK) {
                Ok(Message::Line(line)) => self.write_line(&line),
                Ok(Message::Flush(done)) => {
                    self.write_sums(true);
                    drop(done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.write_sums(false);
            }
        }
    }

    /// Sums that would otherwise wait for the next line of their kind.
    fn write_sums(&mut self, at_once: bool) {
        for sum in self.limiter.poll_sums(Instant::now(), at_once) {
            self.write_line(&sum);
        }
    }

    /// Writes `line`, and before it what has become of those before it; or counts it.
    pub(super) fn write_line(&mut self, line: &[u8]) {
        let unqueued = self.unqueued.swap(0, Ordering::Relaxed);
        if unqueued > 0 {
            count_lost("slow", unqueued);
            self.lost += unqueued;
        }
        let mut text = Vec::new();
        if self.is_torn {
            text.push(b'\n');
        }
        if self.lost > 0 {
            let lost = super::limiter::grouped(self.lost);
            text.extend(self::line("WARN", format_args!("{lost} lines of this log could not be written")));
        }
        let said = text.len();
        text.extend_from_slice(line);
        let written = self.write(&text);
        if said > 0 && written >= said {
            self.lost = 0;
        }
        if written < text.len() {
            self.lost += 1;
            count_lost("unwritable", 1);
            // What is left of a line is ended before the next one.
            self.is_torn = text.get(..written).is_some_and(|part| match part.last() {
                Some(last) => *last != b'\n',
                None => self.is_torn,
            });
        } else {
            self.is_torn = false;
        }
    }

    /// How many bytes could be written.
    fn write(&mut self, text: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}
