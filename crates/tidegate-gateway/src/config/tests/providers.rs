//! Providers and the capabilities of their models.

use tidegate::provider::{ModelCapabilities, ModelCatalog};

use super::*;

#[test]
fn a_provider_may_have_a_kind_headers_and_a_query() {
    let provider = |keys: &str| {
        let file = format!(
            "[providers.oai]\nbase_url = \"http://p/{{model}}\"\ndialect = \"openai\"\n{keys}\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"oai/gpt 5\"]"
        );
        let config =
            Config::parse(&file.replace("gpt 5", "gpt-5"), |name| (name == "KEY").then(|| "k".into()));
        config
            .map(|config| config.providers["oai"].clone())
            .map_err(|error| format!("{}: {}", error.key(), error.problem()))
    };
    let azure = provider("kind = \"azure\"\nquery = \"api-version=1\"\napi_key_env = \"KEY\"").unwrap();
    assert_eq!(azure.kind_of("oai"), tidegate::providers::Provider::Azure);
    let uri = azure.uri(crate::endpoint::Endpoint::ChatCompletions, "gpt-5", "", Some("a=b")).unwrap();
    assert_eq!(uri, "http://p/gpt-5/chat/completions?api-version=1&a=b");
    assert_eq!(provider("").unwrap().kind_of("oai"), tidegate::providers::Provider::Other);
    assert!(provider("headers = { host = \"virtual\" }").is_ok());
    assert!(provider("headers = { \"x-a\" = \"1\", \"x-b\" = { env = \"KEY\" } }").is_ok());
    for (keys, problem) in [
        ("kind = \"opnai\"", "providers.oai.kind: unknown kind `opnai`, did you mean `openai`?"),
        ("headers = { \"x a\" = \"1\" }", "providers.oai.headers.x a: expected the name of a header"),
        ("headers = { \"x-b\" = { env = \"NONE\" } }", "providers.oai.headers.x-b: NONE is not set"),
        ("query = \"a b\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        ("query = \"?a=1\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        ("query = \"a=1#b\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        (
            "headers = { x-a = { en = \"KEY\" } }",
            "providers.oai.headers.x-a: unknown key `en`, did you mean `env`?",
        ),
        (
            "headers = { x-a = 5 }",
            "providers.oai.headers.x-a: expected a text, or a table such as { env = \"NAME\" } or \
             { file = \"PATH\" }, found integer `5`",
        ),
        ("headers = { x-a = {} }", "providers.oai.headers.x-a: expected either env or file"),
        // Regression: the values of a list were those of a table in the order of the code.
        (
            "headers = { x-a = [\"KEY\"] }",
            "providers.oai.headers.x-a: expected a text, or a table such as { env = \"NAME\" } or \
             { file = \"PATH\" }, found a list",
        ),
        // Regression: the key was replaced, or sent as the host.
        (
            "api_key_header = \"Content-Length\"",
            "providers.oai.api_key_header: `content-length` belongs to the connection or to the body",
        ),
        (
            "api_key_header = \"host\"",
            "providers.oai.api_key_header: `host` belongs to the connection or to the body",
        ),
        (
            "api_key_header = \"content-type\"",
            "providers.oai.api_key_header: `content-type` belongs to the connection or to the body",
        ),
        (
            "headers = { transfer-encoding = \"chunked\" }",
            "providers.oai.headers.transfer-encoding: `transfer-encoding` belongs to the connection or to the body",
        ),
        ("headers = { X-A = \"1\", x-a = \"2\" }", "providers.oai.headers.x-a: is in the table already"),
    ] {
        assert_eq!(provider(keys).unwrap_err(), problem);
    }
}

#[test]
fn model_capabilities_are_added_and_corrected() {
    let models = r#"
        [models."openai/gpt-4"]
        context_tokens = 32_000
        [models.llama3]
        max_output_tokens = 2_000
        tools = false
    "#;
    let config = Config::parse(&format!("{PROVIDERS}{models}{ROUTE}"), env).unwrap();
    let capabilities = |target| config.models.capabilities(target).unwrap();
    let expected = ModelCapabilities { context_tokens: Some(32_000), ..ModelCapabilities::default() };
    assert_eq!(capabilities("openai/gpt-4"), expected);
    assert_eq!(
        (capabilities("local/llama3.2").tools, capabilities("local/llama3.2").max_output_tokens),
        (Some(false), Some(2_000))
    );
    assert_eq!(capabilities("anthropic/claude-3-haiku-20240307").context_tokens, Some(200_000));
    for (entry, message) in [
        ("context_tokens = 0", "models.llama3.context_tokens: expected at least 1, found integer `0`"),
        ("tool = true", "models.llama3: unknown key `tool`, did you mean `tools`?"),
    ] {
        assert_eq!(parse_error(&format!("{PROVIDERS}[models.llama3]\n{entry}\n{ROUTE}")), message);
    }
}

#[test]
fn an_invalid_base_url_or_api_key_is_rejected() {
    for (from, to, message) in [
        ("https://api", "ftp://api", "base_url: expected a URL that begins with http:// or https://"),
        ("https://api", "api", "base_url: expected a URL such as https://api.openai.com/v1"),
        (
            "https://api.anthropic.com/v1",
            "https://api.anthropic.com/v1/messages",
            "base_url: expected the URL of the whole API, such as https://api.openai.com/v1, found that of one endpoint",
        ),
        ("https://api.anthropic.com/v1", "http://api:80800/v1", "base_url: expected a port from 1 to 65535"),
        ("/v1", "/v1?key=sk-secret", "base_url: expected a URL that ends with its path"),
        ("/v1", "/v1/{mdoel}", "base_url: expected {model} or no braces"),
        (
            "https://api",
            "https://sk:secret@api",
            "base_url: expected a URL without credentials, they belong in api_key_env",
        ),
        ("ANTHROPIC_API_KEY", "OTHER_API_KEY", "api_key_env: OTHER_API_KEY is not set"),
        ("ANTHROPIC_API_KEY", "EMPTY", "api_key_env: EMPTY is empty"),
        ("ANTHROPIC_API_KEY", "sk-ant-secret", "api_key_env: the variable it names is not set"),
        (
            "ANTHROPIC_API_KEY",
            "SPACED",
            "api_key_env: expected visible ASCII in SPACED, found a space or another character",
        ),
        (
            "ANTHROPIC_API_KEY",
            "SPLIT",
            "api_key_env: expected visible ASCII in SPLIT, found a space or another character",
        ),
    ] {
        let (openai, anthropic) = PROVIDERS.split_once("[providers.anthropic]").unwrap();
        let text = format!("{openai}[providers.anthropic]{}{ROUTE}", anthropic.replace(from, to));
        assert_eq!(parse_error(&text), format!("providers.anthropic.{message}"));
    }
    let key_in_the_wrong_place = "providers = { openai = \"sk-secret\" }";
    assert_eq!(
        parse_error(key_in_the_wrong_place),
        "providers.openai: expected a table with base_url and dialect, found string"
    );
    assert_eq!(
        parse_error("[providers.\"a/b\"]\nbase_url = \"http://x\"\ndialect = \"openai\""),
        "providers.a/b: expected a name of visible ASCII, without `/`, that does not begin with `@`"
    );
}
