use http::HeaderMap;
pub(crate) use tidegate::chain::{ApiDialect, Endpoint};

/// The path at which callers of Anthropic's messages count tokens.
pub(crate) const COUNT_TOKENS: &str = "/v1/messages/count_tokens";

/// The dialect of a caller, whatever it requests.
pub(crate) fn dialect_of_caller(path: &str, headers: &HeaderMap) -> ApiDialect {
    if path.starts_with(Endpoint::Messages.path()) || headers.contains_key("anthropic-version") {
        ApiDialect::Anthropic
    } else {
        ApiDialect::OpenAi
    }
}
