use tidegate_core::ModelCapabilities;

/// The table: name, context window, maximum output tokens, tools, vision, JSON schema.
///
/// From the documentation of OpenAI ("Models"), Anthropic ("Models overview"), Google ("Gemini models"),
/// DeepSeek ("Models and pricing", "JSON output"), Groq ("Supported models"), Cohere ("Models") and xAI
/// ("Models"). Where a number has changed under the same name, the table holds the larger one. Where a header
/// changes the number, the table holds none: the context of Claude Sonnet 4, the longer responses of Claude
/// 3.7.
///
/// Google limits prompt and response separately, so its context windows are the sum of both.
const KNOWN: [Row; 45] = [
    // OpenAI.
    ("gpt-3.5-turbo", Some(16_385), Some(4_096), YES, NO, NO),
    ("gpt-4", Some(8_192), Some(8_192), YES, NO, NO),
    ("gpt-4-32k", Some(32_768), Some(32_768), YES, NO, NO),
    ("gpt-4-turbo", Some(128_000), Some(4_096), YES, YES, NO),
    ("gpt-4-turbo-preview", Some(128_000), Some(4_096), YES, NO, NO),
    ("gpt-4-0125-preview", Some(128_000), Some(4_096), YES, NO, NO),
    ("gpt-4-1106-preview", Some(128_000), Some(4_096), YES, NO, NO),
    ("gpt-4o", Some(128_000), Some(16_384), YES, YES, YES),
    ("gpt-4o-2024-05-13", Some(128_000), Some(4_096), YES, YES, NO),
    ("gpt-4o-mini", Some(128_000), Some(16_384), YES, YES, YES),
    ("gpt-4.1", Some(1_047_576), Some(32_768), YES, YES, YES),
    ("gpt-4.1-mini", Some(1_047_576), Some(32_768), YES, YES, YES),
    ("gpt-4.1-nano", Some(1_047_576), Some(32_768), YES, YES, YES),
    ("gpt-5", Some(400_000), Some(128_000), YES, YES, YES),
    ("gpt-5-mini", Some(400_000), Some(128_000), YES, YES, YES),
    ("gpt-5-nano", Some(400_000), Some(128_000), YES, YES, YES),
    ("o1", Some(200_000), Some(100_000), YES, YES, YES),
    ("o1-mini", Some(128_000), Some(65_536), NO, NO, NO),
    ("o1-preview", Some(128_000), Some(32_768), NO, NO, NO),
    ("o3", Some(200_000), Some(100_000), YES, YES, YES),
    ("o3-mini", Some(200_000), Some(100_000), YES, NO, YES),
    ("o4-mini", Some(200_000), Some(100_000), YES, YES, YES),
    // Anthropic. Whether a schema is supported depends on the dialect of the request.
    ("claude-3-haiku", Some(200_000), Some(4_096), YES, YES, None),
    ("claude-3-sonnet", Some(200_000), Some(4_096), YES, YES, None),
    ("claude-3-opus", Some(200_000), Some(4_096), YES, YES, None),
    ("claude-3-5-haiku", Some(200_000), Some(8_192), YES, None, None),
    ("claude-3-5-sonnet", Some(200_000), Some(8_192), YES, YES, None),
    ("claude-3-7-sonnet", Some(200_000), None, YES, YES, None),
    ("claude-haiku-4-5", Some(200_000), Some(64_000), YES, YES, None),
    ("claude-sonnet-4", None, Some(64_000), YES, YES, None),
    ("claude-sonnet-4-5", None, Some(64_000), YES, YES, None),
    ("claude-opus-4", Some(200_000), Some(32_000), YES, YES, None),
    ("claude-opus-4-1", Some(200_000), Some(32_000), YES, YES, None),
    // Google.
    ("gemini-1.5-flash", Some(1_048_576 + 8_192), Some(8_192), YES, YES, YES),
    ("gemini-1.5-pro", Some(2_097_152 + 8_192), Some(8_192), YES, YES, YES),
    ("gemini-2.0-flash", Some(1_048_576 + 8_192), Some(8_192), YES, YES, YES),
    ("gemini-2.5-flash", Some(1_048_576 + 65_536), Some(65_536), YES, YES, YES),
    ("gemini-2.5-pro", Some(1_048_576 + 65_536), Some(65_536), YES, YES, YES),
    // DeepSeek supports JSON output and rejects a schema for it.
    ("deepseek-chat", Some(131_072), None, YES, NO, NO),
    ("deepseek-reasoner", Some(131_072), None, None, NO, NO),
    // Groq.
    ("llama-3.1-8b-instant", Some(131_072), None, YES, NO, None),
    ("llama-3.3-70b-versatile", Some(131_072), Some(32_768), YES, NO, None),
    // Cohere.
    ("command-r", Some(128_000), None, YES, NO, None),
    ("command-r-plus", Some(128_000), None, YES, NO, None),
    // xAI.
    ("grok-3", Some(131_072), None, YES, NO, None),
];

type Row = (&'static str, Option<u64>, Option<u64>, Option<bool>, Option<bool>, Option<bool>);

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// The capabilities of `model`.
pub(super) fn card(model: &str) -> Option<ModelCapabilities> {
    let &(_, context_tokens, max_output_tokens, tools, vision, json_schema) = row_of(model)?;
    Some(ModelCapabilities { context_tokens, max_output_tokens, tools, vision, json_schema })
}

/// The row of `model` with the longest name.
fn row_of(model: &str) -> Option<&'static Row> {
    let fits = |name: &str| model.strip_prefix(name).is_some_and(is_version);
    KNOWN.iter().filter(|row| fits(row.0)).max_by_key(|row| row.0.len())
}

