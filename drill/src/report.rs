//! Tables of figures.

use std::fmt::Write;

use crate::figures::Figures;
use crate::scenario::Scenario;

/// The columns of a table: title and cell.
type Column = (&'static str, fn(&Figures) -> String);

const COLUMNS: &[Column] = &[
    ("success", |figures| percent(figures.success_rate)),
    ("goodput t/s", |figures| decimal(figures.goodput, 1)),
    ("ttft p50", |figures| seconds(figures.first_token_p50_ms)),
    ("ttft p99", |figures| seconds(figures.first_token_p99_ms)),
    ("total p50", |figures| seconds(figures.total_p50_ms)),
    ("total p99", |figures| seconds(figures.total_p99_ms)),
    ("attempts/call", |figures| decimal(figures.attempts_per_call, 3)),
    ("futile", |figures| figures.futile_attempts.to_string()),
    ("429s", |figures| figures.rate_limited.to_string()),
    ("quota used", |figures| percent(figures.quota_used)),
    ("wasted tokens", |figures| figures.wasted_tokens.to_string()),
    ("fairness", |figures| decimal(figures.fairness, 2)),
    ("detect", |figures| seconds(figures.detect_ms)),
    ("recover", |figures| seconds(figures.recover_ms)),
    ("leaked", |figures| or_dash(figures.leaked_permits.map(|permits| permits.to_string()))),
];

/// A share, or a dash where it has no meaning.
pub(crate) fn percent(share: Option<f64>) -> String {
    or_dash(share.map(|share| format!("{:.1} %", share * 100.0)))
}

/// A number with so many decimals, or a dash.
pub(crate) fn decimal(number: Option<f64>, decimals: usize) -> String {
    or_dash(number.map(|number| format!("{number:.decimals$}")))
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
pub(crate) fn summary(results: &[Vec<Figures>]) -> Vec<Vec<String>> {
    let stacks = results.first().into_iter().flatten().map(|figures| figures.stack.to_owned());
    let titles = std::iter::once("served, attempts per call".to_owned()).chain(stacks).collect();
    let rows = results.iter().map(|rows| {
        let name = rows.first().map_or_else(String::new, |figures| figures.scenario.clone());
        let cell = |figures: &Figures| {
            format!("{}, {}", percent(figures.success_rate), decimal(figures.attempts_per_call, 2))
        };
        std::iter::once(name).chain(rows.iter().map(cell)).collect()
    });
    std::iter::once(titles).chain(rows).collect()
}

/// The figures of each stack over all scenarios, each scenario with the same weight.
pub(crate) fn totals(results: &[Vec<Figures>]) -> Vec<Vec<String>> {
    let titles = [
        "stack",
        "served",
        "least served",
        "attempts per call",
        "futile",
        "429s",
        "wasted tokens",
        "leaked permits",
    ];
    let stacks = 0..results.first().map_or(0, Vec::len);
    let rows =
        stacks.map(|stack| total(&results.iter().filter_map(|rows| rows.get(stack)).collect::<Vec<_>>()));
    std::iter::once(titles.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// The row of one stack.
fn total(all: &[&Figures]) -> Vec<String> {
    let mean = |value: fn(&Figures) -> Option<f64>| {
        let values: Vec<_> = all.iter().filter_map(|figures| value(figures)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let sum = |value: fn(&Figures) -> usize| all.iter().map(|figures| value(figures)).sum::<usize>();
    let served = all.iter().filter_map(|figures| Some((figures.success_rate?, &figures.scenario)));
    let least = served.min_by(|(one, _), (other, _)| one.total_cmp(other));
    let wasted = mean(|figures| {
        let billed = figures.billed_tokens;
        (billed > 0).then(|| figures.wasted_tokens as f64 / billed as f64)
    });
    let leaked: Vec<_> = all.iter().filter_map(|figures| figures.leaked_permits).collect();
    vec![
        all.first().map_or_else(String::new, |figures| figures.stack.to_owned()),
        percent(mean(|figures| figures.success_rate)),
        or_dash(least.map(|(share, scenario)| format!("{} ({scenario})", percent(Some(share))))),
        decimal(mean(|figures| figures.attempts_per_call), 2),
        sum(|figures| figures.futile_attempts).to_string(),
        sum(|figures| figures.rate_limited).to_string(),
        percent(wasted),
        or_dash((!leaked.is_empty()).then(|| leaked.iter().sum::<usize>().to_string())),
    ]
}

/// Rows of cells, the first of them the titles, as a table of Markdown as it is in a page.
pub(crate) fn compact(cells: &[Vec<String>]) -> String {
    let mut rows: Vec<_> = escaped(cells).map(|row| format!("| {} |\n", row.join(" | "))).collect();
    rows.insert(1, format!("{}|\n", "|---".repeat(cells.first().map_or(0, Vec::len))));
    rows.concat()
}

/// The cells, so that none of them ends before its end: a file may have any name.
fn escaped(cells: &[Vec<String>]) -> impl Iterator<Item = Vec<String>> {
    cells.iter().map(|row| row.iter().map(|cell| cell.replace('\\', "\\\\").replace('|', "\\|")).collect())
}

/// Rows of cells, the first of them the titles, as a table of Markdown with aligned columns.
pub(crate) fn markdown(cells: &[Vec<String>]) -> String {
    let cells: Vec<_> = escaped(cells).collect();
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
    fn what_has_no_meaning_is_a_dash() {
        assert_eq!(
            (percent(None), percent(Some(0.0)), decimal(None, 2)),
            ("-".into(), "0.0 %".into(), "-".into())
        );
    }

    #[test]
    fn a_table_has_aligned_columns() {
        let cells = [["stack", "success"], ["bare", "9.0 %"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "| stack | success |\n|-------|--------:|\n| bare  |   9.0 % |\n";
        assert_eq!(markdown(&cells), expected);
        assert_eq!(compact(&cells), "| stack | success |\n|---|---|\n| bare | 9.0 % |\n");
    }

    #[test]
    fn a_cell_does_not_end_at_a_pipe_in_its_text() {
        let cells = ["a|b", r"c\|d"].map(|cell| vec![cell.to_owned()]);
        assert_eq!(markdown(&cells), "| a\\|b   |\n|--------|\n| c\\\\\\|d |\n");
        assert_eq!(compact(&cells), "| a\\|b |\n|---|\n| c\\\\\\|d |\n");
    }
}
