use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{Client, ConnectionAddr, RedisError, RedisResult};
use tidegate::store::{
    CircuitChange, CircuitView, LeaseGrant, LeaseRequest, OnUnavailable, QuotaRequest, Settings,
    SharedCooldown, SharedStore, SharedWindow, StoreFuture, StoreListener, StoreUnavailable, WindowReport,
};
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::crypto::aws_lc_rs;

use crate::breaker::Breaker;
use crate::events::{self, StoreListeners};
use crate::script::{self, Keys, Scripts, Sender};
use crate::settings::{RedisSettings, RedisStoreError};

/// Limits that processes share through a Redis server. Clones share the connection.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    settings: RedisSettings,
    /// The host and port.
    server: String,
    /// All processes of a fleet have the same password.
    salt: String,
    /// Names this process.
    process: String,
    channel: String,
    connection: Mutex<CurrentConnection>,
    client: Client,
    scripts: Scripts,
    breaker: Mutex<Breaker>,
    listeners: Arc<StoreListeners>,
    /// The task that passes on what other processes publish.
    events: Mutex<Option<AbortHandle>>,
}

/// The connection of the operations, and since when it is the current one.
struct CurrentConnection {
    manager: ConnectionManager,
    since: Instant,
}

/// How long a connection may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of the circuit that a check changes.
const CHECKED: &str = "check";

/// How long a connection may be without a sign of the other side until it is closed, and how long a new one
/// has to be opened and to reply.
const SILENCE: Duration = Duration::from_secs(5);

impl RedisStore {
    /// Connects to the server at `url` with the default settings.
    ///
    /// # Errors
    ///
    /// As [`with_settings`](Self::with_settings).
    pub async fn connect(url: &str) -> Result<Self, RedisStoreError> {
        Self::with_settings(RedisSettings::new(url)).await
    }

    /// Connects to the server. In the mode `fail_open` an unreachable server is a warning in the log: the
    /// decisions are local until it is there.
    ///
    /// # Errors
    ///
    /// The settings are invalid, or the mode is `fail_closed` and the server cannot be reached within 5 s.
    pub async fn with_settings(settings: RedisSettings) -> Result<Self, RedisStoreError> {
        let store = Self::lazy(settings)?;
        match store.check().await {
            Err(error) if store.0.settings.store.mode == OnUnavailable::Closed => Err(error),
            Err(error) => {
                let processes = store.0.settings.store.processes;
                tracing::warn!(layer = "store", %error, processes, "shared limits are local until the server is there");
                Ok(store)
            }
            Ok(()) => Ok(store),
        }
    }

    /// A store that connects at its first operation.
    ///
    /// # Errors
    ///
    /// The settings are invalid, or there is no tokio runtime.
    pub fn lazy(settings: RedisSettings) -> Result<Self, RedisStoreError> {
        if runtime::Handle::try_current().is_err() {
            return Err(RedisStoreError::NoRuntime);
        }
        let info = settings.connection_info()?;
        let server = info.addr().to_string();
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // An error: the program has installed one already.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        let salt = format!("{}:{}", settings.prefix, info.redis_settings().password().unwrap_or_default());
        let channel = channel(&settings.prefix, info.redis_settings().db());
        let client = Client::open(info.set_tcp_settings(tcp_settings()));
        let client = client.map_err(|_| RedisStoreError::InvalidUrl)?;
        let connection = CurrentConnection::new(&client).map_err(|_| RedisStoreError::InvalidUrl)?;
        let process = format!("{:016x}", fastrand::u64(..));
        let store = Self(Arc::new(Inner {
            breaker: Mutex::default(),
            settings,
            server,
            salt,
            process,
            channel,
            connection: Mutex::new(connection),
            client,
            scripts: Scripts::new(),
            listeners: Arc::default(),
            events: Mutex::default(),
        }));
        store.0.listen();
        Ok(store)
    }

