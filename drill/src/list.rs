//! The scenarios and the stacks, as text.

use crate::scenario::{Scale, Scenario};
use crate::stack::{ComparedStack, Settings};

/// What `--list` prints.
pub(crate) fn list(scenarios: &[Scenario], stacks: &[&ComparedStack]) -> String {
    let mut text = String::from("Scenarios\n");
    for scenario in scenarios {
        text += &format!(
            "  {:16} {} ({}, seed {})\n",
            scenario.name, scenario.title, scenario.duration, scenario.seed
        );
    }
    text += "\nStacks, outermost layer first\n";
    for stack in stacks {
        text += &format!("  {:16} {}\n", stack.name, stack.description);
    }
    for has_fallback in [false, true] {
        let patience = scenarios.iter().map(|scenario| scenario.patience().0).max().unwrap_or_default();
        let settings = Settings::new(patience, has_fallback, Scale::ONE);
        text += &format!(
            "\nSettings of all stacks for a patience of {patience:?}, {} a second provider\n  {settings:?}\n",
            if has_fallback { "with" } else { "without" },
        );
    }
    text += "  Circuits open at a failure rate of one half of the window, or after so many failures in a row. The published \
             limits of a provider are those of the rate limits, and the weights of a round robin.\n";
    text
}
