//! Pieces of several tool calls in any order, and in any form in which hosts send them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::calls::{blocks, chunk, pieces};
use super::hostile::assert_well_formed;
use super::{for_chat, for_messages, json_events, stream};

/// How the pieces of a stream show to which call they belong.
#[derive(Clone, Copy, Debug)]
enum Identity {
    Index,
    IndexAsText,
    IndexAsFloat,
    Id,
    NumericId,
    IndexAndId,
}

#[derive(Clone, Copy, Debug)]
enum ArgumentsForm {
    Pieces,
    /// An empty object comes first.
    PlaceholderAndPieces,
    /// The whole arguments come again at the end.
    Repeated,
    Object,
}

#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: Value,
    name_cut: prop::sample::Index,
    /// The name follows the arguments.
    is_named_late: bool,
    cuts: Vec<prop::sample::Index>,
    form: ArgumentsForm,
}

impl Call {
    /// The arguments in pieces.
    fn arguments(&self) -> Vec<Value> {
        let text = self.arguments.to_string();
        let mut ends: Vec<_> = self.cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.extend([0, text.len()]);
        ends.sort_unstable();
        let pieces = ends.windows(2).map(|cut| json!(text[cut[0]..cut[1]]));
        match self.form {
            ArgumentsForm::Pieces => pieces.collect(),
            ArgumentsForm::PlaceholderAndPieces => [json!({})].into_iter().chain(pieces).collect(),
            ArgumentsForm::Repeated => pieces.chain([json!(text)]).collect(),
            ArgumentsForm::Object => vec![self.arguments.clone()],
        }
    }

    /// The pieces of the call, in their order.
    fn pieces(&self, number: usize, identity: Identity) -> Vec<Value> {
        let (first, rest) = self.name.split_at(self.name_cut.index(self.name.len()));
        let names = [first, rest].map(|name| (json!(name), Value::Null));
        let arguments = self.arguments().into_iter().map(|arguments| (Value::Null, arguments));
        let pieces: Vec<_> = if self.is_named_late {
            arguments.chain(names).collect()
        } else {
            names.into_iter().chain(arguments).collect()
        };
        let id = format!("call_{number}_abcdefghijklmnopqrstuvwxyz");
        let index = match identity {
            Identity::Index | Identity::IndexAndId => json!(number),
            Identity::IndexAsText => json!(number.to_string()),
            Identity::IndexAsFloat => json!(f64::from(u32::try_from(number).unwrap())),
            Identity::Id | Identity::NumericId => Value::Null,
        };
        let piece = |(at, (name, arguments)): (usize, (Value, Value))| {
            let id = match identity {
                Identity::Id | Identity::IndexAndId => json!(id),
                Identity::NumericId => json!(number),
                _ if at == 0 => json!(id),
                _ => Value::Null,
            };
            json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
        };
        pieces.into_iter().enumerate().map(piece).collect()
    }
}

fn arguments() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        "[a-z{}\\[\\]\"\\\\]{0,8}".prop_map(|text| json!({"a": {"b": [text]}})),
        any::<i32>().prop_map(|number| json!({"n": number})),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let form = prop::sample::select(vec![
        ArgumentsForm::Pieces,
        ArgumentsForm::PlaceholderAndPieces,
        ArgumentsForm::Repeated,
        ArgumentsForm::Object,
    ]);
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let is_named_late = prop::bool::weighted(0.2);
    ("W[a-z_]{1,8}", arguments(), any::<prop::sample::Index>(), is_named_late, cuts, form).prop_map(
        |(name, arguments, name_cut, is_named_late, cuts, form)| Call {
            name,
            arguments,
            name_cut,
            is_named_late,
            cuts,
            form,
        },
    )
}

fn identity() -> impl Strategy<Value = Identity> {
    prop::sample::select(vec![
        Identity::Index,
        Identity::IndexAsText,
        Identity::IndexAsFloat,
        Identity::Id,
        Identity::NumericId,
        Identity::IndexAndId,
    ])
}

/// Merges lists in an order that keeps the order of each list. A number without a list stands for text.
fn merged<T>(lists: Vec<Vec<T>>, order: Vec<usize>) -> Vec<(usize, Option<T>)> {
    let count = lists.len();
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    let rest = (0..count).flat_map(|at| std::iter::repeat_n(at, 24));
    let mut merged = Vec::new();
    for at in order.into_iter().chain(rest) {
        match lists.get_mut(at).map(Iterator::next) {
            Some(Some(element)) => merged.push((at, Some(element))),
            Some(None) => {}
            None => merged.push((at, None)),
        }
    }
    merged
}

fn ends(cuts: Vec<prop::sample::Index>, bytes: &str) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends
}

