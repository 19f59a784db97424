use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Extensions;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, HttpInfo};
use lru::LruCache;

use crate::clock;
use crate::sync::unpoisoned;

/// When each connection, by its addresses, last served a response; the most recent ones.
#[derive(Clone)]
pub(super) struct UsedConnections(Arc<Mutex<LruCache<Addresses, Instant>>>);

/// The local and the remote address of a connection.
type Addresses = (SocketAddr, SocketAddr);

const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4096).expect("above zero");

impl UsedConnections {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX_CONNECTIONS))))
    }

    /// Records that the connection with the [`HttpInfo`] in these extensions of a response has served it.
    pub(super) fn record(&self, extensions: &Extensions) {
        if let Some(addresses) = addresses(extensions) {
            unpoisoned(self.0.lock()).put(addresses, clock::now());
        }
    }

    /// Whether `connection`, which has failed, had served a response. It is forgotten: its addresses may be those of a
    /// fresh connection later.
    pub(super) fn take(&self, connection: &Connected) -> bool {
        addresses_of(connection).is_some_and(|addresses| unpoisoned(self.0.lock()).pop(&addresses).is_some())
    }

    fn has_served_since(&self, since: Instant, connection: &Connected) -> bool {
        let served = addresses_of(connection)
            .and_then(|addresses| unpoisoned(self.0.lock()).peek(&addresses).copied());
        served.is_some_and(|served| served > since)
    }
}

fn addresses_of(connection: &Connected) -> Option<Addresses> {
    let mut extensions = Extensions::new();
    connection.get_extras(&mut extensions);
    addresses(&extensions)
}

fn addresses(extensions: &Extensions) -> Option<Addresses> {
    let info: &HttpInfo = extensions.get()?;
    Some((info.local_addr(), info.remote_addr()))
}

/// The connection of a request in progress. If it is dropped before the response head, the connection may have died
/// silently, and takes no new requests; unless it has served another response meanwhile, or was given up at once.
pub(super) struct BusyConnection(Option<SentRequest>);

struct SentRequest {
    connection: CaptureConnection,
    sent: Instant,
    used: UsedConnections,
}

/// A caller that leaves earlier has waited too little to learn anything about the connection. Otherwise each caller that
/// leaves would cost the others a handshake.
const LEAST_WAIT: Duration = Duration::from_millis(100);

impl BusyConnection {
    /// The request is sent now. `None` if the client does not report its connection.
    pub(super) fn new(connection: Option<CaptureConnection>, used: &UsedConnections) -> Self {
        let request = |connection| SentRequest { connection, sent: clock::now(), used: used.clone() };
        Self(connection.map(request))
    }

    /// The request has ended.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl SentRequest {
    fn shows_silence(&self, connection: &Connected) -> bool {
        clock::now().saturating_duration_since(self.sent) >= LEAST_WAIT
            && !self.used.has_served_since(self.sent, connection)
    }
}

impl Drop for BusyConnection {
    fn drop(&mut self) {
        if let Some(request) = &self.0
            && let Some(connection) = &*request.connection.connection_metadata()
            && request.shows_silence(connection)
        {
            connection.poison();
        }
    }
}
