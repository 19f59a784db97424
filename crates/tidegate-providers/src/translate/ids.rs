//! Names of tool calls, as the other provider takes them.

use std::collections::BTreeSet;

/// Gives each call a name that the target takes and that no other call has.
///
/// A name that fits is kept. Another is numbered, and goes by what was said before it alone: the beginning of a
/// conversation reads the same in each of its requests, as a cache of prompts wants it.
pub(super) struct Ids {
    fits: fn(&str) -> bool,
    numbered: fn(u64) -> String,
    used: BTreeSet<String>,
    next: u64,
}

impl Ids {
    /// Letters, digits, `_` and `-`, and each once: Anthropic refuses all other names of a `tool_use`, and a second of
    /// the same. Hosts of open models name calls `functions.f:0`, or begin with `call_0` in every answer
    /// (maximhq/bifrost#5097). The length is that of the names of tools; no other is known.
    pub(super) fn of_messages() -> Self {
        Self::new(|id| is_word(id, 64), |number| format!("call_{number}"))
    }

    /// At most 40 characters in OpenAI's dialect, and with Mistral nine letters and digits exactly: what each of them
    /// says in its refusal.
    pub(super) fn of_chat(is_mistral: bool) -> Self {
        match is_mistral {
            true => Self::new(
                |id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                |number| format!("{number:09}"),
            ),
            false => Self::new(|id| !id.is_empty() && id.len() <= 40, |number| format!("call_{number}")),
        }
    }

    fn new(fits: fn(&str) -> bool, numbered: fn(u64) -> String) -> Self {
        Self { fits, numbered, used: BTreeSet::new(), next: 0 }
    }

    /// The name of a call that calls itself `id`.
    pub(super) fn name(&mut self, id: &str) -> String {
        let mut name = id.to_owned();
        // The number only grows, so that all names together cost as much as there are.
        while !(self.fits)(&name) || self.used.contains(&name) {
            name = (self.numbered)(self.next);
            self.next += 1;
        }
        self.used.insert(name.clone());
        name
    }
}

fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_are_kept_and_none_is_given_twice() {
        let mut ids = Ids::of_messages();
        let names: Vec<_> = ["toolu_1", "call|1", "call_0", "", "toolu_1", "call_2", "é"]
            .into_iter()
            .map(|id| ids.name(id))
            .collect();
        assert_eq!(names, ["toolu_1", "call_0", "call_1", "call_2", "call_3", "call_4", "call_5"]);
        assert_eq!(ids.name(&"a".repeat(65)), "call_6");
    }

    #[test]
    fn every_dialect_has_its_shape() {
        let long = "toolu_".repeat(7);
        let (mut chat, mut mistral) = (Ids::of_chat(false), Ids::of_chat(true));
        assert_eq!((&*chat.name("call|1"), &*chat.name(&long)), ("call|1", "call_0"));
        assert_eq!((&*mistral.name("toolu_1"), &*mistral.name("abcDEF123")), ("000000000", "abcDEF123"));
    }
}