/// The name, id and arguments of each call of a chat, and the finish reason.
fn calls_of_chat(text: &str) -> (Vec<(String, String, String)>, Option<String>) {
    assert_well_formed(text);
    let (mut calls, mut reason) = (Vec::<(String, String, String)>::new(), None);
    for event in json_events(text) {
        let choice = &event["choices"][0];
        reason = choice["finish_reason"].as_str().map(str::to_owned).or(reason);
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == calls.len() {
                let string = |value: &Value| value.as_str().unwrap().to_owned();
                calls.push((string(&call["function"]["name"]), string(&call["id"]), String::new()));
            }
            calls[index].2 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    (calls, reason)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Pieces of several calls, with text between them, in any order that keeps the order of each call.
    #[test]
    fn calls_of_a_chat_are_whole_and_in_order_for_any_interleaving_and_chunks(
        calls in prop::collection::vec(call(), 1..5),
        identity in identity(),
        order in prop::collection::vec(0..5usize, 0..80),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let lists = calls.iter().enumerate().map(|(number, call)| call.pieces(number, identity)).collect();
        let (mut bytes, mut text, mut began) = (String::new(), String::new(), Vec::new());
        for (step, (at, piece)) in merged(lists, order).into_iter().enumerate() {
            match piece {
                Some(piece) => {
                    if !began.contains(&at) {
                        began.push(at);
                    }
                    bytes += &pieces(&[piece]);
                }
                None => {
                    let word = format!("{step} ");
                    bytes += &chunk(&json!({"content": word}), None);
                    text += &word;
                }
            }
        }
        bytes += &chunk(&json!({}), Some("stop"));
        bytes += "data: [DONE]\n\n";
        let translated = stream(for_messages(), bytes.as_bytes(), &ends(cuts, &bytes));
        let blocks = blocks(&translated);
        let texts: String = blocks.iter().filter(|(kind, _)| kind == "text").map(|(_, text)| &**text).collect();
        prop_assert_eq!(texts, text);
        let received: Vec<_> = blocks.into_iter().filter(|(kind, _)| kind != "text").collect();
        let sent: Vec<_> =
            began.iter().map(|&at| (calls[at].name.clone(), calls[at].arguments.to_string())).collect();
        prop_assert_eq!(received, sent, "{}", bytes);
        prop_assert!(translated.contains(r#""stop_reason":"tool_use""#));
    }

    /// Blocks of several calls at the same time. The input is in the start, in the deltas, or in both.
    #[test]
    fn calls_of_messages_are_whole_for_any_interleaving_and_chunks(
        calls in prop::collection::vec((call(), any::<bool>(), any::<bool>(), prop::option::of("[a-c]")), 1..5),
        order in prop::collection::vec(0..5usize, 0..80),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let lists = calls.iter().enumerate().map(|(index, (call, has_input, is_typed, id))| {
            let input = if *has_input { call.arguments.clone() } else { json!({}) };
            let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": input});
            let start = json!({"type": "content_block_start", "index": index, "content_block": block});
            let stop = json!({"type": "content_block_stop", "index": index});
            let deltas = call.arguments().into_iter().map(|arguments| {
                let mut delta = json!({"partial_json": arguments});
                if *is_typed {
                    delta["type"] = "input_json_delta".into();
                }
                json!({"type": "content_block_delta", "index": index, "delta": delta})
            });
            // Whole input needs no deltas.
            let deltas = deltas.take(if *has_input && *is_typed { 0 } else { 99 });
            [start].into_iter().chain(deltas).chain([stop]).collect()
        });
        let (mut bytes, mut began) = (String::new(), Vec::new());
        for (at, event) in merged(lists.collect(), order) {
            if event.is_some() && !began.contains(&at) {
                began.push(at);
            }
            let delta = json!({"type": "text_delta", "text": "x"});
            let event = event.unwrap_or(json!({"type": "content_block_delta", "index": 9, "delta": delta}));
            bytes += &format!("data: {event}\n\n");
        }
        let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
        bytes += &format!("data: {end}\n\ndata: {}\n\n", json!({"type": "message_stop"}));
        let (received, reason) = calls_of_chat(&stream(for_chat(), bytes.as_bytes(), &ends(cuts, &bytes)));
        prop_assert_eq!(reason.as_deref(), Some("tool_calls"));
        let sent: Vec<_> =
            began.iter().map(|&at| (calls[at].0.name.clone(), calls[at].0.arguments.to_string())).collect();
        let ids: std::collections::BTreeSet<_> = received.iter().map(|(_, id, _)| id.clone()).collect();
        prop_assert!(ids.len() == calls.len() && !ids.contains(""), "{:?}", ids);
        let received: Vec<_> = received.into_iter().map(|(name, _, arguments)| (name, arguments)).collect();
        prop_assert_eq!(received, sent, "{}", bytes);
    }
}
