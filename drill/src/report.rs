//! Tables of figures.

use std::fmt::Write;

use crate::figures::Figures;
use crate::scenario::Scenario;

/// The columns of a table: title and cell.
type Column = (&'static str, fn(&Figures) -> String);

const COLUMNS: &[Column] = &[
    ("success", |figures| percent(figures.success_rate)),
    ("goodput t/s", |figures| format!("{:.1}", figures.goodput)),
    ("ttft p50", |figures| seconds(figures.first_token_p50_ms)),
    ("ttft p99", |figures| seconds(figures.first_token_p99_ms)),
    ("total p50", |figures| seconds(figures.total_p50_ms)),
    ("total p99", |figures| seconds(figures.total_p99_ms)),
    ("attempts/call", |figures| format!("{:.3}", figures.attempts_per_call)),
    ("futile", |figures| figures.futile_attempts.to_string()),
    ("429s", |figures| figures.rate_limited.to_string()),
    ("quota used", |figures| or_dash(figures.quota_used.map(percent))),
    ("wasted tokens", |figures| figures.wasted_tokens.to_string()),
    ("fairness", |figures| or_dash(figures.fairness.map(|share| format!("{share:.2}")))),
    ("detect", |figures| seconds(figures.detect_ms)),
    ("recover", |figures| seconds(figures.recover_ms)),
    ("leaked", |figures| or_dash(figures.leaked_permits.map(|permits| permits.to_string()))),
];

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn seconds(millis: Option<u64>) -> String {
    or_dash(millis.map(|millis| format!("{:.2} s", millis as f64 / 1000.0)))
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".to_owned())
}

/// The table of one scenario.
pub(crate) fn table(scenario: &Scenario, rows: &[Figures]) -> String {
    let title = COLUMNS.iter().map(|(title, _)| (*title).to_owned());
    let mut cells = vec![std::iter::once("stack".to_owned()).chain(title).collect::<Vec<_>>()];
    for figures in rows {
        let row = COLUMNS.iter().map(|(_, cell)| cell(figures));
        cells.push(std::iter::once(figures.stack.to_owned()).chain(row).collect());
    }
    let calls = rows.first().map_or(0, |figures| figures.calls);
    format!(
        "## {}: {}; {calls} calls in {}\n\n{}",
        scenario.name,
        scenario.title,
        scenario.duration,
        markdown(&cells)
    )
}

/// The success rate and the attempts per call of all scenarios and stacks.
pub(crate) fn summary(results: &[Vec<Figures>]) -> String {
    let stacks = results.first().into_iter().flatten().map(|figures| figures.stack.to_owned());
    let mut cells =
        vec![std::iter::once("served, attempts per call".to_owned()).chain(stacks).collect::<Vec<_>>()];
    for rows in results {
        let name = rows.first().map_or_else(String::new, |figures| figures.scenario.clone());
        let row = rows
            .iter()
            .map(|figures| format!("{}, {:.2}", percent(figures.success_rate), figures.attempts_per_call));
        cells.push(std::iter::once(name).chain(row).collect());
    }
    format!("## Summary\n\n{}", markdown(&cells))
}

/// The figures of each stack over all scenarios, each scenario with the same weight.
pub(crate) fn totals(results: &[Vec<Figures>]) -> String {
    let titles = [
        "over all scenarios",
        "served",
        "least served",
        "attempts/call",
        "futile",
        "429s",
        "wasted tokens",
        "leaked",
    ];
    let mut cells = vec![titles.map(str::to_owned).to_vec()];
    for column in 0..results.first().map_or(0, Vec::len) {
        let of_stack: Vec<_> = results.iter().filter_map(|rows| rows.get(column)).collect();
        let mean = |value: fn(&Figures) -> f64| {
            of_stack.iter().map(|figures| value(figures)).sum::<f64>() / of_stack.len() as f64
        };
        let sum = |value: fn(&Figures) -> usize| of_stack.iter().map(|figures| value(figures)).sum::<usize>();
        let least = of_stack.iter().min_by(|one, other| one.success_rate.total_cmp(&other.success_rate));
        let wasted = mean(|figures| figures.wasted_tokens as f64 / (figures.billed_tokens as f64).max(1.0));
        let leaked: Vec<_> = of_stack.iter().filter_map(|figures| figures.leaked_permits).collect();
        cells.push(vec![
            of_stack.first().map_or_else(String::new, |figures| figures.stack.to_owned()),
            percent(mean(|figures| figures.success_rate)),
            least.map_or_else(String::new, |least| {
                format!("{} ({})", percent(least.success_rate), least.scenario)
            }),
            format!("{:.2}", mean(|figures| figures.attempts_per_call)),
            sum(|figures| figures.futile_attempts).to_string(),
            sum(|figures| figures.rate_limited).to_string(),
            percent(wasted),
            or_dash((!leaked.is_empty()).then(|| leaked.iter().sum::<usize>().to_string())),
        ]);
    }
    markdown(&cells)
}

/// Rows of cells, the first of them the titles, as a table of Markdown with aligned columns.
fn markdown(cells: &[Vec<String>]) -> String {
    let columns = cells.first().map_or(0, Vec::len);
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut table = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(table, "| {cell:width$} ")
            } else {
                write!(table, "| {cell:>width$} ")
            };
        }
        table.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(width + 1);
                let _ = write!(table, "|{line}{}", if column == 0 { '-' } else { ':' });
            }
            table.push_str("|\n");
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns() {
        let cells = [["stack", "success"], ["bare", "9.0 %"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "| stack | success |\n|-------|--------:|\n| bare  |   9.0 % |\n";
        assert_eq!(markdown(&cells), expected);
    }
}
