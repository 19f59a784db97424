use tidegate::store::{OnUnavailable, SharedStore, Store};
use tidegate_redis::{RedisSettings, RedisStore, RedisStoreError};

use crate::config::GatewayConfigError;

/// The store through which gateways share their limits.
#[derive(Clone, Debug)]
pub(super) struct SharedLimits {
    redis: RedisStore,
    store: Store,
    mode: OnUnavailable,
    processes: Option<u32>,
}

impl SharedLimits {
    /// A store that connects when it is used.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, GatewayConfigError> {
        let redis = RedisStore::lazy(settings.clone());
        let redis = redis.map_err(|error| GatewayConfigError::new("store", error.to_string()))?;
        let (mode, processes) = (settings.store.mode, settings.store.processes);
        Ok(Self { store: Store::new(redis.clone()), redis, mode, processes })
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The secret of all gateways with this store.
    pub(super) fn salt(&self) -> &str {
        self.redis.salt()
    }

    /// Whether the server can be used. In the mode `fail_open` the answer is a line of the log.
    pub(super) async fn check(&self) -> Result<(), RedisStoreError> {
        if self.mode == OnUnavailable::Closed {
            return self.redis.check().await;
        }
        let (redis, processes) = (self.redis.clone(), self.processes);
        tokio::spawn(async move {
            if let Err(error) = redis.check().await {
                tracing::warn!(layer = "store", %error, processes, "shared limits are local until the server is there");
            }
        });
        Ok(())
    }
}
