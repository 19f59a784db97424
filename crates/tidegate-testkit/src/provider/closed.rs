use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of the loopback interface where every connection is refused, as long as this is held.
#[derive(Debug)]
pub struct ClosedPort {
    addr: SocketAddr,
    /// Bound, so that nobody else gets the port, but never listening.
    _socket: TcpSocket,
}

/// A port where nobody listens.
///
/// # Errors
///
/// If no socket can be had.
pub fn closed_port() -> io::Result<ClosedPort> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(ClosedPort { addr: socket.local_addr()?, _socket: socket })
}

impl ClosedPort {
    /// Where nobody listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as a base URL: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
}
