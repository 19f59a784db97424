use std::time::Duration;

use crate::LimitUnit;

/// What a process requests, and what it reports.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LeaseRequest {
    /// The quotas, each with its amount. A lease is taken of all of them or of none.
    pub quotas: Vec<QuotaRequest>,
    /// The longest time until the lease may begin. If it takes longer, nothing is taken.
    pub horizon: Duration,
    /// How long the store was unavailable to this process until now, if it was.
    pub outage: Duration,
}

/// A quota, the amount that is requested, and what has become of earlier amounts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuotaRequest {
    /// What is counted.
    pub unit: LimitUnit,
    /// The amount that refills in each period.
    pub count: u64,
    /// The period.
    pub period: Duration,
    /// The amount of a full bucket.
    pub burst: u64,
    /// The amount of the lease. More than a full bucket is granted when the bucket is full.
    pub amount: u64,
    /// The amount of earlier leases that was not used.
    pub returned: u64,
    /// The time since the oldest of those leases was taken.
    pub returned_age: Duration,
    /// The amount that was used beyond leases.
    pub charged: u64,
    /// The amount that was used while the store was unavailable to this process.
    pub spent_alone: u64,
    /// The part of it that has not refilled in the share of this process. It is all that counts if the store
    /// was unavailable to every process.
    pub spent_alone_debt: u64,
    /// The time in which the bucket would be full again, as far as this process has seen it, for a store that
    /// has lost it.
    pub known_debt: Duration,
}

impl LeaseRequest {
    /// A request for the closing time alone.
    pub(crate) fn of_no_quota() -> Self {
        Self { quotas: Vec::new(), horizon: Duration::ZERO, outage: Duration::ZERO }
    }
}

/// The reply to a [`LeaseRequest`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseGrant {
    /// Whether the amounts were taken.
    pub is_granted: bool,
    /// The time until the lease begins, or until it could.
    pub wait: Duration,
    /// For each quota, the time in which the bucket will be full again.
    pub debts: Vec<Duration>,
    /// The rest of the time for which the gate is closed.
    pub closed_for: Duration,
    /// The number of processes that use this limit, this one included.
    pub processes: u32,
}

/// A closed gate, as it is shared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SharedCooldown {
    /// How long the gate is closed from now on.
    pub wait: Duration,
    /// The time since it was closed. A gate that was opened after that stays open.
    pub age: Duration,
    /// The request quota that holds one request when the gate opens, if there is one.
    pub pacing: Option<QuotaRequest>,
}
