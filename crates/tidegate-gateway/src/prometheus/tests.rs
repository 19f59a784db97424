use std::io;
use std::sync::{Arc, Mutex};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    with_local_recorder,
};

use super::PrometheusMetrics;
use super::series::MAX_SERIES;

#[test]
fn the_text_has_every_kind_with_its_unit_help_and_labels() {
    let recorder = PrometheusMetrics::default();
    with_local_recorder(&recorder, || {
        describe_counter!("a.calls", Unit::Count, "Calls,\nby \\ result");
        describe_gauge!("a.cooldown", Unit::Seconds, "Rest");
        describe_histogram!("a.duration", Unit::Seconds, "Time");
        describe_counter!("a.unused", Unit::Count, "Never recorded");
        for _ in 0..2 {
            counter!("a.calls", "target" => "p/m", "error.type" => "say \"no\"\\\n").increment(2);
        }
        counter!("a.calls").increment(1);
        gauge!("a.cooldown").set(1.5);
        for seconds in [0.01, 0.011, 100.0] {
            histogram!("a.duration", "target" => "p/m").record(seconds);
        }
        gauge!("undescribed").set(f64::INFINITY);
    });
    let text = recorder.render();
    let buckets: Vec<_> = text.lines().filter(|line| line.contains("_bucket")).collect();
    assert_eq!(buckets.len(), 18);
    assert_eq!(buckets[0], r#"a_duration_seconds_bucket{target="p/m",le="0.01"} 1"#);
    assert_eq!(buckets[1], r#"a_duration_seconds_bucket{target="p/m",le="0.02"} 2"#);
    assert_eq!(buckets[13], r#"a_duration_seconds_bucket{target="p/m",le="81.92"} 2"#);
    assert_eq!(buckets[14], r#"a_duration_seconds_bucket{target="p/m",le="163.84"} 3"#);
    assert_eq!(buckets[17], r#"a_duration_seconds_bucket{target="p/m",le="+Inf"} 3"#);
    let rest: Vec<_> = text.lines().filter(|line| !line.contains("_bucket")).collect();
    assert_eq!(
        rest,
        [
            r"# HELP a_calls_total Calls,\nby \\ result",
            "# TYPE a_calls_total counter",
            "a_calls_total 1",
            r#"a_calls_total{target="p/m",error_type="say \"no\"\\\n"} 4"#,
            "# HELP a_cooldown_seconds Rest",
            "# TYPE a_cooldown_seconds gauge",
            "a_cooldown_seconds 1.5",
            "# TYPE undescribed gauge",
            "undescribed +Inf",
            "# HELP a_duration_seconds Time",
            "# TYPE a_duration_seconds histogram",
            r#"a_duration_seconds_sum{target="p/m"} 100.021"#,
            r#"a_duration_seconds_count{target="p/m"} 3"#,
        ]
    );
}

#[test]
fn the_number_of_series_is_bounded() {
    let recorder = PrometheusMetrics::default();
    with_local_recorder(&recorder, || {
        for number in 0..MAX_SERIES + 10 {
            counter!("a", "number" => number.to_string()).increment(1);
        }
        counter!("a", "number" => "0").increment(1);
    });
    let text = recorder.render();
    assert_eq!(text.lines().count(), MAX_SERIES + 1);
    assert!(text.contains("a_total{number=\"0\"} 2\n"));
}

/// A log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Regression: the gauges of many targets left no room for the counter of one that is used later.
#[test]
fn gauges_leave_room_for_counters_and_too_many_are_logged_once() {
    let (recorder, log) = (PrometheusMetrics::default(), Lines::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().without_time().with_writer(move || writer.clone()).finish();
    let record = || {
        let set_gauges = |number: usize| {
            for number in 0..number {
                gauge!("g", "target" => number.to_string(), "policy" => "p").set(1.0);
            }
        };
        let text = recorder.render_targets(|| set_gauges(MAX_SERIES + 10));
        assert_eq!(text.lines().count(), MAX_SERIES + 1);
        counter!("c", "target" => "late").increment(1);
        histogram!("h", "target" => "late").record(1.0);
        let text = recorder.render_targets(|| set_gauges(MAX_SERIES + 10));
        assert!(
            text.contains("c_total{target=\"late\"} 1\n") && text.contains("h_count{target=\"late\"} 1\n")
        );
        let text = recorder.render_targets(|| set_gauges(1));
        assert_eq!(text.lines().filter(|line| line.starts_with("g{")).count(), 1);
    };
    tracing::subscriber::with_default(subscriber, || with_local_recorder(&recorder, record));
    assert_eq!(log.text().matches("WARN").count(), 1, "{}", log.text());
}
