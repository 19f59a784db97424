//! The change of the configuration while the gateway runs.
//!
//! ```text
//! file changed, or SIGHUP ─▶ read ─▶ check ─▶ build ─▶ swap: new calls take the new chains, others end on the old ones
//!                                └──────────┴─▶ mistakes: log, /healthz and metric; the old configuration stays in use
//! ```

mod follow;
mod status;

pub(crate) use self::follow::follow;
pub(crate) use self::status::ReloadStatus;
