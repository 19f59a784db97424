use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::fallback::{PromptKind, StaticAnswers};

/// The answers of `@static`, by the kind of the prompt.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with question, creative, analysis, code or other")]
pub(crate) struct StaticTexts {
    /// The answer to a question.
    question: Option<String>,
    /// The answer to a request to write a text.
    creative: Option<String>,
    /// The answer to a request to analyse something.
    analysis: Option<String>,
    /// The answer to a request for code.
    code: Option<String>,
    /// The answer to any other prompt.
    other: Option<String>,
}

impl StaticTexts {
    /// The answers, with a default text for each kind without one.
    pub(crate) fn answers(&self) -> StaticAnswers {
        let texts = [
            (PromptKind::Question, &self.question),
            (PromptKind::Creative, &self.creative),
            (PromptKind::Analysis, &self.analysis),
            (PromptKind::Code, &self.code),
            (PromptKind::Other, &self.other),
        ];
        texts.into_iter().fold(StaticAnswers::new(), |answers, (kind, text)| match text {
            Some(text) => answers.with(kind, text),
            None => answers,
        })
    }
}
