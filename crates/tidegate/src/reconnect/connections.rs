use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Extensions;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, HttpInfo};
use lru::LruCache;

/// The connections that have served a response, by their addresses; the most recent ones.
pub(super) struct UsedConnections(Mutex<LruCache<Addresses, ()>>);

/// The local and the remote address of a connection.
type Addresses = (SocketAddr, SocketAddr);

const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4096).expect("above zero");

impl UsedConnections {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_CONNECTIONS)))
    }

    /// Records that the connection with the [`HttpInfo`] in these extensions of a response has served it.
    pub(super) fn record(&self, extensions: &Extensions) {
        if let Some(addresses) = addresses(extensions) {
            self.lock().put(addresses, ());
        }
    }

    /// Whether `connection`, which has failed, had served a response. It is forgotten: its addresses may be those of a
    /// fresh connection later.
    pub(super) fn take(&self, connection: &Connected) -> bool {
        let mut extensions = Extensions::new();
        connection.get_extras(&mut extensions);
        addresses(&extensions).is_some_and(|addresses| self.lock().pop(&addresses).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Addresses, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn addresses(extensions: &Extensions) -> Option<Addresses> {
    let info: &HttpInfo = extensions.get()?;
    Some((info.local_addr(), info.remote_addr()))
}

/// The connection of a request in progress. If it is dropped before the response head, the connection takes no new
/// requests: its last one was not answered in time.
pub(super) struct BusyConnection(Option<CaptureConnection>);

impl BusyConnection {
    pub(super) const fn new(connection: Option<CaptureConnection>) -> Self {
        Self(connection)
    }

    /// The request has ended.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for BusyConnection {
    fn drop(&mut self) {
        if let Some(connection) = &self.0
            && let Some(connection) = &*connection.connection_metadata()
        {
            connection.poison();
        }
    }
}
