//! Scripted providers, for trying the gateway without a provider and an API key.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_testkit::{Provider, Reply, Server};

/// Two scripted providers on the loopback interface: one that fails half of its requests, and a reliable one
/// as its fallback.
#[derive(Debug)]
pub struct Demo {
    flaky: Server,
    steady: Server,
}

/// The seed of the failures. With this seed the first call shows a retry, and the third a fallback.
const SEED: u64 = 2073;

impl Demo {
    /// Starts both providers.
    ///
    /// # Errors
    ///
    /// No socket can be bound.
    pub async fn start() -> io::Result<Self> {
        let pace = Duration::from_millis(40);
        let flaky = Reply::text("hello from the flaky provider, today it was in the mood").pace(pace);
        let steady = Reply::text("hello from the steady provider, which is always there").pace(pace);
        Ok(Self {
            flaky: Provider::openai()
                .failing(0.5, SEED, Reply::error(503, "server_is_overloaded"))
                .otherwise(flaky)
                .start()
                .await?,
            steady: Provider::openai().otherwise(steady).start().await?,
        })
    }

    /// A configuration file that routes to these providers.
    #[must_use]
    pub fn config_text(&self) -> String {
        let (flaky, steady) = (self.flaky.base_url(), self.steady.base_url());
        format!(
            r#"
open = true

[providers]
flaky  = {{ base_url = "{flaky}", dialect = "openai" }}
steady = {{ base_url = "{steady}", dialect = "openai" }}

[policies.default]
retry           = {{ max_retries = 1, initial_delay = "200ms", max_delay = "1s" }}
rate_limiter    = {{ requests_per_second = 5, burst_size = 10, max_wait = "5s" }}
circuit_breaker = {{ failure_threshold = 3, cooldown_seconds = 5 }}
backpressure    = {{ max_inflight = 16, max_queued = 64, queue_timeout = "5s" }}
timeout         = {{ total = "30s", attempt = "10s" }}

[[routes]]
path  = "/v1/chat/completions"
model = "demo"
chain = ["flaky/demo", "steady/demo"]

[[routes]]
path  = "/v1/chat/completions"
chain = ["flaky/any", "steady/any"]

[[routes]]
path  = "/v1/embeddings"
chain = ["flaky/any", "steady/any"]
"#
        )
    }

    /// Instructions for a gateway at `addr`. Each line that begins with `curl` is a complete command.
    #[must_use]
    pub fn instructions(&self, mut addr: SocketAddr) -> String {
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let url = format!("http://{addr}/v1/chat/completions");
        let header = "-H 'content-type: application/json'";
        let messages = r#""messages":[{"role":"user","content":"hello"}]"#;
        format!(
            "tidegate listens on http://{addr}, with two scripted providers behind it: a flaky one, and a steady\n\
             one for when that fails. Try a few times and watch the x-tidegate headers:\n\
             \n\
             curl -i {url} {header} -d '{{\"model\":\"demo\",{messages}}}'\n\
             \n\
             curl -iN {url} {header} -d '{{\"model\":\"demo\",\"stream\":true,{messages}}}'\n\
             \n\
             Watch it at http://{addr} in a browser: repeat the call a few times, and the circuit of the flaky\n\
             provider opens, and recovers. Your own providers: --config FILE\n"
        )
    }
}
