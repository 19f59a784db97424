use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::fallback::{PromptKind, StaticAnswers};

use super::GatewayConfigError;

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
        self.texts().fold(StaticAnswers::new(), |answers, (_, kind, text)| answers.with(kind, text))
    }

    /// A mistake for each text that is empty.
    pub(super) fn mistakes(&self) -> impl Iterator<Item = GatewayConfigError> {
        self.texts().filter(|(.., text)| text.trim().is_empty()).map(|(key, ..)| {
            GatewayConfigError::new(format!("static_texts.{key}"), "expected a text that is not empty")
        })
    }

    fn texts(&self) -> impl Iterator<Item = (&'static str, PromptKind, &str)> {
        let texts = [
            ("question", PromptKind::Question, &self.question),
            ("creative", PromptKind::Creative, &self.creative),
            ("analysis", PromptKind::Analysis, &self.analysis),
            ("code", PromptKind::Code, &self.code),
            ("other", PromptKind::Other, &self.other),
        ];
        texts.into_iter().filter_map(|(key, kind, text)| Some((key, kind, text.as_deref()?)))
    }
}