/// Whether the rest of a name is only a version: empty, `latest`, a number of at least three digits, or a
/// date. A shorter number is another model: Claude Opus 4-5 is not Claude Opus 4, and 4-5-20251101 is the
/// version of another as well.
fn is_version(rest: &str) -> bool {
    let Some(version) = rest.strip_prefix(['-', '@']) else { return rest.is_empty() };
    let mut lengths = [0; 3];
    for (index, number) in version.split('-').enumerate() {
        if index == lengths.len() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return version == "latest";
        }
        lengths[index] = number.len();
    }
    // A number, a day, or a month.
    matches!(lengths, [3..=usize::MAX, 0, 0] | [4, 2, 2] | [2, 4, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_same_model_and_any_other_ending_is_another() {
        for (model, context) in [
            ("gpt-4", Some(8_192)),
            ("gpt-4-0613", Some(8_192)),
            ("gpt-4-32k", Some(32_768)),
            ("gpt-4o-2024-08-06", Some(128_000)),
            ("claude-3-5-sonnet-latest", Some(200_000)),
            ("claude-3-5-sonnet@20241022", Some(200_000)),
            ("gemini-2.0-flash-001", Some(1_056_768)),
            ("command-r-plus-08-2024", Some(128_000)),
            ("claude-opus-4-20250514", Some(200_000)),
            ("gpt-4-new", None),
            ("gpt-4o-audio-preview", None),
            ("gpt-4omni", None),
            ("claude-opus-4-9", None),
            ("llama", None),
            ("", None),
        ] {
            assert_eq!(card(model).and_then(|card| card.context_tokens), context, "{model}");
        }
        assert_eq!(card("gpt-4o-2024-05-13").unwrap().max_output_tokens, Some(4_096));
    }

    #[test]
    fn no_row_is_duplicated_or_has_a_maximum_output_above_its_context() {
        for (index, row) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..index].iter().all(|other| other.0 != row.0), "{}", row.0);
            assert!(row.1.is_none() || row.2 <= row.1, "{}", row.0);
        }
    }

    /// The rows of names as the providers use them, with the name of the row.
    #[test]
    fn no_model_is_taken_for_another() {
        for (row, versions, others) in [
            ("gpt-3.5-turbo", &["-0125", "-1106"][..], &["-16k", "-instruct", "-instruct-0914"][..]),
            (
                "gpt-4",
                &["-0613", "-0314"],
                &[
                    "-32k",
                    "-32k-0613",
                    "-turbo",
                    "o",
                    "o-mini",
                    ".1",
                    ".5-preview",
                    "-vision-preview",
                    "-0125-preview",
                ],
            ),
            ("gpt-4-turbo", &["-2024-04-09"], &["-preview"]),
            (
                "gpt-4o",
                &["-2024-11-20", "-latest"],
                &["-mini", "-mini-2024-07-18", "-audio-preview", "-search-preview", "-2024-05-13"],
            ),
            ("gpt-4.1", &["-2025-04-14"], &["-mini", "-nano", "-mini-2025-04-14"]),
            (
                "gpt-5",
                &["-2025-08-07"],
                &[
                    "-mini",
                    "-nano",
                    "-codex",
                    "-pro",
                    "-pro-2025-10-06",
                    "-chat-latest",
                    ".1",
                    ".1-2025-11-13",
                    "-2",
                ],
            ),
            (
                "o1",
                &["-2024-12-17"],
                &["-mini", "-mini-2024-09-12", "-preview", "-preview-2024-09-12", "-pro", "-pro-2025-03-19"],
            ),
            (
                "o3",
                &["-2025-04-16"],
                &["-mini", "-mini-2025-01-31", "-pro", "-deep-research", "-deep-research-2025-06-26"],
            ),
            ("claude-3-haiku", &["-20240307", "@20240307"], &["-5"]),
            ("claude-3-5-haiku", &["-20241022", "-latest"], &[]),
            ("claude-3-5-sonnet", &["-20240620", "@20240620"], &["-v2@20241022"]),
            (
                "claude-sonnet-4",
                &["-20250514", "@20250514"],
                &["-5", "-5-20250929", "-5@20250929", "-6", "-6-20260301", "-10-20270101"],
            ),
            (
                "claude-opus-4",
                &["-20250514"],
                &["-1", "-1-20250805", "-5", "-5-20251101", "-5@20251101", "-6-20260201"],
            ),
            ("claude-haiku-4-5", &["-20251001"], &["-1-20260101"]),
            ("gemini-1.5-flash", &["-001", "-002", "-latest"], &["-8b", "-8b-001"]),
            ("gemini-2.0-flash", &["-001"], &["-lite", "-lite-001", "-exp", "-thinking-exp-01-21"]),
            ("gemini-2.5-flash", &[], &["-lite", "-image", "-preview-09-2025", "-preview-05-20"]),
            ("gemini-2.5-pro", &[], &["-preview-05-06", "-preview-tts"]),
            ("command-r", &["-08-2024", "-03-2024"], &["-plus", "-plus-08-2024", "7b-12-2024"]),
            ("grok-3", &["-latest"], &["-mini", "-fast", "-mini-fast"]),
            ("deepseek-chat", &[], &["-v2", "-v3.1"]),
        ] {
            let is_row = |ending: &str| row_of(&format!("{row}{ending}")).is_some_and(|found| found.0 == row);
            for version in versions.iter().chain(&[""]) {
                assert!(is_row(version), "{row}{version}");
            }
            for other in others {
                assert!(!is_row(other), "{row}{other}");
            }
        }
    }
}
