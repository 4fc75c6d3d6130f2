use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::PrometheusBuilder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::limiter::{Kind, LINES, MOST_ADDRESSES, WINDOW, grouped};
use super::writer::Output;
use super::*;

/// A disk that is full now and then, and in the middle of a line.
struct Disk {
    random: ChaCha8Rng,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.random.random_range(0..4) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            _ => {
                let count = self.random.random_range(1..=bytes.len());
                self.bytes.lock().unwrap().extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn limiter() -> Arc<Limiter> {
    Arc::new(Limiter::new(Instant::now()))
}

#[test]
fn every_line_is_written_or_counted_and_none_is_mixed_with_another() {
    const LINES: u64 = 400;
    for seed in 0..50 {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        metrics::with_local_recorder(&recorder, || {
            let disk = Disk { random: ChaCha8Rng::seed_from_u64(seed), bytes: bytes.clone() };
            let mut output = Output::new(disk, limiter(), Arc::new(AtomicU64::new(0)));
            (0..LINES).for_each(|number| output.write_line(format!("<line {number}>\n").as_bytes()));
        });
        let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
        let whole =
            text.lines().filter(|line| line.starts_with("<line ") && line.ends_with('>')).count() as u64;
        let counted = handle.render();
        let lost = counted.lines().find(|line| line.starts_with(&format!("{LOG_LOST}{{")));
        let lost: u64 = lost.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
        // A line is whole, but for its line break, and counts as lost.
        assert!((LINES..=LINES + lost).contains(&(whole + lost)), "seed {seed}: {whole} + {lost}");
        for line in text.lines() {
            assert!(line.matches("<line").count() <= 1, "seed {seed}: {line}");
        }
        assert!(text.contains("lines of this log could not be written"), "seed {seed}");
    }
}

/// Takes nothing until it is let.
struct Stuck(Arc<Mutex<()>>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_a_reader_that_does_not_read() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let writer = Writer::thread(Stuck(gate.clone()), limiter());
    // Far more than the queue holds; it would never end if it waited.
    (0..20_000).for_each(|_| writer.line(b"line\n".to_vec()));
    writer.flush(Duration::from_millis(1));
    drop(closed);
    writer.flush(Duration::from_secs(60));
}

#[test]
fn what_is_over_the_limit_of_its_kind_is_summed_up() {
    let start = Instant::now();
    let mut kind = Kind::new(start, LINES, tracing::Level::INFO);
    for number in 0..5000_u32 {
        assert_eq!(kind.poll_sum(start + WINDOW / 2, false), None);
        if kind.has_room() {
            assert!(number < LINES);
        } else {
            kind.leave_out("no handshake".to_owned(), Some([10, 0, 0, (number % 3) as u8].into()));
        }
    }
    let sum = String::from_utf8(kind.poll_sum(start + WINDOW, false).unwrap()).unwrap();
    assert!(
        sum.ends_with(" INFO and 4,980 more from 3 addresses in 10 s, the last one: no handshake\n"),
        "{sum:?}"
    );
    // It counts anew, and an end in the middle of the time loses nothing.
    assert!(kind.has_room() && kind.poll_sum(start + 2 * WINDOW, false).is_none());
    kind.leave_out(String::new(), None);
    assert!(kind.poll_sum(start + 2 * WINDOW, true).is_some());
}

#[test]
fn addresses_that_are_told_apart_are_bounded() {
    let mut kind = Kind::new(Instant::now(), 0, tracing::Level::INFO);
    (0..1 << 20).for_each(|address: u32| {
        kind.leave_out(String::new(), Some(std::net::Ipv4Addr::from(address).into()))
    });
    let sum = String::from_utf8(kind.poll_sum(Instant::now(), true).unwrap()).unwrap();
    assert!(sum.contains(&format!("from {} addresses or more", grouped(MOST_ADDRESSES as u64))), "{sum}");
}

#[test]
fn numbers_are_grouped() {
    for (number, text) in [(0, "0"), (999, "999"), (1240, "1,240"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
}
