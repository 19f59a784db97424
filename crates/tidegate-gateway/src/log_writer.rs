use std::fmt;
use std::io::{self, Write};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use tracing::Level;

use crate::log_format::LogFormat;

/// A writer for log lines that neither blocks nor fails.
///
/// Lines are queued, and a thread writes them. A line is lost if the queue is full, because the output
/// accepts no bytes, or if it cannot be written. Lost lines are counted; the output receives their number
/// once it accepts bytes again.
///
/// ```
/// use std::io::Write;
/// use tidegate_gateway::LogWriter;
///
/// # fn main() -> std::io::Result<()> {
/// let mut log = LogWriter::new(std::io::stderr())?;
/// writeln!(log, "ready")?;
/// log.flush_within(std::time::Duration::from_secs(1));
/// assert_eq!(log.lost_lines(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: Sender<Message>,
    format: LogFormat,
    counts: Arc<LostLines>,
}

#[derive(Debug, Default)]
struct LostLines {
    queued_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The source of the messages of the gateway itself.
const PROGRAM: &str = "tidegate-gateway";

/// The most bytes that wait to be written.
const MAX_QUEUED: usize = 1024 * 1024;

/// The time that a line waits for others.
const BATCH_TIME: Duration = Duration::from_millis(5);

/// The size at which a batch is written.
const MAX_BATCH: usize = 64 * 1024;

/// The shortest time between two reports of lost lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl LogWriter {
    /// Starts the thread that writes to `output`. The number of lost lines is written as text.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        Self::with_format(output, LogFormat::Text)
    }

    /// The same for lines of this format.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn with_format(output: impl Write + Send + 'static, format: LogFormat) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let counts = Arc::new(LostLines::default());
        let written = Arc::clone(&counts);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&messages, output, format, &written))?;
        Ok(Self { queue, format, counts })
    }

    /// Writes the line of a message that is not an event. `source` is the program or a file.
    pub fn report(&self, level: Level, source: impl fmt::Display, message: impl fmt::Display) {
        // A lost line is counted.
        let _ = self.clone().write_all(self.format.line(level, source, message).as_bytes());
    }

    /// The number of lines that were not written.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.counts.lost_lines.load(Ordering::Relaxed)
    }

    /// Waits until the queued lines are written, or until `limit` has elapsed.
    pub fn flush_within(&self, limit: Duration) {
        let (flushed, wait) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(flushed)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

/// Each call is one line, as a formatter of events writes it.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queued = self.counts.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = queued.saturating_add(line.len()) <= MAX_QUEUED;
        if !fits || self.queue.send(Message::Line(line.to_vec())).is_err() {
            self.counts.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that are written at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    flushed: Option<SyncSender<()>>,
}

impl Batch {
    /// Waits for a line, and adds those that are queued shortly afterwards. `None` once all writers are
    /// dropped.
    fn receive(messages: &Receiver<Message>) -> Option<Self> {
        let first = messages.recv().ok()?;
        if matches!(first, Message::Line(_)) {
            // A busy process makes one system call for many lines, and wakes this thread as rarely.
            thread::park_timeout(BATCH_TIME);
        }
        let mut batch = Self::default();
        for message in iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => {
                    batch.bytes.extend_from_slice(&line);
                    batch.lines += 1;
                }
                Message::Flush(flushed) => batch.flushed = Some(flushed),
            }
            if batch.flushed.is_some() || batch.bytes.len() >= MAX_BATCH {
                break;
            }
        }
        Some(batch)
    }
}

fn write(messages: &Receiver<Message>, mut output: impl Write, format: LogFormat, counts: &LostLines) {
    let mut reported = 0;
    let mut next_report = Instant::now();
    // The output ends in a part of a line.
    let mut is_torn = false;
    while let Some(mut batch) = Batch::receive(messages) {
        let queued = batch.bytes.len();
        let ends_line = is_torn && batch.lines > 0;
        if ends_line {
            batch.bytes.insert(0, b'\n');
        }
        let (length, result) = write_until_error(&mut output, &batch.bytes);
        counts.queued_bytes.fetch_sub(queued, Ordering::Relaxed);
        let written = &batch.bytes[..length];
        let ends = memchr_iter(b'\n', written).count() as u64;
        let lines = ends.saturating_sub(ends_line.into());
        counts.lost_lines.fetch_add(batch.lines.saturating_sub(lines), Ordering::Relaxed);
        is_torn = written.last().map_or(is_torn, |last| *last != b'\n');
        let lost = counts.lost_lines.load(Ordering::Relaxed);
        if result.is_ok() && batch.lines > 0 && lost > reported && Instant::now() >= next_report {
            next_report = Instant::now() + REPORT_INTERVAL;
            let message = format_args!("{} log lines were lost", lost - reported);
            let report = format.line(Level::WARN, PROGRAM, message);
            let (length, result) = write_until_error(&mut output, report.as_bytes());
            is_torn = (1..report.len()).contains(&length);
            if result.is_ok() {
                reported = lost;
            }
        }
        if let Some(flushed) = batch.flushed {
            let _ = flushed.try_send(());
        }
    }
}

