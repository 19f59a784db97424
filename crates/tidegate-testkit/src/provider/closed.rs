use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of the loopback interface that refuses every connection, for as long as this value lives.
#[derive(Debug)]
pub struct ClosedPort {
    addr: SocketAddr,
    /// Bound, so that no other socket gets the port, but never listening.
    _socket: TcpSocket,
}

/// Reserves a port that refuses connections.
///
/// # Errors
///
/// If no socket can be opened.
pub fn closed_port() -> io::Result<ClosedPort> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(ClosedPort { addr: socket.local_addr()?, _socket: socket })
}

impl ClosedPort {
    /// The address that refuses connections.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of the address: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
}
