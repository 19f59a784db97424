//! Scripted providers and a gateway in front of them, for clients in other languages.
//!
//!     cargo run -p tidegate-tests --example stage
//!
//! Prints `{"base_url": ...}` and serves until its input is closed. The model that a caller asks for says what happens.

use std::io::{self, Read, Write};

use tidegate_gateway::{Config, Gateway};
use tidegate_testkit::{Provider, Reply, Server, closed_port};

type Error = Box<dyn std::error::Error>;

/// What the providers want to see. The callers do not know it.
const KEY: &str = "only-the-gateway-knows";

/// One dialect: the providers that speak it, one for each model.
struct Cast {
    dialect: &'static str,
    path: &'static str,
    /// Where the other dialect is spoken, in which the same is asked as `translated-...`.
    other_path: &'static str,
    provider: fn() -> Provider,
    tool_call: &'static str,
    tool_call_stream: &'static str,
    /// What comes in a stream before the second token.
    first_events: usize,
    overloaded: &'static str,
}

const CASTS: [Cast; 2] = [
    Cast {
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
    Cast {
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
    // Held to the end: a provider stops when it is dropped.
    let mut servers: Vec<Server> = Vec::new();
    let nobody = closed_port()?;
    let mut file = String::from("listen = \"127.0.0.1:0\"\n[policies.default]\n");
    for cast in &CASTS {
        for (model, reply) in cast.replies() {
            let server = (cast.provider)().api_key(KEY).otherwise(reply).start().await?;
            file += &cast.lines(model, &server.base_url());
            servers.push(server);
        }
        file += &cast.lines("unreachable", &nobody.base_url());
    }
    let config = Config::parse(&file, |variable| (variable == "STAGE_KEY").then(|| KEY.into()))?;
    let gateway = Gateway::new(config)?.bind().await?;
    writeln!(io::stdout(), "{}", serde_json::json!({"base_url": format!("http://{}", gateway.addr())}))?;
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    drop(servers);
    Ok(())
}

impl Cast {
    /// The models, and what becomes of those who ask for them.
    fn replies(&self) -> [(&'static str, Reply); 8] {
        let said = "high water at noon";
        [
            ("speaks", Reply::text(said)),
            ("calls-a-tool", Reply::raw(self.tool_call)),
            ("streams-a-tool-call", event_stream(self.tool_call_stream)),
            ("limited", Reply::status(429).retry_after(7)),
            ("overloaded", Reply::error(503, self.overloaded)),
            ("fails-at-once", Reply::text(said).error_event_at(self.first_events - 1, self.overloaded)),
            ("fails-midway", Reply::text(said).error_event_at(self.first_events, self.overloaded)),
            ("is-cut-off", Reply::text(said).cut_after(1)),
        ]
    }

    /// The lines of the file for `model`, which is a provider of its own and is asked in both dialects.
    fn lines(&self, model: &str, base_url: &str) -> String {
        let Self { dialect, path, other_path, .. } = self;
        let provider = format!("{dialect}-{model}");
        format!(
            "[providers.{provider}]\nbase_url = \"{base_url}\"\ndialect = \"{dialect}\"\napi_key_env = \"STAGE_KEY\"\n\
             [[routes]]\npath = \"{path}\"\nmodel = \"{model}\"\nchain = [\"{provider}/{model}\"]\n\
             [[routes]]\npath = \"{other_path}\"\nmodel = \"translated-{model}\"\nchain = [\"{provider}/{model}\"]\n"
        )
    }
}

/// The events of `text`, each in a frame of its own.
fn event_stream(text: &'static str) -> Reply {
    let mut events = text.split_inclusive("\n\n");
    let first = Reply::raw(events.next().unwrap_or_default());
    events.fold(first, Reply::frame).header("content-type", "text/event-stream")
}
