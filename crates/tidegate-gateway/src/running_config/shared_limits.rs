use tidegate::store::{OnUnavailable, Store};
use tidegate_redis::{RedisSettings, RedisStore, RedisStoreError};

use crate::config::GatewayConfigError;

/// The store through which gateways share their limits.
#[derive(Clone, Debug)]
pub(super) struct SharedLimits {
    redis: RedisStore,
    store: Store,
    mode: OnUnavailable,
}

impl SharedLimits {
    /// A store that connects when it is used.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, GatewayConfigError> {
        let redis = RedisStore::lazy(settings.clone());
        let redis = redis.map_err(|error| GatewayConfigError::new("store", error.to_string()))?;
        Ok(Self { store: Store::new(redis.clone()), redis, mode: settings.store.mode })
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the server can be used. In the mode `fail_open` the answer is a line of the log.
    pub(super) async fn check(&self) -> Result<(), RedisStoreError> {
        if self.mode == OnUnavailable::Closed {
            return self.redis.check().await;
        }
        let redis = self.redis.clone();
        tokio::spawn(async move {
            if let Err(error) = redis.check().await {
                tracing::warn!(layer = "store", %error, "shared limits are local until the server is there");
            }
        });
        Ok(())
    }
}
