//! The quotas that several processes share through a store.

mod exchange;
mod held_leases;
mod lease_demand;
mod shared_quota;
mod shared_quotas;
mod store_link;
mod store_outage;

pub(super) use exchange::GateChange;
pub(super) use lease_demand::WaitingCalls;
pub use shared_quotas::SharedRate;
pub(super) use shared_quotas::{ExchangeStep, SharedQuotas};
pub(super) use store_link::RateLink;
