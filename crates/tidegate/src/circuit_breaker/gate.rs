//! The admission of calls by a circuit, or with keys by the circuit of each key.

use http::Request;
use http_body::Body;

use super::{CallGuard, Handle};
use crate::Rejection;
use crate::attempt::{Admission, AdmissionGate, NoQueue, TakeReady};
use crate::chain_position::ChainPosition;
use crate::clock::Now;
use crate::key::KeyId;
use crate::keyed::KeyedHandle;
use crate::thread_shard::ByThread;

impl ByThread<Handle> {
    /// Admits or rejects the call. The gates of one attempt read the clock at most once, into `now`.
    #[inline]
    pub(crate) fn admit_at<B: 'static>(
        &self,
        request: &Request<B>,
        now: &mut Now,
    ) -> Admission<CallGuard, NoQueue<CallGuard>> {
        match self.guard(request, now) {
            Ok(guard) => Admission::Admitted(guard),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    #[inline]
    fn guard<B: 'static>(&self, request: &Request<B>, now: &mut Now) -> Result<CallGuard, Rejection> {
        let of_key = self.of_key(request)?;
        let circuit = of_key.as_ref().unwrap_or(self);
        if !circuit.admits_all() && ChainPosition::is_of_hedge(request.extensions()) {
            return Err(circuit.rejection_of_hedge());
        }
        let Some(admission) = circuit.admit(request.extensions(), now)? else {
            return Ok(CallGuard::unrecorded());
        };
        let circuit = of_key.unwrap_or_else(|| self.of_thread());
        Ok(CallGuard::new(circuit, admission, request.extensions(), now.get()))
    }
}

impl AdmissionGate for ByThread<Handle> {
    type Guard = CallGuard;
    type Queued = NoQueue<CallGuard>;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<CallGuard, Self::Queued> {
        self.admit_at(request, &mut Now::default())
    }

    fn target(&self) -> &str {
        self.0.target()
    }

    fn key_of_rejection<B: 'static>(&self, _: &Rejection, request: &Request<B>) -> Option<KeyId> {
        self.key_of(request)
    }
}

impl<S> TakeReady<S> for ByThread<Handle> {
    fn take_ready(_: &mut S, queued: &Self::Queued) -> S {
        queued.never()
    }
}
