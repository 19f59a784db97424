//! The gateway as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub fn program(args: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate-gateway"));
    program.args(args).env_clear();
    program
}

/// A temporary file that is removed when it is dropped.
pub struct TempFile(PathBuf);

impl TempFile {
    pub fn new(name: &str, text: &str) -> Self {
        // Two tests of one program may choose the same name.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-{}-{number}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A child process that is killed when it is dropped.
pub struct ChildGuard(pub Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway in a process of its own.
pub struct GatewayProcess {
    child: ChildGuard,
    addr: SocketAddr,
    file: Option<TempFile>,
}

/// The longest wait for the end of a process.
const BOUND: Duration = Duration::from_secs(30);

impl GatewayProcess {
    /// Starts the gateway with the configuration `config` on a free port.
    pub fn start(name: &str, config: &str) -> Self {
        Self::start_with(name, config, |_| {})
    }

    /// Starts the gateway with its scripted providers.
    pub fn demo() -> Self {
        let mut command = program(&["--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command, None)
    }

    /// The path of the configuration.
    pub fn file(&self) -> &str {
        self.file.as_ref().expect("a gateway with a file").path()
    }

    /// The same with more settings of the process.
    pub fn start_with(name: &str, config: &str, set: impl FnOnce(&mut Command)) -> Self {
        let file = TempFile::new(name, config);
        let mut command = program(&["--listen", "127.0.0.1:0", "--config", file.path()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        set(&mut command);
        Self::spawn(command, Some(file))
    }

    /// Starts the gateway from a shell, after `prelude`.
    pub fn start_after(name: &str, config: &str, prelude: &str) -> Self {
        let file = TempFile::new(name, config);
        let script = format!("{prelude} exec \"$0\" --listen 127.0.0.1:0 --config \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tidegate-gateway"), file.path()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command, Some(file))
    }

    fn spawn(mut command: Command, file: Option<TempFile>) -> Self {
        let mut child = ChildGuard(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, addr) = line.trim_end().rsplit_once("://").expect(&line);
        let addr = addr.split(',').next().expect("a part").parse().expect(&line);
        Self { child, addr, file }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{name}");
    }

    pub fn stderr(&mut self) -> ChildStderr {
        self.child.0.stderr.take().unwrap()
    }

    /// Waits for the end of the process.
    pub async fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        while started.elapsed() < BOUND {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the process has not ended within {BOUND:?}");
    }

    /// Waits for the end of the process, and returns its exit code and its log.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let code = self.wait().await.code();
        let mut log = String::new();
        self.stderr().read_to_string(&mut log).unwrap();
        (code, log)
    }
}
