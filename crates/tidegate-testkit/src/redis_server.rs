use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A Redis server on a free port, with its files in a folder of its own. Both are gone when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Child,
    port: u16,
    folder: PathBuf,
}

/// The variable that makes a missing server an error, as in CI.
const NEEDED: &str = "TIDEGATE_NEEDS_REDIS";

/// How often a new server is tried, every 10 ms.
const TRIES: u32 = 1000;

impl RedisServer {
    /// Starts a server; `None`, with a line on standard error, if the program `redis-server` is not installed.
    ///
    /// # Errors
    ///
    /// The server does not start, or it is not installed and the variable `TIDEGATE_NEEDS_REDIS` is set.
    pub async fn start() -> io::Result<Option<Self>> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            if std::env::var_os(NEEDED).is_some() {
                return Err(io::Error::other(format!("redis-server is not installed, and {NEEDED} is set")));
            }
            eprintln!("not tested: redis-server is not installed");
            return Ok(None);
        }
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("tidegate-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let server = Self { process: spawn(port, &folder)?, port, folder };
        server.wait_until_ready().await?;
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
        self.process = spawn(self.port, &self.folder)?;
        self.wait_until_ready().await
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

    async fn wait_until_ready(&self) -> io::Result<()> {
        for _ in 0..TRIES {
            if self.command("PING").await.is_ok_and(|reply| reply == "+PONG") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(io::Error::other("redis-server does not reply"))
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

fn spawn(port: u16, folder: &Path) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
}
