//! The stop sequences of a request, for a target that rejects them: the text of the response is cut before the
//! first one.
//!
//! The first is the one that ends first, and of several that end there the longest, so that the result does not
//! depend on how the text is split. The longest end of the text that begins a sequence is held back. Each sequence
//! is followed by an automaton (Knuth, Morris and Pratt), so that the time grows with the text.

use std::borrow::Cow;

/// Searches the text of a response for stop sequences.
#[derive(Clone, Default)]
pub(super) struct StopSequenceSearch {
    sequences: Vec<Sequence>,
    /// The position of the sequence that was found.
    found: Option<usize>,
}

#[derive(Clone)]
struct Sequence {
    text: String,
    /// For each beginning of the sequence, the length of the longest shorter beginning with which it ends.
    borders: Vec<usize>,
    /// The length of the longest beginning with which the response ends.
    matched: usize,
}

impl StopSequenceSearch {
    pub(super) fn new(sequences: Vec<String>) -> Self {
        let sequences = sequences.into_iter().filter(|text| !text.is_empty()).map(Sequence::new);
        Self { sequences: sequences.collect(), found: None }
    }

    /// The sequence that was found. Nothing may follow it.
    pub(super) fn found(&self) -> Option<&str> {
        self.found.map(|found| &*self.sequences[found].text)
    }

    /// Adds text to a block, and returns the text that is no longer held back.
    pub(super) fn push<'a>(&mut self, text: Cow<'a, str>) -> Cow<'a, str> {
        if self.sequences.is_empty() {
            return text;
        }
        // The text that is held back is the beginning of a sequence.
        let (beginning, held) = self.held();
        let end = self.search(&text);
        let kept = self.found().map_or_else(|| self.held().1, str::len);
        let released = held + end - kept;
        let first = &self.sequences[beginning].text[..released.min(held)];
        Cow::Owned(first.to_owned() + &text[..released.saturating_sub(held)])
    }

    /// Ends a block, and returns the text that was held back.
    pub(super) fn take_held(&mut self) -> &str {
        let (beginning, held) = self.held();
        self.reset();
        self.sequences.get(beginning).map_or("", |sequence| &sequence.text[..held])
    }

    /// Cuts the whole text of a block. Returns whether a sequence was found.
    pub(super) fn cut(&mut self, text: &mut String) -> bool {
        let end = self.search(text);
        match self.found() {
            Some(found) => text.truncate(end - found.len()),
            None => self.reset(),
        }
        self.found.is_some()
    }

    /// Searches the next text of a block. Returns the end of the sequence that was found, or else of the text.
    fn search(&mut self, text: &str) -> usize {
        if self.sequences.is_empty() {
            return text.len();
        }
        for (at, byte) in text.bytes().enumerate() {
            self.sequences.iter_mut().for_each(|sequence| sequence.push(byte));
            let ended = self.sequences.iter().enumerate().filter(|(_, sequence)| sequence.is_found());
            if let Some((found, _)) = ended.max_by_key(|(_, sequence)| sequence.matched) {
                self.found = Some(found);
                self.reset();
                return at + 1;
            }
        }
        text.len()
    }

    /// The position of the sequence whose beginning is held back, and the length of this beginning.
    fn held(&self) -> (usize, usize) {
        let matched = self.sequences.iter().map(|sequence| sequence.matched).enumerate();
        matched.max_by_key(|(_, matched)| *matched).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.sequences.iter_mut().for_each(|sequence| sequence.matched = 0);
    }
}

impl Sequence {
    /// A sequence that is not empty.
    fn new(text: String) -> Self {
        let mut sequence = Self { borders: vec![0], matched: 0, text };
        for at in 1..sequence.text.len() {
            sequence.push(sequence.text.as_bytes()[at]);
            sequence.borders.push(sequence.matched);
        }
        Self { matched: 0, ..sequence }
    }

    fn push(&mut self, byte: u8) {
        let text = self.text.as_bytes();
        while self.matched > 0 && text[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
        }
        self.matched += usize::from(text[self.matched] == byte);
    }

    fn is_found(&self) -> bool {
        self.matched == self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sequence_that_ends_first_is_found_and_of_several_the_longest() {
        for (sequences, text, before, found) in [
            (&["b"][..], "abc", "a", Some("b")),
            (&["abcd", "bc"], "abcd", "a", Some("bc")),
            (&["c", "bc", "xbc"], "abc", "a", Some("bc")),
            (&["aab"], "aaab", "a", Some("aab")),
            (&["🌍"], "é🌍", "é", Some("🌍")),
            (&["é"], "è", "è", None),
            (&["", "\n"], "a\nb", "a", Some("\n")),
            (&[""], "a", "a", None),
            (&[], "a", "a", None),
        ] {
            let mut stops =
                StopSequenceSearch::new(sequences.iter().map(|text| (*text).to_owned()).collect());
            let mut cut = text.to_owned();
            assert_eq!(stops.cut(&mut cut), found.is_some(), "{sequences:?}");
            assert_eq!((&*cut, stops.found()), (before, found), "{sequences:?}");
        }
    }

    proptest! {
        #[test]
        fn only_the_longest_end_of_the_text_that_begins_a_sequence_is_held_back(
            sequences in prop::collection::vec("[abé]{1,5}", 1..4),
            pieces in prop::collection::vec("[abé]{0,3}", 0..8),
        ) {
            let mut stops = StopSequenceSearch::new(sequences.clone());
            let (mut text, mut released) = (String::new(), String::new());
            for piece in pieces {
                text += &piece;
                released += &stops.push(piece.into());
                if stops.found().is_some() {
                    prop_assert_eq!(stops.take_held(), "");
                    return Ok(());
                }
                let begins = |at: &usize| sequences.iter().any(|sequence| sequence.starts_with(&text[*at..]));
                let held = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).find(begins);
                prop_assert_eq!(&released, &text[..held.unwrap_or(text.len())]);
            }
            prop_assert_eq!(released + stops.take_held(), text);
        }
    }
}