/// Writes as many of `bytes` as the output accepts, and returns their number.
fn write_until_error(output: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, output.flush())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// An output that fails, blocks or keeps what is written.
    #[derive(Clone, Default)]
    struct Output {
        text: Arc<Mutex<Vec<u8>>>,
        is_full: Arc<Mutex<bool>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.is_full.lock().unwrap() {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                self.text.lock().unwrap().write(bytes)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_later() {
        let output = Output::default();
        *output.is_full.lock().unwrap() = true;
        let mut log = LogWriter::new(output.clone()).unwrap();
        for _ in 0..3 {
            writeln!(log, "lost").unwrap();
        }
        log.flush_within(BOUND);
        assert_eq!(log.lost_lines(), 3);
        *output.is_full.lock().unwrap() = false;
        writeln!(log, "kept").unwrap();
        log.flush_within(BOUND);
        let text = String::from_utf8(output.text.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "kept\ntidegate-gateway: 3 log lines were lost\n");
        assert_eq!(log.lost_lines(), 3);
    }

    #[test]
    fn lost_lines_are_reported_in_the_format_of_the_log() {
        let output = Output::default();
        *output.is_full.lock().unwrap() = true;
        let mut log = LogWriter::with_format(output.clone(), LogFormat::Json).unwrap();
        writeln!(log, "{{}}").unwrap();
        log.flush_within(BOUND);
        *output.is_full.lock().unwrap() = false;
        log.report(Level::ERROR, "here", "two\nlines");
        log.flush_within(BOUND);
        let text = String::from_utf8(output.text.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<_> = lines.iter().map(|line| (&line["level"], &line["message"])).collect();
        let expected = [("ERROR", "two\nlines"), ("WARN", "1 log lines were lost")];
        assert_eq!(serde_json::json!(messages), serde_json::json!(expected));
    }

    /// An output with a bound.
    #[derive(Clone, Default)]
    struct Bounded {
        text: Arc<Mutex<Vec<u8>>>,
        room: Arc<AtomicUsize>,
    }

    impl Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room.load(Ordering::Relaxed));
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(length, Ordering::Relaxed);
            self.text.lock().unwrap().write(&bytes[..length])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Regression: lines of a batch that were written counted as lost, and the next line continued one that
    /// was cut.
    #[test]
    fn a_line_that_is_cut_is_lost_and_ends_before_the_next_one() {
        let output = Bounded::default();
        output.room.store(12, Ordering::Relaxed);
        let mut log = LogWriter::new(output.clone()).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        log.flush_within(BOUND);
        assert_eq!(log.lost_lines(), 2);
        output.room.store(1000, Ordering::Relaxed);
        writeln!(log, "fourth").unwrap();
        log.flush_within(BOUND);
        let text = String::from_utf8(output.text.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "first\nsecond\nfourth\ntidegate-gateway: 2 log lines were lost\n");
        assert_eq!(log.lost_lines(), 2);
    }

    /// Regression: the next line continued a report that was cut.
    #[test]
    fn a_report_that_is_cut_ends_before_the_next_line() {
        const REPORT: &str = "tidegate-gateway: 1 log lines were lost\n";
        for cut in 0..=REPORT.len() {
            let output = Bounded::default();
            let mut log = LogWriter::new(output.clone()).unwrap();
            writeln!(log, "lost").unwrap();
            log.flush_within(BOUND);
            output.room.store("kept\n".len() + cut, Ordering::Relaxed);
            writeln!(log, "kept").unwrap();
            log.flush_within(BOUND);
            output.room.store(1_000, Ordering::Relaxed);
            writeln!(log, "next").unwrap();
            log.flush_within(BOUND);
            let text = String::from_utf8(output.text.lock().unwrap().clone()).unwrap();
            let torn = if (1..REPORT.len()).contains(&cut) { "\n" } else { "" };
            // A slow machine writes the report once more.
            assert!(text.starts_with(&format!("kept\n{}{torn}next\n", &REPORT[..cut])), "{cut}: {text}");
        }
    }

    #[test]
    fn an_output_that_blocks_delays_nothing_and_bounds_the_queue() {
        let output = Output::default();
        let blocked = output.text.lock().unwrap();
        let mut log = LogWriter::new(output.clone()).unwrap();
        let line = vec![b'x'; 1024];
        for _ in 0..2048 {
            log.write_all(&line).unwrap();
        }
        assert_eq!(log.lost_lines(), 1024);
        assert!(log.counts.queued_bytes.load(Ordering::Relaxed) <= MAX_QUEUED);
        let started = Instant::now();
        log.flush_within(Duration::from_millis(10));
        assert!(started.elapsed() < BOUND);
        drop(blocked);
        log.flush_within(BOUND);
        let written = output.text.lock().unwrap().len();
        assert!(written >= MAX_QUEUED, "{written}");
    }
}