    /// Whether the server can be reached, has all keys, and permits what the store does: it changes a circuit
    /// that no layer has, and subscribes to the channel.
    ///
    /// # Errors
    ///
    /// [`RedisStoreError::Unavailable`], with what is wrong: no reply within 5 s, an error, a cluster of
    /// several nodes, a replica, or a user without a permission that is needed.
    pub async fn check(&self) -> Result<(), RedisStoreError> {
        let checked = timeout(CONNECT_TIMEOUT, self.0.check()).await;
        checked
            .unwrap_or_else(|_| Err("no reply in time".to_owned()))
            .map_err(|problem| RedisStoreError::Unavailable { server: self.0.server.clone(), problem })
    }

    /// Whether the latest operation had a reply in time.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.0.breaker().is_available()
    }

    /// The host and port of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }
}

impl Inner {
    async fn check(&self) -> Result<(), String> {
        let mut connection = self.connection().manager.clone();
        let ping = redis::cmd("PING").query_async::<()>(&mut connection).await;
        ping.map_err(|error| problem_of(&error))?;
        // An error: the server is no node of a cluster, or the user is not permitted to send this.
        let info = redis::cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await;
        let nodes = cluster_size(&info.unwrap_or_default());
        if nodes > 1 {
            return Err(format!("it is one of {nodes} nodes of a cluster, which need a proxy"));
        }
        // A script that writes a key and publishes the change.
        let keys = self.keys(CHECKED);
        let script = self.scripts.circuit(&keys, &self.sender(CHECKED), CircuitChange::Close);
        let written = script.invoke_async::<Vec<i64>>(&mut connection).await;
        written.map_err(|error| format!("{} to a script that writes and publishes", problem_of(&error)))?;
        let subscribed = events::subscribe(&self.client, &self.channel).await;
        subscribed.map_err(|error| format!("{} to a subscription", problem_of(&error)))?;
        Ok(())
    }

    /// Starts the task that passes on what other processes publish, unless it runs. It ends with its runtime,
    /// which may be another one than that of the later operations.
    fn listen(&self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (client, server, channel) = (self.client.clone(), self.server.clone(), self.channel.clone());
        let (process, listeners) = (self.process.clone(), Arc::clone(&self.listeners));
        let task = tokio::spawn(async move {
            events::listen(client, &server, &channel, &process, &listeners).await;
        });
        *events = Some(task.abort_handle());
    }

    fn keys(&self, name: &str) -> Keys {
        Keys::new(&self.settings.prefix, name)
    }

    fn sender<'a>(&'a self, name: &'a str) -> Sender<'a> {
        Sender { channel: &self.channel, name, process: &self.process }
    }

