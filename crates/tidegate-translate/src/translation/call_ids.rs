//! Ids of tool calls that the other provider or the caller accepts.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_providers::Provider;

/// Assigns each tool call of a request a unique id that the target accepts.
///
/// A valid id is kept. Any other id is replaced by a numbered one, which depends only on the preceding
/// messages: the start of a conversation is translated the same way in each of its requests, so that prompt
/// caching keeps working.
pub(super) struct RequestCallIds {
    is_valid: fn(&str) -> bool,
    numbered: fn(u64) -> String,
    used: BTreeSet<String>,
    next: u64,
}

impl RequestCallIds {
    /// Ids for Anthropic: letters, digits, `_` and `-`, each id once. Anthropic rejects any other `tool_use`
    /// id and duplicates. Hosts of open models use ids such as `functions.f:0`, or start with `call_0` in
    /// every response (maximhq/bifrost#5097).
    pub(super) fn for_messages() -> Self {
        Self::new(|id| is_valid_id(id, MAX_LEN), |number| format!("call_{number}"))
    }

    /// Ids for OpenAI's dialect: at most 40 characters. Mistral requires exactly nine letters and digits.
    /// Both limits are from the error messages of the providers.
    pub(super) fn for_target(target: &str) -> Self {
        if Provider::named(target) == Provider::Mistral {
            Self::new(
                |id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                |number| format!("{number:09}"),
            )
        } else {
            Self::new(|id| !id.is_empty() && id.len() <= 40, |number| format!("call_{number}"))
        }
    }

    fn new(is_valid: fn(&str) -> bool, numbered: fn(u64) -> String) -> Self {
        Self { is_valid, numbered, used: BTreeSet::new(), next: 0 }
    }

    /// The id to send for a call with the id `id`.
    pub(super) fn assign(&mut self, id: &str) -> String {
        let mut assigned = id.to_owned();
        // The number only grows, so the total cost is linear in the number of ids.
        while !(self.is_valid)(&assigned) || self.used.contains(&assigned) {
            assigned = (self.numbered)(self.next);
            self.next += 1;
        }
        self.used.insert(assigned.clone());
        assigned
    }
}

/// Assigns each tool call of a chat response an id that is unique across responses.
///
/// An id that looks globally unique is kept. Hosts of open models use ids such as `functions.f:0`, or start
/// with `call_0` in every response. A caller that matches the calls and results of a conversation by id would
/// confuse such calls, and Anthropic rejects duplicate ids when the conversation is sent there. Such an id is
/// placed between the id of the response, which is unique, and the number of the call:
///
/// ```text
/// chatcmpl-9f2c_functions_f_0_0
/// ```
///
/// The ids are the same for a JSON response and for a stream.
#[derive(Default)]
pub(super) struct ResponseCallIds {
    response_id: String,
    issued: BTreeSet<String>,
    next: u64,
}

/// The minimum length of an id that counts as globally unique. Shorter ids may be counters. OpenAI's ids have
/// 29 characters, Anthropic's 30; other providers use UUIDs.
const MIN_GLOBAL_LEN: usize = 20;

/// The maximum length of an id. This is the limit of tool names; no limit for ids is documented.
const MAX_LEN: usize = 64;

/// The maximum number of characters used from the response id: the length of a UUID without hyphens.
const MAX_RESPONSE_ID_LEN: usize = 32;

impl ResponseCallIds {
    /// The ids for a response, or for the stream that starts with this chunk. Without a response id, the
    /// `created` time is used if there is one.
    pub(super) fn for_response(response: &Value) -> Self {
        let id = response["id"]
            .as_str()
            .filter(|id| !id.is_empty())
            .map(|id| sanitized_suffix(id, MAX_RESPONSE_ID_LEN));
        let response_id = id.or_else(|| Some(response["created"].as_u64()?.to_string())).unwrap_or_default();
        Self { response_id, ..Self::default() }
    }

