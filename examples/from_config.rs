//! The stack from a configuration file, with environment variables on top, in a struct of the application.
//!
//!     cargo run --example from_config
//!     AI_LIB_MAX_INFLIGHT=2 AI_LIB_RPS=0.5 cargo run --example from_config
//!     AI_LIB_RPS=fast cargo run --example from_config
//!
//! For a real provider these three lines change, and the assertions about the script go:
//!
//!     let file = std::fs::read_to_string("resilience.toml")?;
//!     let base_url = "https://api.openai.com/v1".to_owned();
//!     let api_key = std::env::var("OPENAI_API_KEY")?;

use http::{Request, StatusCode};
use tidegate::{BoxError, Payload, ReqwestService, Resilience, ResilienceBuilder, ResilienceConfig};
use tidegate_testkit::{Provider, Reply};

const FILE: &str = r#"
retry           = { max_retries = 3, initial_delay = "100ms", max_delay = "10s" }
rate_limiter    = { requests_per_minute = 600, burst_size = 20, max_wait = "10s" }
circuit_breaker = { failure_threshold = 5, cooldown_seconds = 30 }
backpressure    = { max_inflight = 50, queue_timeout = "10s" }
timeout         = { total = "2m", attempt = "60s" }
"#;

/// The type of the stack can be named, so it can be a field.
struct ChatClient {
    base_url: String,
    api_key: String,
    openai: Resilience<ReqwestService>,
}

impl ChatClient {
    fn new(file: &str, base_url: String, api_key: String) -> Result<Self, BoxError> {
        // The program overrides the environment, which overrides the file, which overrides the defaults.
        let mut config = toml::from_str::<ResilienceConfig>(file)?.overlay_env()?;
        config.retry.get_or_insert_default().max_retries = 2;

        let openai = ResilienceBuilder::from_config(&config)?
            .name("openai/gpt-4o")
            .service(ReqwestService::new(reqwest::Client::new()));
        Ok(Self { base_url, api_key, openai })
    }

    async fn chat(&self, prompt: &str) -> Result<StatusCode, BoxError> {
        let body = serde_json::json!({
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": prompt}],
        });
        let request = Request::post(format!("{}/chat/completions", self.base_url))
            .header("authorization", format!("Bearer {}", self.api_key))
            .header("content-type", "application/json")
            .body(Payload::from(body.to_string()))?;
        Ok(self.openai.send(request).await?.status())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let provider = Provider::openai().api_key("provider-key").then(Reply::status(500)).start().await?;
    let file = FILE;
    let base_url = provider.base_url();
    let api_key = "provider-key".to_owned();
    let client = match ChatClient::new(file, base_url, api_key) {
        Ok(client) => client,
        // An invalid setting is reported by name here, and not at the first call.
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    };
    let status = client.chat("hi").await?;
    println!("{status} after {} requests", provider.log().calls());
    assert_eq!((status.as_u16(), provider.log().calls()), (200, 2));
    println!("{}", serde_json::to_string_pretty(&client.openai.signals().snapshot())?);

    let typo = toml::from_str::<ResilienceConfig>("retry = { max_retrys = 3 }").unwrap_err();
    println!("An unknown key is rejected: {}", typo.message());
    assert!(typo.message().contains("max_retries"), "the message names the nearest setting");
    let config = toml::from_str::<ResilienceConfig>("circuit_breaker = { failure_threshold = 0 }")?;
    let wrong = ResilienceBuilder::from_config(&config).unwrap_err();
    println!("An invalid number is rejected, too: {wrong}");
    assert!(wrong.to_string().starts_with("circuit_breaker.failure_threshold: expected at least 1"));
    Ok(())
}
