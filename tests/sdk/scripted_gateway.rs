//! Scripted providers and a gateway in front of them, for clients in other languages.
//!
//!     cargo run -p tidegate-tests --example scripted_gateway
//!
//! Prints `{"base_url": ...}` and serves until its standard input is closed. The model of a request selects
//! the scripted behaviour.

use std::io::{self, Read, Write};

use tidegate_gateway::{Config, Gateway};
use tidegate_testkit::{Provider, Reply, Server, closed_port};

type Error = Box<dyn std::error::Error>;

/// The API key of the providers. The callers do not have it.
const KEY: &str = "key-of-the-gateway";

/// The most conversations that a provider of the model `uses-a-tool` has.
const MAX_CONVERSATIONS: usize = 32;

/// The text of an answer.
const TEXT: &str = "high water at noon";

/// One dialect, with a provider for each model.
struct DialectCase {
    dialect: &'static str,
    path: &'static str,
    /// The path of the other dialect, where the same models are available as `translated-...`.
    other_path: &'static str,
    provider: fn() -> Provider,
    tool_call: &'static str,
    tool_call_stream: &'static str,
    /// The number of events before the second token.
    first_events: usize,
    overloaded: &'static str,
}

const CASES: [DialectCase; 2] = [
    DialectCase {
        dialect: "openai",
        path: "/v1/chat/completions",
        other_path: "/v1/messages",
        provider: Provider::openai,
        tool_call: include_str!("openai_tool_call.json"),
        tool_call_stream: include_str!(
            "../../crates/tidegate-providers/fixtures/streams/openai_tool_call.sse"
        ),
        first_events: 2,
        overloaded: "server_is_overloaded",
    },
    DialectCase {
        dialect: "anthropic",
        path: "/v1/messages",
        other_path: "/v1/chat/completions",
        provider: Provider::anthropic,
        tool_call: include_str!("anthropic_tool_call.json"),
        tool_call_stream: include_str!(
            "../../crates/tidegate-providers/fixtures/streams/anthropic_tool_call.sse"
        ),
        first_events: 4,
        overloaded: "overloaded_error",
    },
];

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Kept alive to the end, because a provider stops when it is dropped.
    let mut servers: Vec<Server> = Vec::new();
    let closed = closed_port()?;
    let mut file = String::from(
        "listen = \"127.0.0.1:0\"\n[policies.default]\n[policies.retrying]\n\
         retry = { max_retries = 1, initial_delay = \"1ms\", max_delay = \"1ms\" }\n",
    );
    for case in &CASES {
        for (model, provider) in case.providers() {
            let server = provider.api_key(KEY).start().await?;
            let policy = if model == "given-up" { "retrying" } else { "default" };
            file += &case.configuration(model, &server.base_url(), policy);
            servers.push(server);
        }
        file += &case.configuration("unreachable", &closed.base_url(), "default");
    }
    for (model, reply) in [("plain-text", Reply::text(TEXT)), ("is-cut-off", Reply::text(TEXT).cut_after(1))]
    {
        let server = Provider::responses().otherwise(reply).api_key(KEY).start().await?;
        file += &responses_configuration(model, &server.base_url());
        servers.push(server);
    }
    let config = Config::parse(&file, |variable| (variable == "PROVIDER_KEY").then(|| KEY.into()))?;
    let gateway = Gateway::new(config)?.bind().await?;
    writeln!(io::stdout(), "{}", serde_json::json!({"base_url": format!("http://{}", gateway.addr())}))?;
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    drop(servers);
    Ok(())
}

impl DialectCase {
    /// The models and their providers.
    fn providers(&self) -> Vec<(&'static str, Provider)> {
        let text = TEXT;
        let replies = [
            ("plain-text", Reply::text(text)),
            ("answers-in-json", Reply::text(r#"{"port":"Brest"}"#)),
            ("calls-a-tool", Reply::raw(self.tool_call)),
            ("streams-a-tool-call", event_stream(self.tool_call_stream)),
            ("limited", Reply::status(429).retry_after(7)),
            ("overloaded", Reply::error(503, self.overloaded)),
            ("given-up", Reply::error(503, self.overloaded).header("x-should-retry", "true")),
            ("fails-at-once", Reply::text(text).error_event_at(self.first_events - 1, self.overloaded)),
            ("fails-midway", Reply::text(text).error_event_at(self.first_events, self.overloaded)),
            ("is-cut-off", Reply::text(text).cut_after(1)),
        ];
        let providers = replies.map(|(model, reply)| (model, (self.provider)().otherwise(reply)));
        // Each conversation is a tool call and a text.
        let conversations = (0..MAX_CONVERSATIONS).fold((self.provider)(), |provider, _| {
            provider.then(Reply::tool_call("tide_at", r#"{"port":"Brest"}"#)).then(Reply::text(text))
        });
        providers.into_iter().chain([("uses-a-tool", conversations)]).collect()
    }

    /// The configuration of `model`: a provider of its own, with a route in both dialects.
    fn configuration(&self, model: &str, base_url: &str, policy: &str) -> String {
        let Self { dialect, path, other_path, .. } = self;
        let provider = format!("{dialect}-{model}");
        format!(
            "[providers.{provider}]\nbase_url = \"{base_url}\"\ndialect = \"{dialect}\"\napi_key_env = \"PROVIDER_KEY\"\n\
             [[routes]]\npath = \"{path}\"\nmodel = \"{model}\"\nchain = [\"{provider}/{model}\"]\npolicy = \"{policy}\"\n\
             [[routes]]\npath = \"{other_path}\"\nmodel = \"translated-{model}\"\nchain = [\"{provider}/{model}\"]\npolicy = \"{policy}\"\n"
        )
    }
}

/// The configuration of `model` in the Responses API.
fn responses_configuration(model: &str, base_url: &str) -> String {
    let provider = format!("responses-{model}");
    format!(
        "[providers.{provider}]\nbase_url = \"{base_url}\"\ndialect = \"openai\"\napi_key_env = \"PROVIDER_KEY\"\n\
         [[routes]]\npath = \"/v1/responses\"\nmodel = \"{model}\"\nchain = [\"{provider}/{model}\"]\npolicy = \"default\"\n"
    )
}

/// The events of `text`, each in a frame of its own.
fn event_stream(text: &'static str) -> Reply {
    let mut events = text.split_inclusive("\n\n");
    let first = Reply::raw(events.next().unwrap_or_default());
    events.fold(first, Reply::frame).header("content-type", "text/event-stream")
}
