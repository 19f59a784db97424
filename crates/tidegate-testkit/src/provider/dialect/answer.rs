use super::Event;
use crate::provider::question::Question;

/// A good answer, before it has a shape.
pub(in crate::provider) struct Answer<'a> {
    pub(in crate::provider) question: &'a Question,
    pub(in crate::provider) number: usize,
    /// What is thought before a word is said, token by token.
    pub(in crate::provider) reasoning: &'a [String],
    /// The text, or the arguments of the call, token by token.
    pub(in crate::provider) tokens: &'a [String],
    /// The tool that is called instead of a text.
    pub(in crate::provider) tool: Option<&'a str>,
    pub(in crate::provider) stop: &'a Stop,
}

/// Why an answer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) enum Stop {
    /// All is said, or a tool is to be called.
    #[default]
    Natural,
    Length,
    Filter,
    /// For this reason, in the dialect's own word.
    Word(String),
}

/// The words of a dialect for the reasons to stop.
pub(super) struct StopWords {
    pub(super) natural: &'static str,
    pub(super) tool: &'static str,
    pub(super) length: &'static str,
    pub(super) filter: &'static str,
}

/// The events of a stream.
#[derive(Default)]
pub(in crate::provider) struct Events {
    pub(in crate::provider) before: Vec<Event>,
    /// What each token comes to: its event, and before it what announces it.
    pub(in crate::provider) tokens: Vec<Vec<Event>>,
    pub(in crate::provider) after: Vec<Event>,
}

impl<'a> Answer<'a> {
    pub(super) fn model(&self) -> &'a str {
        self.question.model.as_deref().unwrap_or("scripted-model")
    }

    /// All the tokens that were generated.
    pub(super) fn count(&self) -> usize {
        self.reasoning.len() + self.tokens.len()
    }

    /// The text; of a call, the arguments.
    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }

    pub(super) fn stop_word(&self, words: &StopWords) -> &'a str {
        match self.stop {
            Stop::Natural if self.tool.is_some() => words.tool,
            Stop::Natural => words.natural,
            Stop::Length => words.length,
            Stop::Filter => words.filter,
            Stop::Word(word) => word,
        }
    }
}
