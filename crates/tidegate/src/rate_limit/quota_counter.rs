use std::num::NonZeroU64;
use std::time::Instant;

use super::quota::Quota;
use crate::bucket::Bucket;

/// A quota and the amount spent of it.
#[derive(Clone, Debug)]
pub(super) struct QuotaCounter {
    pub(super) quota: Quota,
    pub(super) bucket: Bucket,
}

impl QuotaCounter {
    pub(super) fn new(quota: Quota, burst: Option<NonZeroU64>, now: Instant) -> Self {
        Self { quota, bucket: Bucket::new(quota.rate(burst), now) }
    }
}
