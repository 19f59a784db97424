use std::fmt::{self, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::log_record::LogRecord;

/// An event as a line: its time, level, message and fields.
///
/// The formats of `tracing-subscriber` need twice the instructions, which are a twentieth of those of a call.
/// The module is left out, since it has the name of the field `target`.
pub(crate) struct TextLines;

/// Writes the fields of one event into its line.
struct FieldWriter<'a>(&'a mut String);

/// The memory that is reserved for a line, in bytes: that of a call has about 240.
const USUAL_LENGTH: usize = 320;

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut line = String::with_capacity(USUAL_LENGTH);
        write!(line, "{}", humantime::format_rfc3339_micros(SystemTime::now()))?;
        if writer.has_ansi_escapes() {
            write!(line, " \x1b[{}m{:>5}\x1b[0m", colour(level), level.as_str())?
        } else {
            write!(line, " {:>5}", level.as_str())?
        }
        match LogRecord::of(event) {
            Some(LogRecord { source, message }) => {
                write!(OneLine(&mut line), " {message} source={source:?}")?;
            }
            None => event.record(&mut FieldWriter(&mut line)),
        }
        line.push('\n');
        writer.write_str(&line)
    }
}

/// The number of a colour (ECMA-48, SGR).
const fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

impl FieldWriter<'_> {
    fn write_name(&mut self, field: &Field) {
        self.0.push(' ');
        if field.name() != "message" {
            self.0.push_str(field.name());
            self.0.push('=');
        }
    }

    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.write_name(field);
        // A text has room for everything; a value that cannot be formatted is left out.
        let _ = OneLine(self.0).write_fmt(value);
    }
}

/// Escapes control characters, with which a text could begin another line or change a terminal.
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.0.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|char| {
            if char.is_control() {
                write!(self.0, "{}", char.escape_default())
            } else {
                self.0.write_char(char)
            }
        })
    }
}

impl Visit for FieldWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if !value.bytes().all(is_plain) {
            return self.record_debug(field, &value);
        }
        // As `Debug` writes it, but in one piece.
        self.write_name(field);
        self.0.push('"');
        self.0.push_str(value);
        self.0.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write_name(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write_name(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of `events` without their times.
    fn lines(has_colours: bool, events: impl FnOnce()) -> String {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(has_colours)
            .with_writer(move || writer.clone())
            .event_format(TextLines)
            .finish();
        tracing::subscriber::with_default(subscriber, events);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let without_time = text.lines().map(|line| {
            let (time, rest) = line.split_once(' ').unwrap();
            humantime::parse_rfc3339(time).unwrap();
            format!("{rest}\n")
        });
        without_time.collect()
    }

    #[test]
    fn a_line_has_the_level_the_message_and_the_fields_of_its_event() {
        let absent: Option<&str> = None;
        let text = lines(false, || {
            tracing::info!(layer = "gateway", absent, status = 200_u16, ready = true, "response ended");
            tracing::warn!(error = %io::Error::other("no"), left = -1, list = ?[1, 2], "it {}", "failed");
        });
        let expected = concat!(
            " INFO response ended layer=\"gateway\" status=200 ready=true\n",
            " WARN it failed error=no left=-1 list=[1, 2]\n",
        );
        assert_eq!(text, expected);
    }

    /// A line feed in a text would begin a false line of the log.
    #[test]
    fn a_text_stays_on_its_line() {
        let text = lines(false, || tracing::warn!(error = %"ü\u{1b}[31m", "two\nlines"));
        assert_eq!(text, " WARN two\\nlines error=ü\\u{1b}[31m\n");
    }

    #[test]
    fn a_string_is_quoted() {
        let text = lines(false, || {
            for text in ["plain", "", "two\nlines", "a \"quote\"", "back\\slash", "\u{1b}[31m", "straße"] {
                tracing::debug!(text);
            }
        });
        let texts = ["plain", "", "two\nlines", "a \"quote\"", "back\\slash", "\u{1b}[31m", "straße"];
        let expected: String = texts.map(|text| format!("DEBUG text={text:?}\n")).concat();
        assert_eq!(text, expected);
    }

    /// Regression: it had the path of its source on the machine that built the program.
    #[test]
    fn a_line_of_a_dependency_has_its_module_and_no_path() {
        let text = lines(false, || {
            let file = "/registry/src/a.rs";
            tracing::error!(target: "log", { log.target = "a::b", log.file = file, log.line = 3 }, "two\nlines");
        });
        assert_eq!(text, "ERROR two\\nlines source=\"a::b\"\n");
    }

    #[test]
    fn levels_have_colours_in_a_terminal() {
        assert_eq!(lines(true, || tracing::error!("no")), "\u{1b}[31mERROR\u{1b}[0m no\n");
        assert_eq!(lines(true, || tracing::trace!("yes")), "\u{1b}[35mTRACE\u{1b}[0m yes\n");
    }
}
