//! Somebody to talk to where there is no provider and no key.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_testkit::{Provider, Reply, Server};

/// Two scripted providers on the loopback interface: one that fails every other time, and a steady one behind it.
#[derive(Debug)]
pub struct Demo {
    flaky: Server,
    steady: Server,
}

/// With it a retry shows in the first call and a fallback in the third.
const SEED: u64 = 2073;

impl Demo {
    /// Starts both.
    ///
    /// # Errors
    ///
    /// If no socket can be had.
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

    /// The file that leads to them.
    #[must_use]
    pub fn file(&self) -> String {
        let (flaky, steady) = (self.flaky.base_url(), self.steady.base_url());
        format!(
            r#"
[providers]
flaky  = {{ base_url = "{flaky}", dialect = "openai" }}
steady = {{ base_url = "{steady}", dialect = "openai" }}

[policies.default]
retry           = {{ max_retries = 1, initial_delay = "200ms", max_delay = "1s" }}
rate_limiter    = {{ requests_per_second = 5, burst_size = 10, max_wait = "5s" }}
circuit_breaker = {{ failure_threshold = 5, cooldown_seconds = 5 }}
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

    /// What to try, for a gateway at `addr`; each line of it that begins with `curl` works as it is.
    #[must_use]
    pub fn invitation(&self, mut addr: SocketAddr) -> String {
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
             What it knows is at http://{addr}/signals. Your own providers: --config FILE\n"
        )
    }
}
