//! The command line.

use std::error::Error;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::call::calls;
use crate::figures::Figures;
use crate::files::read_all;
use crate::scenario::{Scale, Scenario, built_in};
use crate::sockets::{BOUNDS, Comparison};
use crate::stack::{ComparedStack, STACKS};
use crate::timeline::{self, Timeline};
use crate::{jobs, list, report, run, sockets};

/// Plays outages of model providers against resilience stacks, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "drill", disable_version_flag = true)]
pub(crate) struct Command {
    /// Files of scenarios; the built-in ones if there are none.
    scenarios: Vec<PathBuf>,
    /// Prints the scenarios, and the stacks with their configuration.
    #[arg(long, conflicts_with_all = ["json", "summary", "svg", "sockets"])]
    list: bool,
    /// The seed of all that is random, instead of that of each scenario.
    #[arg(long, value_parser = seed, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Only the scenarios and stacks with these names, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Prints one line of JSON for each scenario and stack, instead of tables.
    #[arg(long, conflicts_with = "summary")]
    json: bool,
    /// Prints the tables of the documentation alone: the scenarios and stacks, and the stacks over all
    /// scenarios.
    #[arg(long)]
    summary: bool,
    /// Writes a timeline of each scenario to this directory.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Plays the scenarios at small scale over real sockets, too, and compares. Has a form of its own.
    #[arg(long, conflicts_with_all = ["json", "summary", "svg"])]
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
            return compare(&scenarios, &stacks);
        }
        print(&self.play_all(&scenarios, &stacks)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Plays the scenarios against the stacks, and returns what is printed.
    fn play_all(&self, scenarios: &[Scenario], stacks: &[&ComparedStack]) -> Result<String, Box<dyn Error>> {
        for scenario in scenarios {
            let drawn = calls(scenario, scenario.seed);
            drawn.map_err(|error| format!("{}, seed {}: {error}", scenario.name, scenario.seed))?;
        }
        if let Some(directory) = &self.svg {
            timeline::reserve(directory, scenarios)?;
        }
        let calls = scenarios.iter().map(Scenario::mean_calls).sum::<f64>();
        let progress = progress(calls as u64 * stacks.len() as u64);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let played = jobs::run(scenarios.len() * stacks.len(), threads, |number| {
            let (scenario, stack) = (&scenarios[number / stacks.len()], stacks[number % stacks.len()]);
            play(scenario, stack, || progress.inc(1))
        });
        progress.finish_and_clear();
        let played = played.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let played: Vec<_> = played.chunks(stacks.len()).collect();
        if let Some(directory) = &self.svg {
            for (scenario, rows) in scenarios.iter().zip(&played) {
                let timelines: Vec<_> = rows.iter().map(|(_, timeline)| timeline.clone()).collect();
                timeline::write_svg(directory, scenario, &timelines)?;
            }
        }
        self.text(scenarios, &played)
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
        if self.summary {
            return Ok([report::summary(&results), report::totals(&results)]
                .map(|table| report::compact(&table))
                .join("\n"));
        }
        for (scenario, rows) in scenarios.iter().zip(&results) {
            text += &report::table(scenario, rows);
            text.push('\n');
        }
        let (summary, totals) = (report::summary(&results), report::totals(&results));
        text += &format!("## Summary\n\n{}\n{}", report::markdown(&summary), report::markdown(&totals));
        Ok(text)
    }

    /// The scenarios, with the seed of `--seed`, and the stacks that `--only` selects: of both kinds all that
    /// it does not restrict.
    fn selected(&self) -> Result<Selected, Box<dyn Error>> {
        let mut scenarios = match &*self.scenarios {
            [] => built_in()?,
            files => read_all(files)?,
        };
        for scenario in &mut scenarios {
            scenario.seed = self.seed.unwrap_or(scenario.seed);
        }
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

/// Compares virtual time with sockets.
fn compare(scenarios: &[Scenario], stacks: &[&ComparedStack]) -> Result<ExitCode, Box<dyn Error>> {
    let progress = progress((scenarios.len() * stacks.len()) as u64);
    let compared = jobs::run(scenarios.len() * stacks.len(), sockets::AT_ONCE, |number| {
        let (scenario, stack) = (&scenarios[number / stacks.len()], stacks[number % stacks.len()]);
        let compared = Comparison::of(scenario, stack);
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

fn play(scenario: &Scenario, stack: &ComparedStack, on_call: impl Fn()) -> std::io::Result<Played> {
    let record = run::in_virtual_time(scenario, stack, scenario.seed, Scale::ONE, on_call)?;
    let figures = Figures::of(scenario, stack.name, scenario.seed, Scale::ONE, &record);
    Ok((figures, Timeline::of(scenario, stack.name, &record)))
}

/// A bar on the terminal; none if errors go elsewhere.
fn progress(steps: u64) -> ProgressBar {
    let is_shown = stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    ProgressBar::with_draw_target(Some(steps), target)
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Prints to the standard output. A reader that has left is no error.
fn print(text: &str) -> std::io::Result<()> {
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::path::Path;

    use super::*;

    const SCENARIO: &str =
        "title = \"t\"\nduration = \"10s\"\n[[callers]]\nper_minute = 60\n[[providers]]\nname = \"one\"";

    /// A directory of its own for a test, with these files.
    fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("tidegate-drill-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn execute(arguments: &[&Path]) -> Result<ExitCode, Box<dyn Error>> {
        let own = ["drill", "--only=bare"].map(Path::new);
        Command::try_parse_from(own.iter().chain(arguments).map(|argument| argument.as_os_str()))?.execute()
    }

    #[test]
    fn a_place_where_no_image_can_be_written_is_found_before_the_run() {
        let at = directory("svg", &[("x.toml", SCENARIO), ("file", ""), ("taken/x.svg/file", "")]);
        let scenario = at.join("x.toml");
        let run = |place: &Path| execute(&[&scenario, Path::new("--svg"), place]);
        for (place, path) in [
            (at.join("file"), at.join("file")),
            (at.join("file/below"), at.join("file/below")),
            (at.join("taken"), at.join("taken/x.svg")),
            ("/proc/none".into(), "/proc/none".into()),
        ] {
            let error = run(&place).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--svg: cannot write `{}`: ", path.display())), "{error}");
        }
        run(&at.join("new/images")).unwrap();
        assert!(fs::read_to_string(at.join("new/images/x.svg")).unwrap().starts_with("<svg"));
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn two_scenarios_of_one_name_have_two_images() {
        let at = directory("names", &[("a/x.toml", SCENARIO), ("b/x.toml", SCENARIO)]);
        execute(&[&at.join("a/x.toml"), &at.join("b/x.toml"), Path::new("--svg"), &at]).unwrap();
        for name in ["x", "x-2"] {
            let image = fs::read_to_string(at.join(format!("{name}.svg"))).unwrap();
            assert!(image.contains(&format!("{name}: t")), "{image}");
        }
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn the_mistakes_of_all_files_are_reported() {
        let at =
            directory("mistakes", &[("a.toml", "sed = 1"), ("b.toml", SCENARIO), ("c.toml", "title = 3")]);
        let files = ["a.toml", "b.toml", "c.toml", "none.toml"].map(|file| at.join(file));
        let error = execute(&files.each_ref().map(PathBuf::as_path)).unwrap_err().to_string();
        for (file, part) in
            [(0, "unknown key `sed`"), (0, "missing key `duration`"), (2, "title: expected a text"), (3, "")]
        {
            let file = files[file].display().to_string();
            let is_reported = error.lines().any(|line| line.starts_with(&file) && line.contains(part));
            assert!(is_reported, "{file}: {part} in {error}");
        }
        assert!(!error.contains("b.toml"), "{error}");
        fs::remove_dir_all(at).unwrap();
    }

    /// A scenario in which much is drawn: by the scenario itself, and by the stacks.
    const DRAWN: &str = "title = \"t\"\nduration = \"40s\"\n[[callers]]\narrivals = \"bursts\"\nper_minute = 150\nleave = 0.1\n\
                         [[providers]]\nname = \"one\"\ncapacity = 9\nfaults = [\n{ kind = \"error\", share = 0.3, status = 503 },\n\
                         { kind = \"cut\", share = 0.1 },\n{ kind = \"reset\", from = \"9s\", to = \"19s\" }]\n\
                         [[providers]]\nname = \"two\"\ngroup = \"g\"\nfaults = [{ kind = \"error_event\", share = 0.3 }]\n\
                         [[providers]]\nname = \"three\"\ngroup = \"g\"\nslow = 0.2";

    #[test]
    fn two_runs_with_the_same_seed_print_the_same_bytes() {
        let at = directory("same", &[("x.toml", DRAWN)]);
        let file = at.join("x.toml");
        let run = |option: &str, seed: &str| {
            let arguments = [OsStr::new("drill"), file.as_os_str(), OsStr::new(option), OsStr::new(seed)];
            let command = Command::try_parse_from(arguments).unwrap();
            let (scenarios, stacks) = command.selected().unwrap();
            command.play_all(&scenarios, &stacks).unwrap()
        };
        for option in ["--summary", "--json", "--only=x"] {
            let printed = run(option, "--seed=3");
            assert_eq!(printed, run(option, "--seed=3"), "{option}");
            assert_ne!(printed, run(option, "--seed=4"), "{option}");
        }
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn the_list_has_the_seed_of_the_command_line() {
        let listed = |arguments: &[&str]| {
            let command = Command::try_parse_from([&["drill", "--list"], arguments].concat()).unwrap();
            let (scenarios, stacks) = command.selected().unwrap();
            list::list(&scenarios, &stacks)
        };
        let (own, given) = (listed(&[]), listed(&["--seed", "18446744073709551615"]));
        assert!(own.contains("healthy          All is well (10m, seed 1)\n"), "{own}");
        assert_eq!(given.matches("seed 18446744073709551615)").count(), 25, "{given}");
    }

    #[test]
    fn a_file_of_any_name_has_one_row_in_each_table() {
        let at = directory("any", &[("a|b\n\u{1b}[2Jc.toml", SCENARIO)]);
        let file = at.join("a|b\n\u{1b}[2Jc.toml");
        let arguments = [OsStr::new("drill"), OsStr::new("--summary"), file.as_os_str()];
        let command = Command::try_parse_from(arguments).unwrap();
        let (scenarios, stacks) = command.selected().unwrap();
        let printed = command.play_all(&scenarios, &stacks).unwrap();
        assert!(printed.contains("\n| a\\|b\\\\n\\\\u{1b}[2Jc | 100.0 %"), "{printed}");
        assert!(!printed.contains(|part: char| part.is_control() && part != '\n'), "{printed}");
        fs::remove_dir_all(at).unwrap();
    }

    /// The seed is checked before anything is played.
    #[test]
    fn a_seed_that_draws_too_much_is_rejected() {
        let text = "title = \"t\"\nduration = \"1m\"\n[[callers]]\narrivals = \"bursts\"\nburst = 10_000\nper_minute = 6_000\n\
                    prompt_tokens = 16_000\n[[providers]]\nname = \"one\"";
        let at = directory("drawn", &[("x.toml", text)]);
        let file = at.join("x.toml");
        let scenario = read_all(std::slice::from_ref(&file)).unwrap().remove(0);
        let seed = (0..100).find(|seed| calls(&scenario, *seed).is_err()).expect("one in three");
        let error = execute(&[&file, Path::new(&format!("--seed={seed}"))]).unwrap_err().to_string();
        let expected = format!("x, seed {seed}: callers[0].prompt_tokens: expected at most 200000000 tokens");
        assert!(error.starts_with(&expected), "{error}");
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn options_that_exclude_each_other_are_rejected() {
        for (arguments, named) in [
            (["--sockets", "--json"], "'--sockets' cannot be used with '--json'"),
            (["--sockets", "--svg=x"], "'--sockets' cannot be used with '--svg"),
            (["--sockets", "--summary"], "'--sockets' cannot be used with '--summary'"),
            (["--json", "--summary"], "'--json' cannot be used with '--summary'"),
            (["--list", "--json"], "'--list' cannot be used with '--json'"),
            (["--seed", "-1"], "expected a whole number from 0 to 18446744073709551615"),
            (["--seed", "18446744073709551616"], "expected a whole number from 0 to 18446744073709551615"),
        ] {
            let error =
                Command::try_parse_from([&["drill"][..], &arguments].concat()).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