    /// Runs an operation within the timeout, unless the breaker is open.
    async fn run<T>(
        &self,
        operation: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StoreUnavailable> {
        self.listen();
        if !self.breaker().admits(Instant::now().into_std()) {
            return Err(StoreUnavailable);
        }
        let mut connection = self.connection().manager.clone();
        let result = timeout(self.settings.store.timeout, operation(&mut connection)).await;
        let result = match result {
            Ok(result) => result.map_err(|error| problem_of(&error)),
            Err(_) => Err("no reply in time".to_owned()),
        };
        let (has_changed, is_open) = {
            let mut breaker = self.breaker();
            (breaker.record(result.is_ok(), Instant::now().into_std()), breaker.is_open())
        };
        if result.is_err() && is_open {
            self.reconnect();
        }
        match &result {
            Err(problem) if has_changed => {
                let server = &self.server;
                tracing::warn!(layer = "store", %server, %problem, "shared limits are unavailable");
            }
            Ok(_) if has_changed => {
                tracing::info!(layer = "store", server = %self.server, "shared limits are available again");
            }
            _ => {}
        }
        result.map_err(|_| StoreUnavailable)
    }

    fn connection(&self) -> MutexGuard<'_, CurrentConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a connection on which several operations in a row failed. It may be lost, and the operations
    /// that gave up have not seen its end; its server may have become a replica; or its password was rejected
    /// when it was opened, which the manager does not try again.
    fn reconnect(&self) {
        let mut connection = self.connection();
        if connection.since.elapsed() >= SILENCE
            && let Ok(new) = CurrentConnection::new(&self.client)
        {
            *connection = new;
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each operation boxes a future, which costs little beside its round trip.
impl SharedStore for RedisStore {
    fn settings(&self) -> &Settings {
        &self.0.settings.store
    }

    fn salt(&self) -> &str {
        &self.0.salt
    }

    fn take_lease<'a>(&'a self, name: &'a str, request: LeaseRequest) -> StoreFuture<'a, LeaseGrant> {
        Box::pin(async move {
            let inner = &*self.0;
            let keys = inner.keys(name);
            let script = inner.scripts.take_lease(&keys, &inner.process, &request);
            let reply = inner.run(async |connection| script.invoke_async::<Vec<i64>>(connection).await);
            script::lease(&reply.await?).ok_or(StoreUnavailable)
        })
    }

    fn close<'a>(&'a self, name: &'a str, cooldown: SharedCooldown) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let inner = &*self.0;
            let keys = inner.keys(name);
            let script = inner.scripts.close(&keys, &inner.sender(name), &cooldown);
            let reply = inner.run(async |connection| script.invoke_async::<bool>(connection).await);
            reply.await
        })
    }

    fn open<'a>(&'a self, name: &'a str, age: Duration, pacing: Option<QuotaRequest>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let inner = &*self.0;
            let keys = inner.keys(name);
            let script = inner.scripts.open(&keys, &inner.sender(name), age, pacing.as_ref());
            let reply = inner.run(async |connection| script.invoke_async::<()>(connection).await);
            reply.await
        })
    }

    fn circuit<'a>(&'a self, name: &'a str, change: CircuitChange) -> StoreFuture<'a, CircuitView> {
        Box::pin(async move {
            let inner = &*self.0;
            let keys = inner.keys(name);
            let script = inner.scripts.circuit(&keys, &inner.sender(name), change);
            let reply = inner.run(async |connection| script.invoke_async::<Vec<i64>>(connection).await);
            script::circuit_view(&reply.await?).ok_or(StoreUnavailable)
        })
    }

    fn report_calls<'a>(&'a self, name: &'a str, report: WindowReport) -> StoreFuture<'a, SharedWindow> {
        Box::pin(async move {
            let inner = &*self.0;
            let keys = inner.keys(name);
            let script = inner.scripts.report_calls(&keys, &report);
            let reply = inner.run(async |connection| script.invoke_async::<Vec<u64>>(connection).await);
            script::shared_window(&reply.await?).ok_or(StoreUnavailable)
        })
    }

    fn listen(&self, name: &str, listener: Weak<dyn StoreListener>) {
        self.0.listeners.add(name, listener);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let events = self.events.get_mut().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.0.server)
            .field("settings", &self.0.settings)
            .field("is_available", &self.is_available())
            .finish_non_exhaustive()
    }
}

impl CurrentConnection {
    /// A connection that is opened by its first operation.
    fn new(client: &Client) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(500));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { manager, since: Instant::now() })
    }
}

/// The system finds out that the other side has gone without a sign, whether or not something was sent to it.
fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(Duration::from_secs(1));
    let settings = TcpSettings::default().set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}

/// The channel of a database. A server delivers what is published in one to the subscribers in all.
fn channel(prefix: &str, database: i64) -> String {
    match database {
        0 => format!("{prefix}:events"),
        _ => format!("{prefix}:events:{database}"),
    }
}

/// The number of nodes that have keys, in the reply to `CLUSTER INFO`; 0 if it is no such reply.
fn cluster_size(info: &str) -> u32 {
    let size = info.lines().find_map(|line| line.trim_end().strip_prefix("cluster_size:"));
    size.and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// What is wrong, without the URL or what the server was sent.
pub(crate) fn problem_of(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("the server replied {code}"),
        None => error.category().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_cluster_is_in_its_information() {
        assert_eq!(cluster_size("cluster_state:ok\r\ncluster_known_nodes:6\r\ncluster_size:3\r\n"), 3);
        assert_eq!((cluster_size(""), cluster_size("cluster_size:x")), (0, 0));
    }
}
