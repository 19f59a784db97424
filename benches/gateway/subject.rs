//! A measured process: the gateway, or a plain proxy.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tidegate::BoxError;

use crate::MEASURED_CORE;
use crate::peers::Peer;
use crate::provider::{Model, Provider};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gateway,
    /// A plain proxy that streams the body of a request.
    Streaming,
    /// A plain proxy that collects it first.
    Collecting,
    Peer(Peer),
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Streaming, Self::Collecting, Self::Gateway];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "tidegate",
            Self::Streaming => "streaming proxy",
            Self::Collecting => "collecting proxy",
            Self::Peer(peer) => peer.name(),
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A running process. It is stopped when this is dropped.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    child: Child,
}

/// The longest wait for a process to listen or to end.
const START_TIME: Duration = Duration::from_secs(60);

/// All policies, with limits that are not reached.
fn gateway_file(provider: &Provider) -> String {
    let policies = format!(
        r#"
[providers.local]
base_url = "http://{}/v1"
dialect  = "openai"

[policies.default]
retry           = {{ max_retries = 3 }}
rate_limiter    = {{ requests_per_second = 1000000, tokens_per_minute = 1000000000000 }}
circuit_breaker = {{ failure_threshold = 5, failure_rate_threshold = 0.5 }}
backpressure    = {{ max_inflight = 4096, max_queued = 64 }}
timeout         = {{ total = "300s", attempt = "120s", first_token = "60s", token_gap = "60s" }}
"#,
        provider.addr
    );
    let routes = Model::ALL.map(|model| {
        let name = model.name();
        format!(
            "\n[[routes]]\npath = \"/v1/chat/completions\"\nmodel = \"{name}\"\nchain = [\"local/{name}\"]\n"
        )
    });
    policies + &routes.concat()
}

impl Subject {
    /// Starts a process on the measured core, with the tool in front of it, if any.
    pub(crate) async fn start(kind: Kind, provider: &Provider, tool: &[&str]) -> Result<Self, BoxError> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("taskset");
        command.args(["-c", &MEASURED_CORE.to_string()]).args(tool);
        match kind {
            Kind::Gateway => {
                let file = folder().join("gateway-bench.toml");
                fs::write(&file, gateway_file(provider))?;
                command.arg(folder().join("tidegate-gateway"));
                command.arg("--config").arg(file).args(["--listen", &addr.to_string()]);
            }
            Kind::Peer(peer) => peer.add_to(&mut command, &folder(), addr, provider.addr)?,
            Kind::Streaming | Kind::Collecting => {
                command.arg(env::current_exe()?);
                command.args(["proxy", kind.name(), &addr.to_string(), &provider.addr.to_string()]);
            }
        }
        command.env("TOKIO_WORKER_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(if tool.is_empty() { Stdio::null() } else { Stdio::piped() }).spawn()?;
        let subject = Self { kind, addr, child };
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            if start.elapsed() > START_TIME {
                return Err(format!("{} does not listen at {addr}", kind.name()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(subject)
    }

    /// The processor time that all threads have had.
    pub(crate) fn cpu_time(&self) -> Result<Duration, BoxError> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedule = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanos = schedule.split(' ').next().unwrap_or_default().parse()?;
            total += Duration::from_nanos(nanos);
        }
        Ok(total)
    }

    /// The resident memory in KiB.
    pub(crate) fn resident(&self) -> Result<u64, BoxError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Stops the process, and returns what it or its tool has printed on the standard error output.
    pub(crate) fn stop(mut self) -> Result<String, BoxError> {
        // Not `INT`, which is ignored by what a shell has started in the background.
        self.signal(Signal::TERM)?;
        let mut printed = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            io::Read::read_to_string(&mut stderr, &mut printed)?;
        }
        self.child.wait()?;
        Ok(printed)
    }

    fn signal(&self, signal: Signal) -> Result<(), BoxError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Binds this process to one core.
pub(crate) fn pin_to(core: usize) -> Result<(), BoxError> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Builds the gateway as it is shipped.
pub(crate) fn build_gateway() -> Result<(), BoxError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo).args(["build", "--release", "-q", "-p", "tidegate-gateway"]).status()?;
    if build.success() { Ok(()) } else { Err("cannot build the gateway".into()) }
}

/// The folder of the programs: that of this one is `deps` in it.
fn folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}
