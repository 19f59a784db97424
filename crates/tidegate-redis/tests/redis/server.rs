//! A Redis server for one test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server on a free port, with its files in a folder of its own. Both are gone when it is dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
    folder: PathBuf,
}

/// Set where a missing server is an error, as it is in CI.
const NEEDED: &str = "TIDEGATE_NEEDS_REDIS";

impl Server {
    /// Starts a server; `None`, with a line on standard error, if `redis-server` is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let is_installed =
            Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_installed {
            assert!(std::env::var_os(NEEDED).is_none(), "redis-server is not installed, and {NEEDED} is set");
            eprintln!("not tested: redis-server is not installed");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let folder = std::env::temp_dir().join(format!("tidegate-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let server = Self { process: spawn(port, &folder), port, folder };
        server.wait_until_ready().await;
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops the process without its doing, until [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills the process with `SIGKILL`. What it held is lost.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process");
        self.process.wait().expect("its end");
    }

    /// Starts it again after [`kill`](Self::kill), empty.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder);
        self.wait_until_ready().await;
    }

    /// Removes everything that it holds.
    pub(crate) fn clear(&self) {
        let mut connection = self.client().get_connection().expect("a connection");
        redis::cmd("FLUSHALL").exec(&mut connection).expect("a reply");
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("a URL")
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
    }

    async fn wait_until_ready(&self) {
        let client = self.client();
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let ping = client.get_connection().and_then(|mut it| redis::cmd("PING").query::<String>(&mut it));
            if ping.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(port: u16, folder: &Path) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server")
}
