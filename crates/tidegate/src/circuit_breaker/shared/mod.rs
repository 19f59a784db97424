//! A circuit that several processes share through a store.

mod call_reports;
mod local_turn;
mod pending_turn;
mod shared_windows;
mod store_link;
mod turn;

pub(super) use local_turn::LocalTurn;
pub(crate) use pending_turn::PendingTurn;
pub(super) use shared_windows::{SentReport, SharedWindows};
pub(super) use store_link::CircuitLink;
