use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Extensions;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, HttpInfo};
use lru::LruCache;

use crate::clock;
use crate::sync::unpoisoned;

/// The use of each connection, by its addresses; the most recent ones.
#[derive(Clone)]
pub(super) struct UsedConnections(Arc<Mutex<LruCache<Addresses, ConnectionUse>>>);

#[derive(Default)]
struct ConnectionUse {
    /// When the connection last served a response.
    served: Option<Instant>,
    /// The time since then in which requests waited that were given up, and the end of what is counted.
    silence: Duration,
    counted_until: Option<Instant>,
}

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
            let served = ConnectionUse { served: Some(clock::now()), ..ConnectionUse::default() };
            unpoisoned(self.0.lock()).put(addresses, served);
        }
    }

    /// Whether `connection`, which has failed, had served a response. It is forgotten: its addresses may be
    /// those of a fresh connection later.
    pub(super) fn take(&self, connection: &Connected) -> bool {
        let of_addresses = |addresses| unpoisoned(self.0.lock()).pop(&addresses);
        addresses_of(connection).and_then(of_addresses).is_some_and(|it| it.served.is_some())
    }

    /// For how long requests have waited in vain on the connection, now that one is given up that was sent at
    /// `sent`.
    fn silence(&self, connection: &Connected, sent: Instant) -> Duration {
        // A connection without addresses is not known to have served anything.
        let Some(addresses) = addresses_of(connection) else { return Duration::MAX };
        let (now, mut connections) = (clock::now(), unpoisoned(self.0.lock()));
        let it = connections.get_or_insert_mut(addresses, ConnectionUse::default);
        if it.served.is_some_and(|served| served > sent) {
            return Duration::ZERO;
        }
        let uncounted = it.counted_until.replace(now).map_or(sent, |until| until.max(sent));
        it.silence += now.saturating_duration_since(uncounted);
        it.silence
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

/// The connection of a request in progress. If it is dropped before the response head, the connection may
/// have died silently, and takes no new requests; unless it has served another response meanwhile, or is
/// silent for a moment only.
pub(super) struct BusyConnection(Option<RequestOnConnection>);

struct RequestOnConnection {
    connection: CaptureConnection,
    sent: Instant,
    used: UsedConnections,
}

/// A shorter silence shows nothing about the connection. Otherwise each caller that leaves at once would cost
/// the others a handshake.
const LEAST_SILENCE: Duration = Duration::from_millis(100);

impl BusyConnection {
    /// The request is sent now. `None` if the client does not report its connection.
    pub(super) fn new(connection: Option<CaptureConnection>, used: &UsedConnections) -> Self {
        let request = |connection| RequestOnConnection { connection, sent: clock::now(), used: used.clone() };
        Self(connection.map(request))
    }

    /// The request has ended.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }

    /// The connection takes no new requests.
    pub(super) fn poison(&self) {
        if let Some(request) = &self.0
            && let Some(connection) = &*request.connection.connection_metadata()
        {
            connection.poison();
        }
    }
}

impl Drop for BusyConnection {
    fn drop(&mut self) {
        if let Some(request) = &self.0
            && let Some(connection) = &*request.connection.connection_metadata()
            && request.used.silence(connection, request.sent) >= LEAST_SILENCE
        {
            request.used.take(connection);
            connection.poison();
        }
    }
}