    /// The id to deliver for the next call. `id` is the id from the target, which may be empty.
    pub(super) fn assign(&mut self, id: &str) -> String {
        let is_globally_unique =
            id.len() >= MIN_GLOBAL_LEN && is_valid_id(id, MAX_LEN) && !self.issued.contains(id);
        let assigned = if is_globally_unique { id.to_owned() } else { self.make_unique(id) };
        self.next += 1;
        self.issued.insert(assigned.clone());
        assigned
    }

    /// Like [`assign`](Self::assign), but for a target whose ids are globally unique: an id is replaced only
    /// if it is empty or was issued before.
    pub(super) fn assign_global(&mut self, id: &str) -> String {
        if id.is_empty() || self.issued.contains(id) {
            return self.assign(id);
        }
        self.next += 1;
        self.issued.insert(id.to_owned());
        id.to_owned()
    }

    fn make_unique(&mut self, id: &str) -> String {
        let id = if id.is_empty() { "call" } else { id };
        loop {
            let number = self.next.to_string();
            // This cannot underflow: a number has at most 20 digits.
            let room = MAX_LEN
                - number.len()
                - 1
                - self.response_id.len()
                - usize::from(!self.response_id.is_empty());
            let id = sanitized_suffix(id, room);
            let unique = match &*self.response_id {
                "" => format!("{id}_{number}"),
                response_id => format!("{response_id}_{id}_{number}"),
            };
            if !self.issued.contains(&unique) {
                return unique;
            }
            // The target has used this id itself. The number only grows, so the total cost is linear in the
            // number of ids.
            self.next += 1;
        }
    }
}

/// The last `max_len` characters, since ids with a common prefix differ at the end. Any character that is not
/// an ASCII letter, digit or `-` is replaced by `_`.
fn sanitized_suffix(id: &str, max_len: usize) -> String {
    let start = id.char_indices().rev().take(max_len).last().map_or(0, |(at, _)| at);
    let clean = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    id[start..].chars().map(clean).collect()
}

fn is_valid_id(text: &str, max_len: usize) -> bool {
    (1..=max_len).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids_are_kept_and_no_id_is_assigned_twice() {
        let mut call_ids = RequestCallIds::for_messages();
        let names: Vec<_> = ["toolu_1", "call|1", "call_0", "", "toolu_1", "call_2", "é"]
            .into_iter()
            .map(|id| call_ids.assign(id))
            .collect();
        assert_eq!(names, ["toolu_1", "call_0", "call_1", "call_2", "call_3", "call_4", "call_5"]);
        assert_eq!(call_ids.assign(&"a".repeat(65)), "call_6");
    }

    #[test]
    fn truncation_never_removes_the_number_of_a_call() {
        let long = "é".repeat(100);
        let mut call_ids = ResponseCallIds {
            next: u64::MAX - 1,
            ..ResponseCallIds::for_response(&serde_json::json!({"id": long}))
        };
        let issued = call_ids.assign(&long);
        assert_eq!(issued, format!("{}_{}_{}", "_".repeat(32), "_".repeat(10), u64::MAX - 1));
        assert_eq!(issued.len(), 64);
    }

    #[test]
    fn a_generated_id_does_not_collide_with_an_id_of_the_target() {
        let mut call_ids = ResponseCallIds::for_response(&serde_json::json!({"id": "answer-of-the-tide"}));
        let issued =
            ["answer-of-the-tide_c_1", "c", "c", "answer-of-the-tide_c_3"].map(|id| call_ids.assign(id));
        let expected = ["c_1", "c_2", "c_3", "answer-of-the-tide_c_3_4"];
        assert_eq!(issued, expected.map(|suffix| format!("answer-of-the-tide_{suffix}")));
    }

    #[test]
    fn each_dialect_gets_ids_in_its_own_format() {
        let long = "toolu_".repeat(7);
        let (mut chat, mut mistral) =
            (RequestCallIds::for_target("openai/m"), RequestCallIds::for_target("mistral/m"));
        assert_eq!((&*chat.assign("call|1"), &*chat.assign(&long)), ("call|1", "call_0"));
        assert_eq!((&*mistral.assign("toolu_1"), &*mistral.assign("abcDEF123")), ("000000000", "abcDEF123"));
    }
}
