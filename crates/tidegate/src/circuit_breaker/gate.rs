use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use http::Request;
use http_body::Body;

use super::{CallGuard, Handle};
use crate::Rejection;
use crate::attempt::{Admission, AdmissionGate, NoQueue, TakeReady};
use crate::chain_position::ChainPosition;
use crate::clock::Now;
use crate::key::KeyId;
use crate::keyed::KeyedHandle;
use crate::thread_shard::{SHARDS, thread_shard};

/// The handle of a circuit as its services hold it, sharded by thread to avoid contention on one reference
/// count.
///
/// Every call in flight owns a reference to its circuit, because its response may outlive the service. With
/// one reference count for all, the threads would write to it alternately, twice a call, and two threads
/// would do no more calls than one (0.9 x, measured). Each thread therefore counts on its own shard.
pub(super) struct ShardedHandle {
    handle: Handle,
    by_thread: [OnceLock<Arc<HandleShard>>; SHARDS],
}

/// Two cache lines, because processors prefetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct HandleShard(Handle);

/// The reference that a call in flight owns: a shard, or the circuit of its key.
#[derive(Debug)]
pub(super) enum HandleRef {
    Shard(Arc<HandleShard>),
    Key(Handle),
}

impl ShardedHandle {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, by_thread: [const { OnceLock::new() }; SHARDS] }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Admits an attempt or rejects it.
    fn admit<B: 'static>(&self, request: &Request<B>, now: &mut Now) -> Result<CallGuard, Rejection> {
        let of_key = self.handle.of_key(request)?;
        let circuit = of_key.as_ref().unwrap_or(&self.handle);
        if !circuit.admits_all() && ChainPosition::is_of_hedge(request.extensions()) {
            return Err(circuit.rejection_of_hedge());
        }
        let Some(admission) = circuit.admit(request.extensions(), now)? else {
            return Ok(CallGuard::unrecorded());
        };
        let circuit = of_key.map_or_else(|| self.shard(), HandleRef::Key);
        Ok(CallGuard::new(circuit, admission, request.extensions(), now.get()))
    }

    /// Returns the shard of this thread, created at its first call.
    fn shard(&self) -> HandleRef {
        let shard = self.by_thread[thread_shard()].get_or_init(|| Arc::new(HandleShard(self.handle.clone())));
        HandleRef::Shard(Arc::clone(shard))
    }
}

/// The gate of a service: the circuit, or with keys the circuit of each key.
#[derive(Clone, Debug)]
pub struct CircuitGate(Arc<ShardedHandle>);

impl CircuitGate {
    pub(super) fn new(handle: Handle) -> Self {
        Self(Arc::new(ShardedHandle::new(handle)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.handle()
    }

    /// The same as `admit`, for a gate behind others that need the time, too.
    #[inline]
    pub(crate) fn admit_at<B: 'static>(
        &self,
        request: &Request<B>,
        now: &mut Now,
    ) -> Admission<CallGuard, NoQueue<CallGuard>> {
        match self.0.admit(request, now) {
            Ok(guard) => Admission::Admitted(guard),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }
}

impl AdmissionGate for CircuitGate {
    type Guard = CallGuard;
    type Queued = NoQueue<CallGuard>;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<CallGuard, Self::Queued> {
        self.admit_at(request, &mut Now::default())
    }

    fn target(&self) -> &str {
        self.handle().0.target()
    }

    fn key_of_rejection<B: 'static>(&self, _: &Rejection, request: &Request<B>) -> Option<KeyId> {
        self.handle().key_of(request)
    }
}

impl<S> TakeReady<S> for CircuitGate {
    fn take_ready(_: &mut S, queued: &Self::Queued) -> S {
        queued.never()
    }
}

impl Deref for HandleRef {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        match self {
            Self::Shard(shard) => &shard.0,
            Self::Key(handle) => handle,
        }
    }
}

impl fmt::Debug for ShardedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
