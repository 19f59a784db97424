//! The arguments of a tool call, which arrive in pieces.

use tidegate_core::Failure;

use super::encode_events::unreadable;
use super::split_surrogates::HeldHalf;
use super::stop_reason::is_cut_off;
use super::text_digest::TextDigest;

/// The arguments of one call as far as they were received.
///
/// The text of an object is released piece by piece. What may turn out to be something else is held: `{}`,
/// which some hosts send before the arguments; `null`, which stands for no arguments; and a string, which
/// contains the object.
#[derive(Default)]
pub(super) struct CallArguments {
    held: String,
    /// The first two characters that are not white space.
    first: [Option<char>; 2],
    is_released: bool,
    progress: ObjectProgress,
    received: TextDigest,
    half: HeldHalf,
}

/// The maximum length of a `null` with white space.
const MAX_NULL: usize = 64;

/// Follows the text of a JSON object until it ends.
#[derive(Clone, Copy, Default)]
struct ObjectProgress {
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
    has_ended: bool,
}

impl CallArguments {
    /// Adds a piece.
    ///
    /// # Errors
    ///
    /// The text cannot be that of an object.
    pub(super) fn push(&mut self, piece: &str) -> Result<(), Failure> {
        let piece = &*self.half.join(piece);
        let is_blank = piece.trim().is_empty();
        if self.progress.has_ended || self.first[0] == Some('n') && self.held.trim_end() == "null" {
            let is_repeated = TextDigest::of(piece) == self.received;
            match self.is_released {
                _ if is_blank || is_repeated => return Ok(()),
                true => return Err(unreadable()),
                // What was held were not the arguments.
                false => (self.held, self.first, self.progress, self.received) = Default::default(),
            }
        }
        let piece = if self.received.is_empty() { piece.trim_start() } else { piece };
        let mut chars = piece.chars().filter(|char| !char.is_whitespace());
        for first in self.first.iter_mut().filter(|first| first.is_none()) {
            *first = chars.next();
        }
        self.received.push(piece);
        self.held += piece;
        match self.first[0] {
            None | Some('"') => Ok(()),
            Some('{') => self.progress.push(piece),
            Some('n') if self.held.len() <= MAX_NULL && "null".starts_with(self.held.trim_end()) => Ok(()),
            Some(_) => Err(unreadable()),
        }
    }

    /// Whether there is anything but white space.
    pub(super) fn has_begun(&self) -> bool {
        !self.received.is_empty()
    }

    /// Whether there is more than an empty object or null. It is known after the last piece.
    pub(super) fn has_content(&self) -> bool {
        let placeholders = ["{}", "null"].map(TextDigest::of);
        self.has_begun() && !placeholders.contains(&self.received)
    }

    /// Whether the object is complete.
    pub(super) fn has_ended(&self) -> bool {
        self.progress.has_ended
    }

    /// Whether the object is complete, and is not one that other arguments may replace.
    pub(super) fn are_final(&self) -> bool {
        self.progress.has_ended && self.is_ready()
    }

    /// Whether the text is the beginning of an object only.
    pub(super) fn is_cut(&self) -> bool {
        self.progress.depth > 0
    }

    pub(super) fn held_len(&self) -> usize {
        self.held.len()
    }

    /// Whether a text consists of these arguments.
    pub(super) fn is_same(&self, text: TextDigest) -> bool {
        self.has_begun() && text == self.received
    }

    /// Whether a part of the text can be released.
    pub(super) fn is_ready(&self) -> bool {
        self.is_released || matches!(self.first, [Some('{'), Some(second)] if second != '}')
    }

    /// Releases the text that does not have to wait.
    pub(super) fn release(&mut self) -> String {
        if !self.is_ready() {
            return String::new();
        }
        self.is_released = true;
        std::mem::take(&mut self.held)
    }

    /// Releases the rest after the last piece. All that was released is empty if there are no arguments.
    ///
    /// # Errors
    ///
    /// The text is not the beginning of an object.
    pub(super) fn finish(&mut self) -> Result<String, Failure> {
        self.held.extend(self.half.take());
        let held = std::mem::take(&mut self.held);
        match held.trim().as_bytes() {
            _ if self.is_released => Ok(held),
            [b'{', ..] => Ok(held),
            b"" | b"null" => Ok(String::new()),
            [b'"', ..] => {
                let text: String = serde_json::from_str(&held).map_err(|_| unreadable())?;
                let mut inner = Self::default();
                inner.push(&text)?;
                if text.trim_start().starts_with('"') || inner.is_cut() {
                    Err(unreadable())
                } else {
                    inner.finish()
                }
            }
            _ => Err(unreadable()),
        }
    }

    /// The whole arguments in `text`; an empty object if there are none.
    ///
    /// # Errors
    ///
    /// The text is not an object.
    pub(super) fn whole(text: &str) -> Result<String, Failure> {
        let mut arguments = Self::default();
        arguments.push(text)?;
        match (arguments.is_cut(), arguments.finish()?) {
            (true, _) => Err(unreadable()),
            (false, none) if none.is_empty() => Ok("{}".to_owned()),
            (false, object) => Ok(object),
        }
    }

    /// The whole arguments in `text`; `None` for the beginning of an object, if the stop reason explains that
    /// it was cut off. Such a call is dropped, since a client could not parse its arguments.
    ///
    /// # Errors
    ///
    /// The text is neither an object nor the beginning of one that was cut off.
    pub(super) fn unless_cut_off(text: &str, stop_reason: &str) -> Result<Option<String>, Failure> {
        let mut arguments = Self::default();
        arguments.push(text)?;
        if arguments.is_cut() && is_cut_off(stop_reason) { Ok(None) } else { Self::whole(text).map(Some) }
    }
}

