//! The gateway between a caller and scripted providers, all on loopback.

use bytes::Bytes;
use http::HeaderMap;
use tidegate_gateway::{Config, Gateway, Running};
use tidegate_testkit::Server;

/// A running gateway, and a caller that asks it.
#[derive(Debug)]
pub struct Setup {
    gateway: Running,
    client: reqwest::Client,
}

/// What the caller saw of an answer.
#[derive(Debug)]
pub struct Seen {
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The names that [`Setup::new`] gives to its providers, in the order of the chain.
const NAMES: [&str; 3] = ["first", "second", "third"];

impl Setup {
    /// A gateway whose only route asks the providers at `base_urls` in this order, as `first/model`,
    /// `second/model` and `third/model`, under a policy of these lines.
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

    /// The gateway that `file` describes, in an environment where `env` is.
    ///
    /// # Panics
    ///
    /// If the file is not a good one.
    pub async fn of_file(file: &str, env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let config = Config::parse(file, env).unwrap_or_else(|error| panic!("{error}\n{file}"));
        let gateway = Gateway::new(config).expect("a good policy").bind().await.expect("a free port");
        Self { gateway, client: reqwest::Client::builder().no_proxy().build().expect("a client") }
    }

    /// The address of a path of the gateway.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addr())
    }

    /// A request for an answer, not yet sent.
    pub fn question(&self, stream: bool) -> reqwest::RequestBuilder {
        let question = serde_json::json!({
            "model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "hello?"}],
        });
        self.post("/v1/chat/completions").body(question.to_string())
    }

    /// A request to any path, not yet sent.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Panics
    ///
    /// If the gateway does not answer.
    pub async fn ask(&self) -> Seen {
        Seen::of(self.question(false)).await
    }

    /// The state of the first target, as `/signals` tells it.
    ///
    /// # Panics
    ///
    /// If the gateway does not tell.
    pub async fn signals(&self) -> serde_json::Value {
        let seen = Seen::of(self.client.get(self.url("/signals"))).await;
        let all: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        all[0].clone()
    }
}

impl Seen {
    /// Sends, and reads the answer to its end.
    ///
    /// # Panics
    ///
    /// If there is no answer, or if it breaks off.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.expect("a whole body") }
    }

    /// A header that has to be there.
    ///
    /// # Panics
    ///
    /// If it is not, or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}
