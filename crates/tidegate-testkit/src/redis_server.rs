use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A Redis server on a free port, with its files in a folder of its own. Both are gone when it is dropped.
///
/// The program is `redis-server`, or that in the variable `TIDEGATE_REDIS_SERVER`, such as `valkey-server`.
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    program: OsString,
    is_cluster: bool,
    port: u16,
    folder: PathBuf,
}

/// The variable that makes a missing server an error, as in CI.
const NEEDED: &str = "TIDEGATE_NEEDS_REDIS";

/// The variable with the program of the server.
const PROGRAM: &str = "TIDEGATE_REDIS_SERVER";

/// How often a new server is tried, every 10 ms.
const TRIES: u32 = 1000;

impl RedisServer {
    /// Starts a server; `None`, with a line on standard error, if its program is not installed.
    ///
    /// # Errors
    ///
    /// The server does not start, or it is not installed and the variable `TIDEGATE_NEEDS_REDIS` is set.
    pub async fn start() -> io::Result<Option<Self>> {
        Self::start_as(false).await
    }

    /// Starts a server that is the only node of a cluster.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_cluster() -> io::Result<Option<Self>> {
        let server = Self::start_as(true).await?;
        if let Some(server) = &server {
            let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
            // A command on one line has at most 64 KiB.
            for slots in slots.chunks(4096) {
                server.command(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))).await?;
            }
            server.wait_for("GET key", "$-1").await?;
        }
        Ok(server)
    }

    async fn start_as(is_cluster: bool) -> io::Result<Option<Self>> {
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| "redis-server".into());
        if Command::new(&program).arg("--version").stdout(Stdio::null()).status().is_err() {
            let problem = format!("{} is not installed", program.display());
            if std::env::var_os(NEEDED).is_some() {
                return Err(io::Error::other(format!("{problem}, and {NEEDED} is set")));
            }
            eprintln!("not tested: {problem}");
            return Ok(None);
        }
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("tidegate-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let process = spawn(&program, port, &folder, is_cluster)?;
        let server = Self { process, program, is_cluster, port, folder };
        server.wait_for("PING", "+PONG").await?;
        Ok(Some(server))
    }

    /// The URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops the process with `SIGSTOP`, until [`resume`](Self::resume). Connections stay open.
    ///
    /// # Errors
    ///
    /// There is no program `kill`.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Continues the process after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// There is no program `kill`.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// Ends the process with `SIGKILL`. What it held is lost.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Starts it again after [`kill`](Self::kill), empty, on the same port.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.process = spawn(&self.program, self.port, &self.folder, self.is_cluster)?;
        self.wait_for("PING", "+PONG").await
    }

    /// Removes everything that it holds.
    ///
    /// # Errors
    ///
    /// It does not reply.
    pub async fn clear(&self) -> io::Result<()> {
        self.command("FLUSHALL").await.map(drop)
    }

    /// The first line of the reply to a command.
    async fn command(&self, command: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            if socket.read_buf(&mut reply).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(String::from_utf8_lossy(&reply).trim_end().to_owned())
    }

    async fn wait_for(&self, command: &str, expected: &str) -> io::Result<()> {
        for _ in 0..TRIES {
            if self.command(command).await.is_ok_and(|reply| reply == expected) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other(format!("{} does not reply", self.program.display())))
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let id = self.process.id().to_string();
        Command::new("kill").args(["-s", name, &id]).status().map(drop)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(program: &OsStr, port: u16, folder: &Path, is_cluster: bool) -> io::Result<Child> {
    Command::new(program)
        .args(["--cluster-enabled", if is_cluster { "yes" } else { "no" }])
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
}
