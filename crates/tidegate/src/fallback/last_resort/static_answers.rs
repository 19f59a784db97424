/// The fixed answers of a last resort: one text for each kind of prompt.
///
/// The kind of a prompt is detected by English words in it; for other languages set one text for all kinds
/// ([`of`](Self::of)).
#[derive(Clone)]
pub struct StaticAnswers {
    /// By the kind of the prompt.
    texts: [String; 5],
}

/// The kinds of prompts that [`StaticAnswers`] distinguishes, in the order in which they are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromptKind {
    /// A question.
    Question,
    /// A request to write a text.
    Creative,
    /// A request to analyse something.
    Analysis,
    /// A request for code.
    Code,
    /// Anything else.
    Other,
}

const KEYWORDS: [(PromptKind, &[&str]); 4] = [
    (PromptKind::Question, &["what", "how", "why", "when", "where", "who"]),
    (PromptKind::Creative, &["write", "create", "story", "poem", "creative"]),
    (PromptKind::Analysis, &["analyze", "analyse", "compare", "evaluate", "assess"]),
    (PromptKind::Code, &["code", "function", "class", "script", "program"]),
];

impl PromptKind {
    /// The kind of `prompt`: a question if it has a question mark, else the first kind with a keyword in the
    /// prompt.
    #[must_use]
    pub fn of(prompt: &str) -> Self {
        if prompt.contains(['?', '？', '؟']) {
            return Self::Question;
        }
        let prompt = prompt.to_lowercase();
        let has =
            |words: &[&str]| prompt.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word));
        KEYWORDS.iter().find(|(_, words)| has(words)).map_or(Self::Other, |(kind, _)| *kind)
    }
}

impl StaticAnswers {
    /// A default text for each kind.
    #[must_use]
    pub fn new() -> Self {
        let causes = [
            "I cannot answer questions",
            "I cannot write anything",
            "I cannot look into that",
            "I cannot write code",
            "I cannot help with that",
        ];
        let texts =
            causes.map(|cause| format!("Sorry, {cause} right now. Please try again in a few minutes."));
        Self { texts }
    }

    /// The same text for all kinds.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { texts: std::array::from_fn(|_| text.clone()) }
    }

    /// Replaces the text of one kind.
    #[must_use]
    pub fn with(mut self, kind: PromptKind, text: impl Into<String>) -> Self {
        self.texts[kind as usize] = text.into();
        self
    }

    /// The text for a prompt of this kind.
    #[must_use]
    pub fn text(&self, kind: PromptKind) -> &str {
        &self.texts[kind as usize]
    }
}

impl Default for StaticAnswers {
    fn default() -> Self {
        Self::new()
    }
}

partial_debug!([] StaticAnswers, "StaticAnswers");

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed item 47: by keywords, in this order.
    #[test]
    fn a_prompt_has_the_first_kind_with_a_matching_keyword() {
        for (prompt, kind) in [
            ("Really?", PromptKind::Question),
            ("Tell me HOW to write a poem", PromptKind::Question),
            ("Write a function", PromptKind::Creative),
            ("Compare the code of both", PromptKind::Analysis),
            ("A python script, please", PromptKind::Code),
            ("Hello", PromptKind::Other),
            // A keyword inside of another word does not match.
            ("Somewhat classy showers", PromptKind::Other),
            ("", PromptKind::Other),
        ] {
            assert_eq!(PromptKind::of(prompt), kind, "{prompt}");
        }
    }

    #[test]
    fn each_kind_has_a_text_of_its_own() {
        let answers = StaticAnswers::of("same").with(PromptKind::Code, "no code");
        assert_eq!((answers.text(PromptKind::Code), answers.text(PromptKind::Other)), ("no code", "same"));
        assert_ne!(
            StaticAnswers::new().text(PromptKind::Question),
            StaticAnswers::new().text(PromptKind::Code)
        );
    }
}
