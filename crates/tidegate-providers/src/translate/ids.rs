//! Names of tool calls, as the other provider takes them.

use std::collections::BTreeSet;

use serde_json::Value;

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
    /// (maximhq/bifrost#5097).
    pub(super) fn of_messages() -> Self {
        Self::new(|id| is_word(id, MAX), |number| format!("call_{number}"))
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

/// Gives each call of a chat's answer an id by which a caller of messages tells it from all others, of earlier answers too.
///
/// An id that looks made for the whole world is told as it is. Hosts of open models name calls `functions.f:0`, or begin
/// with `call_0` in every answer: a caller that keeps calls and results of a conversation by their ids would take them for
/// one another, and Anthropic refuses the second of the same when the conversation comes to it. Such an id goes between
/// that of the answer, which no other has, and the number of the call:
///
/// ```text
/// chatcmpl-9f2c_functions_f_0_0
/// ```
///
/// The same answer is told the same ids, whole or as a stream.
#[derive(Default)]
pub(super) struct AnswerIds {
    answer: String,
    told: BTreeSet<String>,
    next: u64,
}

/// Shorter ids may be counted. Those of OpenAI are 29 long, of Anthropic 30, of others a UUID.
const MIN_OF_ITS_OWN: usize = 20;

/// No other limit than that of the names of tools is known.
const MAX: usize = 64;

/// So much of the id of an answer as a UUID without its hyphens has.
const MAX_OF_ANSWER: usize = 32;

impl AnswerIds {
    /// Those of an answer, or of the stream that begins with this chunk. Without an id it goes by its time, if that is told.
    pub(super) fn of(answer: &Value) -> Self {
        let id = answer["id"].as_str().filter(|id| !id.is_empty()).map(|id| end(id, MAX_OF_ANSWER));
        let answer = id.or_else(|| Some(answer["created"].as_u64()?.to_string())).unwrap_or_default();
        Self { answer, ..Self::default() }
    }

    /// The id to tell of the next call, which calls itself `id`, or nothing.
    pub(super) fn tell(&mut self, id: &str) -> String {
        let is_of_its_own = id.len() >= MIN_OF_ITS_OWN && is_word(id, MAX) && !self.told.contains(id);
        let told = if is_of_its_own { id.to_owned() } else { self.made(id) };
        self.next += 1;
        self.told.insert(told.clone());
        told
    }

    fn made(&mut self, id: &str) -> String {
        let id = if id.is_empty() { "call" } else { id };
        loop {
            let number = self.next.to_string();
            // There is room: a number has 20 digits at most.
            let room = MAX - number.len() - 1 - self.answer.len() - usize::from(!self.answer.is_empty());
            let id = end(id, room);
            let made = match &*self.answer {
                "" => format!("{id}_{number}"),
                answer => format!("{answer}_{id}_{number}"),
            };
            if !self.told.contains(&made) {
                return made;
            }
            // The target says such ids itself. The number only grows, so that all together cost as much as there are.
            self.next += 1;
        }
    }
}

/// The last `most` characters, where ids differ that begin alike; what is no letter, digit or `-` as `_`.
fn end(id: &str, most: usize) -> String {
    let start = id.char_indices().rev().take(most).last().map_or(0, |(at, _)| at);
    let clean = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    id[start..].chars().map(clean).collect()
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
    fn whatever_is_cut_the_number_of_a_call_is_not() {
        let long = "é".repeat(100);
        let mut ids = AnswerIds { next: u64::MAX - 1, ..AnswerIds::of(&serde_json::json!({"id": long})) };
        let told = ids.tell(&long);
        assert_eq!(told, format!("{}_{}_{}", "_".repeat(32), "_".repeat(10), u64::MAX - 1));
        assert_eq!(told.len(), 64);
    }

    #[test]
    fn an_id_that_the_target_will_say_itself_is_not_made_twice() {
        let mut ids = AnswerIds::of(&serde_json::json!({"id": "answer-of-the-tide"}));
        let told = ["answer-of-the-tide_c_1", "c", "c", "answer-of-the-tide_c_3"].map(|id| ids.tell(id));
        let expected = ["c_1", "c_2", "c_3", "answer-of-the-tide_c_3_4"];
        assert_eq!(told, expected.map(|end| format!("answer-of-the-tide_{end}")));
    }

    #[test]
    fn every_dialect_has_its_shape() {
        let long = "toolu_".repeat(7);
        let (mut chat, mut mistral) = (Ids::of_chat(false), Ids::of_chat(true));
        assert_eq!((&*chat.name("call|1"), &*chat.name(&long)), ("call|1", "call_0"));
        assert_eq!((&*mistral.name("toolu_1"), &*mistral.name("abcDEF123")), ("000000000", "abcDEF123"));
    }
}
