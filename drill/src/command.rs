//! The command line.

use std::error::Error;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::figures::Figures;
use crate::scenario::{Scale, Scenario, built_in};
use crate::sockets::{BOUNDS, Comparison};
use crate::stack::{ComparedStack, STACKS};
use crate::timeline::{Timeline, write_svg};
use crate::{jobs, list, report, run, sockets};

/// Plays outages of model providers against resilience stacks, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "drill", disable_version_flag = true)]
pub(crate) struct Command {
    /// Files of scenarios; the built-in ones if there are none.
    scenarios: Vec<PathBuf>,
    /// Prints the scenarios, and the stacks with their configuration.
    #[arg(long)]
    list: bool,
    /// The seed of all that is random, instead of that of each scenario.
    #[arg(long)]
    seed: Option<u64>,
    /// Only the scenarios and stacks with these names, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Prints one line of JSON for each scenario and stack, instead of tables.
    #[arg(long)]
    json: bool,
    /// Writes a timeline of each scenario to this directory.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Plays the scenarios at small scale over real sockets, too, and compares.
    #[arg(long)]
    sockets: bool,
}

/// What is played, and against what.
type Selected = (Vec<Scenario>, Vec<&'static ComparedStack>);

/// One result of a run.
type Played = (Figures, Timeline);

impl Command {
    /// Executes the command. The result is whether all is as it should be.
    pub(crate) fn execute(&self) -> Result<ExitCode, Box<dyn Error>> {
        let (scenarios, stacks) = self.selected()?;
        if self.list {
            print(&list::list(&scenarios, &stacks))?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.sockets {
            return self.compare(&scenarios, &stacks);
        }
        let progress = progress(scenarios.len() * stacks.len());
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let played = jobs::run(scenarios.len() * stacks.len(), threads, |number| {
            let (scenario, stack) = (&scenarios[number / stacks.len()], stacks[number % stacks.len()]);
            let played = play(scenario, stack, self.seed_of(scenario));
            progress.inc(1);
            played
        });
        progress.finish_and_clear();
        let played = played.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let played: Vec<_> = played.chunks(stacks.len()).collect();
        if let Some(directory) = &self.svg {
            for (scenario, rows) in scenarios.iter().zip(&played) {
                let timelines: Vec<_> = rows.iter().map(|(_, timeline)| timeline.clone()).collect();
                write_svg(directory, scenario, &timelines)?;
            }
        }
        print(&self.text(&scenarios, &played)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self, scenarios: &[Scenario], played: &[&[Played]]) -> Result<String, Box<dyn Error>> {
        let results: Vec<Vec<_>> =
            played.iter().map(|rows| rows.iter().map(|(figures, _)| figures.clone()).collect()).collect();
        let mut text = String::new();
        if self.json {
            for figures in results.iter().flatten() {
                text += &serde_json::to_string(figures)?;
                text.push('\n');
            }
            return Ok(text);
        }
        for (scenario, rows) in scenarios.iter().zip(&results) {
            text += &report::table(scenario, rows);
            text.push('\n');
        }
        text += &report::summary(&results);
        text.push('\n');
        text += &report::totals(&results);
        Ok(text)
    }

    /// Compares virtual time with sockets.
    fn compare(&self, scenarios: &[Scenario], stacks: &[&ComparedStack]) -> Result<ExitCode, Box<dyn Error>> {
        let progress = progress(scenarios.len() * stacks.len());
        let compared = jobs::run(scenarios.len() * stacks.len(), sockets::AT_ONCE, |number| {
            let (scenario, stack) = (&scenarios[number / stacks.len()], stacks[number % stacks.len()]);
            let compared = Comparison::of(scenario, stack, self.seed_of(scenario));
            progress.inc(1);
            compared
        });
        progress.finish_and_clear();
        let mut text = format!(
            "In virtual time and over sockets; they agree if they differ by at most {} points and {} attempts per call.\n",
            100.0 * BOUNDS.0,
            BOUNDS.1
        );
        let mut differ = 0;
        for compared in compared {
            let compared = compared?;
            differ += usize::from(!compared.agrees());
            text += &format!("{compared}\n");
        }
        text += &format!("{differ} of {} differ\n", scenarios.len() * stacks.len());
        print(&text)?;
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn seed_of(&self, scenario: &Scenario) -> u64 {
        self.seed.unwrap_or(scenario.seed)
    }

    /// The scenarios and stacks that `--only` selects: of both kinds all that it does not restrict.
    fn selected(&self) -> Result<Selected, Box<dyn Error>> {
        let mut scenarios = match &*self.scenarios {
            [] => built_in()?,
            files => files.iter().map(|file| read(file)).collect::<Result<_, _>>()?,
        };
        let mut stacks: Vec<_> = STACKS.iter().collect();
        for text in &self.only {
            let names =
                scenarios.iter().map(|scenario| &*scenario.name).chain(stacks.iter().map(|stack| stack.name));
            let names: Vec<_> = names.collect();
            if !names.contains(&&**text) {
                let hint = tidegate::config::suggest(text, names);
                return Err(format!("--only: no scenario or stack is called `{text}`{hint}").into());
            }
        }
        let is_named = |name: &str| self.only.iter().any(|text| text == name);
        if scenarios.iter().any(|scenario| is_named(&scenario.name)) {
            scenarios.retain(|scenario| is_named(&scenario.name));
        }
        if stacks.iter().any(|stack| is_named(stack.name)) {
            stacks.retain(|stack| is_named(stack.name));
        }
        Ok((scenarios, stacks))
    }
}

fn play(scenario: &Scenario, stack: &ComparedStack, seed: u64) -> std::io::Result<Played> {
    let record = run::in_virtual_time(scenario, stack, seed, Scale::ONE)?;
    let figures = Figures::of(scenario, stack.name, seed, Scale::ONE, &record);
    Ok((figures, Timeline::of(scenario, stack.name, &record)))
}

fn read(file: &Path) -> Result<Scenario, Box<dyn Error>> {
    let of_file = |error: &dyn Error| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| of_file(&error))?;
    let name = file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Scenario::parse(&name, &text).map_err(|error| of_file(&error))?)
}

/// A bar on the terminal; none if errors go elsewhere.
fn progress(jobs: usize) -> ProgressBar {
    let is_shown = stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(Some(jobs as u64), target)
}

/// Prints to the standard output. A reader that has left is no error.
fn print(text: &str) -> std::io::Result<()> {
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
