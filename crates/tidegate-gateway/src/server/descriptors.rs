//! The file descriptors of the process, which bound its connections.

use std::io;

/// The descriptors for anything but connections: the runtime, the log, the configuration, name resolution.
const RESERVED: usize = 32;

/// Raises the soft limit of file descriptors of this process to its hard limit.
///
/// # Errors
///
/// The limit cannot be changed.
pub fn raise_descriptor_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(())
}

/// The connections of callers that the descriptors of the process allow, at most `wanted`: each call may need
/// a connection to a provider as well.
pub(super) fn max_connections(wanted: usize) -> usize {
    let Some(limit) = descriptor_limit() else { return wanted };
    let possible = (limit.saturating_sub(RESERVED) / 2).max(1);
    if possible < wanted {
        tracing::warn!(
            layer = "gateway",
            descriptors = limit,
            connections = possible,
            "the limit of file descriptors allows fewer connections than max_connections",
        );
    }
    possible.min(wanted)
}

/// The soft limit of file descriptors; `None` if there is none.
fn descriptor_limit() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}
