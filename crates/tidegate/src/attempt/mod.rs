//! One attempt: one service that holds the gates, one future, one body.
//!
//! A gate implements [`AdmissionGate`]. [`Gated`] is the service of a single gate and of all gates of the stack
//! ([`AttemptGates`]).
//!
//! ```text
//!            admitted                        head                     last frame, error, drop
//!   call ───────────────▶ inner service ──────────────▶ body ─────────────────────────────────▶ guard released
//!    │ │                                  on_head                 on_end
//!    │ └─ queued ─▶ admitted, or rejected
//!    └─── rejected
//! ```

mod body;
mod future;
mod gate;
mod gates;
mod service;

pub use body::GuardedBody;
pub use future::ResponseFuture;
pub(crate) use gate::swap_in_clone;
pub use gate::{
    Admission, AdmissionGate, AttemptGuard, BodyGuard, BodyGuardOf, NoQueue, QueuedAttempt, ResponseHead,
    TakeReady,
};
pub use gates::{AttemptBodyGuards, AttemptGates, AttemptGuards, QueuedAtGates};
pub use service::Gated;
