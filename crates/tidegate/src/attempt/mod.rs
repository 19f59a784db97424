//! One attempt: one service that holds the gates, one future, one body.
//!
//! A gate implements [`AdmissionGate`], and what looks at the response a [`Wire`]. [`Attempt`] is the service
//! of a gate alone, of a wire alone, and of all gates of the stack ([`AttemptGates`]) with its wire.
//!
//! ```text
//!            admitted                      head                      last frame, error, drop
//!   call ───────────────▶ inner service ────────▶ wire ────────▶ body ─────────────────────▶ guard released
//!    │ │                                                on_head            on_end
//!    │ └─ queued ─▶ admitted, or rejected
//!    └─── rejected
//! ```

mod body;
mod future;
mod gate;
mod gates;
mod peek;
mod queued_at_gates;
mod service;
mod wire;

pub use crate::body::UnchangedBody;
pub use crate::thread_shard::ByThread;
pub use body::GuardedBody;
pub use future::ResponseFuture;
pub(crate) use gate::swap_in_clone;
pub use gate::{
    Admission, AdmissionGate, AttemptGuard, BodyGuard, BodyGuardOf, NoGate, NoQueue, QueuedAttempt,
    ResponseHead, TakeReady,
};
pub use gates::{AttemptBodyGuards, AttemptGates, AttemptGuards};
pub use queued_at_gates::QueuedAtGates;
pub use service::Attempt;
pub use wire::{NextStage, NoWire, StagePoll, Wire};
