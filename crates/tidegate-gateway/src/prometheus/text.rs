//! The text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Display, Write};
use std::sync::atomic::Ordering;

use metrics::Unit;

use super::series::{Families, Family, FamilyKind, Labels, Series};

pub(super) fn render(families: &Families) -> String {
    let mut text = String::new();
    for ((kind, name), family) in &families.families {
        if !family.series.is_empty() {
            // Writing to a string does not fail.
            let _ = write_family(&mut text, *kind, name, family);
        }
    }
    text
}

fn write_family(text: &mut String, kind: FamilyKind, name: &str, family: &Family) -> fmt::Result {
    let name = full_name(kind, name, family.unit);
    if let Some(help) = &family.help {
        writeln!(text, "# HELP {name} {}", escaped(help, false))?;
    }
    let kind = match kind {
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    for (labels, series) in &family.series {
        write_series(text, &name, labels, series)?;
    }
    Ok(())
}

fn write_series(text: &mut String, name: &str, labels: &Labels, series: &Series) -> fmt::Result {
    match series {
        Series::Counter(value) => {
            writeln!(text, "{name}{} {}", label_list(labels, None), value.load(Ordering::Relaxed))
        }
        Series::Gauge(value) => {
            let value = f64::from_bits(value.load(Ordering::Relaxed));
            writeln!(text, "{name}{} {}", label_list(labels, None), number(value))
        }
        Series::Histogram(buckets) => {
            let mut count = 0;
            for (bound, up_to) in buckets.cumulative() {
                writeln!(text, "{name}_bucket{} {up_to}", label_list(labels, Some(bound)))?;
                count = up_to;
            }
            let labels = label_list(labels, None);
            writeln!(text, "{name}_sum{labels} {}", number(buckets.sum()))?;
            writeln!(text, "{name}_count{labels} {count}")
        }
    }
}

fn full_name(kind: FamilyKind, name: &str, unit: Option<Unit>) -> String {
    let unit = if unit == Some(Unit::Seconds) { "_seconds" } else { "" };
    let total = if kind == FamilyKind::Counter { "_total" } else { "" };
    format!("{}{unit}{total}", identifier(name))
}

/// The name with `_` for every character that the format does not allow.
fn identifier(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect()
}

/// The labels in braces, with the bound of a bucket as `le`.
fn label_list(labels: &Labels, bound: Option<f64>) -> String {
    let labels =
        labels.iter().map(|(name, value)| format!("{}=\"{}\"", identifier(name), escaped(value, true)));
    let bound = bound.map(|bound| format!("le=\"{}\"", number(bound)));
    let labels: Vec<_> = labels.chain(bound).collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

fn escaped(value: &str, is_quoted: bool) -> String {
    let value = value.replace('\\', r"\\").replace('\n', r"\n");
    if is_quoted { value.replace('"', "\\\"") } else { value }
}

fn number(value: f64) -> impl Display {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}
