//! A gateway between a caller and scripted providers, all on loopback.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::Server;

/// A running gateway and a client for it.
#[derive(Debug)]
pub struct Setup {
    gateway: RunningGateway,
    client: reqwest::Client,
}

/// A response as the caller receives it.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// No request, response or wait over a socket may take longer: a test that would hang fails instead.
const BOUND: Duration = Duration::from_secs(30);

/// The names of the providers of [`Setup::new`], in the order of the chain.
const NAMES: [&str; 3] = ["first", "second", "third"];

impl Setup {
    /// A gateway with one route. Its chain is the providers at `base_urls` in this order, as `first/model`,
    /// `second/model` and `third/model`. `policy` is the content of the default policy.
    pub async fn new(base_urls: &[String], policy: &str) -> Self {
        Self::with_last_resorts(base_urls, policy, &[]).await
    }

    /// The same, with last resorts at the end of the chain.
    pub async fn with_last_resorts(base_urls: &[String], policy: &str, resorts: &[&str]) -> Self {
        let mut file = String::from("listen = \"127.0.0.1:0\"\n");
        for (name, url) in NAMES.iter().zip(base_urls) {
            file += &format!("[providers.{name}]\nbase_url = \"{url}\"\ndialect = \"openai\"\n");
        }
        let targets = NAMES.iter().take(base_urls.len()).map(|name| format!("{name}/model"));
        let chain: Vec<_> = targets.chain(resorts.iter().map(|resort| (*resort).to_owned())).collect();
        file += &format!("[policies.default]\n{policy}\n");
        file += &format!("[[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain:?}\n");
        Self::of_file(&file, |_| None).await
    }

    /// A gateway in front of one provider.
    pub async fn in_front_of(provider: &Server, policy: &str) -> Self {
        Self::new(&[provider.base_url()], policy).await
    }

    /// The gateway of the configuration `file`, with `env` as the environment.
    ///
    /// # Panics
    ///
    /// If the file is invalid.
    pub async fn of_file(file: &str, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let config = Config::parse(file, env).unwrap_or_else(|error| panic!("{error}\n{file}"));
        let gateway = Gateway::new(config).expect("a valid policy").bind().await.expect("a free port");
        let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().expect("a client");
        Self { gateway, client }
    }

    /// The URL of a path of the gateway.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addr())
    }

    /// A chat request that is not yet sent.
    pub fn chat_request(&self, stream: bool) -> reqwest::RequestBuilder {
        let body = serde_json::json!({
            "model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "hello?"}],
        });
        self.post("/v1/chat/completions").body(body.to_string())
    }

    /// A request to any path that is not yet sent.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Sends a chat request and reads the response to its end.
    ///
    /// # Panics
    ///
    /// If the gateway sends no response.
    pub async fn send(&self) -> ClientResponse {
        ClientResponse::of(self.chat_request(false)).await
    }

    /// Waits until a signal of the first target satisfies `condition`. The gateway handles an event at a
    /// socket, such as a disconnect, a moment after the test has caused it.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub async fn signal_reaches(&self, name: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        let polling = async { while !condition(&self.signals().await[name]) {} };
        let result = tokio::time::timeout(BOUND, polling).await;
        assert!(result.is_ok(), "`{name}` after {BOUND:?}: {}", self.signals().await);
    }

    /// The signals of the first target, from `/signals`.
    ///
    /// # Panics
    ///
    /// If `/signals` is not available.
    pub async fn signals(&self) -> serde_json::Value {
        let response = ClientResponse::of(self.client.get(self.url("/signals"))).await;
        let all: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        all[0].clone()
    }
}

impl ClientResponse {
    /// Sends a request and reads the response to its end.
    ///
    /// # Panics
    ///
    /// If there is no response, or if its body fails.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.expect("a whole body") }
    }

    /// The value of a header.
    ///
    /// # Panics
    ///
    /// If it is missing, or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If the body is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}
