//! The success rate over time, as an SVG image.

use std::error::Error;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plotters::prelude::*;

use crate::caller::CallEnding;
use crate::run::Record;
use crate::scenario::Scenario;

/// The success rate of one stack over time.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    stack: &'static str,
    /// The middle of each period in seconds, and the share of its calls that were served.
    points: Vec<(f64, f64)>,
}

const PERIODS: u32 = 60;
const SIZE: (u32, u32) = (1_000, 420);

impl Timeline {
    pub(crate) fn of(scenario: &Scenario, stack: &'static str, record: &Record) -> Self {
        let period = scenario.duration.0 / PERIODS;
        let mut counts = vec![(0_u32, 0_u32); PERIODS as usize];
        for (call, result) in record.calls.iter().filter(|(_, result)| result.ending != CallEnding::Left) {
            let index = (call.at.as_nanos() / period.max(Duration::from_nanos(1)).as_nanos()) as usize;
            if let Some((calls, served)) = counts.get_mut(index) {
                *calls += 1;
                *served += u32::from(result.ending == CallEnding::Served);
            }
        }
        let points =
            counts.iter().enumerate().filter(|(_, (calls, _))| *calls > 0).map(|(index, (calls, served))| {
                let middle = (index as f64 + 0.5) * period.as_secs_f64();
                (middle, 100.0 * f64::from(*served) / f64::from(*calls))
            });
        Self { stack, points: points.collect() }
    }
}

/// The file of a scenario in this directory.
fn path(directory: &Path, scenario: &Scenario) -> PathBuf {
    directory.join(format!("{}.svg", scenario.name))
}

/// Creates the directory and an empty file for each of the scenarios, so that a place without use is found
/// before the run.
pub(crate) fn reserve(directory: &Path, scenarios: &[Scenario]) -> Result<(), String> {
    let of_option = |path: &Path, error| format!("--svg: cannot write `{}`: {error}", path.display());
    std::fs::create_dir_all(directory).map_err(|error| of_option(directory, error))?;
    for scenario in scenarios {
        let path = path(directory, scenario);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.map_err(|error| of_option(&path, error))?;
    }
    Ok(())
}

/// Writes the timelines of all stacks to `DIR/scenario.svg`.
pub(crate) fn write_svg(
    directory: &Path,
    scenario: &Scenario,
    timelines: &[Timeline],
) -> Result<(), Box<dyn Error>> {
    let mut svg = String::new();
    draw(&mut svg, scenario, timelines)?;
    Ok(std::fs::write(path(directory, scenario), svg)?)
}

fn draw(svg: &mut String, scenario: &Scenario, timelines: &[Timeline]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let end = scenario.duration.0.as_secs_f64();
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}: {}", scenario.name, scenario.title), ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..end, 0.0..102.0)?;
    chart.configure_mesh().x_desc("seconds").y_desc("served, % of the calls").draw()?;
    for (index, timeline) in timelines.iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        let line = chart.draw_series(LineSeries::new(timeline.points.iter().copied(), style))?;
        line.label(timeline.stack).legend(move |(x, y)| {
            PathElement::new([(x, y), (x + 18, y)], Palette99::pick(index).stroke_width(2))
        });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
