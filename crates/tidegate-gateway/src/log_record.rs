use std::fmt;
use std::time::SystemTime;

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// An event that a dependency has written with the crate `log`, without its place in the source, which is a path
/// of the machine that built the program.
#[derive(Debug, Default)]
pub(crate) struct LogRecord {
    /// The module.
    pub(crate) source: String,
    pub(crate) message: String,
}

/// Events as JSON: those of `tracing` in the inner format.
#[derive(Debug)]
pub(crate) struct JsonLines<F>(pub(crate) F);

impl LogRecord {
    /// `None` for an event of `tracing`.
    #[inline]
    pub(crate) fn of(event: &Event<'_>) -> Option<Self> {
        (event.metadata().target() == "log").then(|| {
            let mut record = Self::default();
            event.record(&mut record);
            record
        })
    }
}

impl Visit for LogRecord {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.source);
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for JsonLines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match LogRecord::of(event) {
            Some(LogRecord { source, message }) => {
                let timestamp = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
                let level = event.metadata().level().as_str();
                let line = json!({
                    "timestamp": timestamp,
                    "level": level,
                    "source": source,
                    "message": message,
                });
                writeln!(writer, "{line}")
            }
            None => self.0.format_event(context, writer, event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

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

    #[test]
    fn a_line_of_a_dependency_has_its_module_and_no_path() {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true)
            .map_event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let file = "/registry/src/a.rs";
            tracing::error!(target: "log", { log.target = "a::b", log.file = file, log.line = 3 }, "failed");
            tracing::info!(status = 200, "served");
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let fields = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(fields(&lines[0]), "level message source timestamp");
        assert_eq!((&lines[0]["level"], &lines[0]["source"]), (&"ERROR".into(), &"a::b".into()));
        assert_eq!((&lines[1]["status"], &lines[1]["message"]), (&200.into(), &"served".into()));
    }
}