impl ObjectProgress {
    fn push(&mut self, text: &str) -> Result<(), Failure> {
        for byte in text.bytes() {
            match byte {
                // After the object.
                _ if self.has_ended && !byte.is_ascii_whitespace() => return Err(unreadable()),
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.has_ended |= self.depth == 0;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The released text of each step, and that of the end.
    fn released(pieces: &[&str]) -> Result<(Vec<String>, String), Failure> {
        let mut arguments = CallArguments::default();
        let mut steps = Vec::new();
        for piece in pieces {
            arguments.push(piece)?;
            steps.push(arguments.release());
        }
        Ok((steps, arguments.finish()?))
    }

    #[test]
    fn an_object_has_ended_at_its_last_brace_wherever_it_is_cut() {
        for json in ["{}", r#"{"a":{"b":[1,{}]}}"#, r#"{"a":"}\"}","b\\":"{"}"#, " {\"é\": \"😀\"} "] {
            let end = json.rfind('}').unwrap() + 1;
            for cut in (0..=json.len()).filter(|cut| json.is_char_boundary(*cut)) {
                let mut arguments = CallArguments::default();
                arguments.push(&json[..cut]).unwrap();
                assert_eq!(arguments.has_ended(), cut >= end, "{json} at {cut}");
                arguments.push(&json[cut..]).unwrap();
                assert!(arguments.has_ended() && !arguments.is_cut(), "{json} at {cut}");
                assert_eq!(arguments.finish().unwrap().trim(), json.trim());
            }
        }
    }

    #[test]
    fn what_may_be_no_arguments_is_held() {
        for (pieces, steps, end) in [
            (vec![r#"{"a":"#, "1}"], vec![r#"{"a":"#, "1}"], ""),
            (vec!["{", r#""a":1}"#], vec!["", r#"{"a":1}"#], ""),
            (vec!["{", "}"], vec!["", ""], "{}"),
            (vec!["{}", r#"{"a":1}"#], vec!["", r#"{"a":1}"#], ""),
            (vec!["{}", "{}", " "], vec!["", "", ""], "{}"),
            (vec!["null"], vec![""], ""),
            (vec!["nu", "ll", r#"{"a":1}"#], vec!["", "", r#"{"a":1}"#], ""),
            (vec!["null", "{}"], vec!["", ""], "{}"),
            (vec![" ", "\n"], vec!["", ""], ""),
            (vec![r#""{\"a\":"#, r#"1}""#], vec!["", ""], r#"{"a":1}"#),
            (vec![r#""null""#], vec![""], ""),
            // The whole arguments are repeated.
            (vec![r#"{"a":"#, "1}", r#"{"a":1}"#], vec![r#"{"a":"#, "1}", ""], ""),
        ] {
            let expected = (steps.into_iter().map(str::to_owned).collect(), end.to_owned());
            assert_eq!(released(&pieces).unwrap(), expected, "{pieces:?}");
        }
    }

    #[test]
    fn text_that_is_not_an_object_is_an_error() {
        for pieces in [
            vec!["city=Oslo"],
            vec!["[1]"],
            vec!["7"],
            vec!["nul"],
            vec!["nulled"],
            vec![r#"{"a":1}{"b":2}"#],
            vec![r#"{"a":1}"#, r#"{"b":2}"#],
            vec![r#"{"a":1}"#, "x"],
            vec![r#""city""#],
            vec![r#""{\"a\":""#],
            vec![r#""{"#],
        ] {
            assert!(released(&pieces).is_err(), "{pieces:?}");
        }
        let mut cut = CallArguments::default();
        cut.push(r#"{"a":"#).unwrap();
        assert!(cut.is_cut() && CallArguments::whole(r#"{"a":"#).is_err());
    }

    /// A scan of the held text for each piece would take minutes.
    #[test]
    fn white_space_in_held_arguments_costs_no_scan_for_each_piece() {
        let mut arguments = CallArguments::default();
        arguments.push(&(" ".repeat(1 << 20) + "{")).unwrap();
        for _ in 0..200_000 {
            arguments.push("          ").unwrap();
            assert_eq!(arguments.release(), "");
        }
        arguments.push("\"a\":1}").unwrap();
        assert!(arguments.release().ends_with("\"a\":1}"));
    }

    #[test]
    fn whole_arguments_are_an_object() {
        for (text, object) in [
            ("", "{}"),
            (" null ", "{}"),
            (r#"{"n":12345678901234567890123}"#, r#"{"n":12345678901234567890123}"#),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
        ] {
            assert_eq!(CallArguments::whole(text).unwrap(), object);
        }
    }

    proptest! {
        #[test]
        fn the_released_text_is_the_text_of_the_object_for_any_pieces(
            text in "[a-z{}\\[\\]\"\\\\é]{0,8}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let json = serde_json::json!({"a": [text]}).to_string();
            let mut cuts: Vec<_> = cuts
                .into_iter()
                .map(|cut| cut.index(json.len()))
                .filter(|cut| json.is_char_boundary(*cut))
                .chain([0, json.len()])
                .collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &json[cut[0]..cut[1]]).collect();
            let (steps, end) = released(&pieces).unwrap();
            prop_assert_eq!(steps.concat() + &end, json);
        }
    }
}
