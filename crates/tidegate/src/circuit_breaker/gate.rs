//! The admission of calls by a circuit, or with keys by the circuit of each key.

use http::{Extensions, Request};
use http_body::Body;

use super::circuit::CircuitAdmission;
use super::rejections::{CircuitRejection, RejectionCause};
use super::{CallGuard, Handle};
use crate::Rejection;
use crate::attempt::{Admission, AdmissionGate, NoQueue, TakeReady};
use crate::chain_position::ChainPosition;
use crate::clock::Now;
use crate::events::Decision;
use crate::keyed::KeyedHandle;
use crate::rejected::record_rejection;
use crate::thread_shard::ByThread;

impl AdmissionGate for ByThread<Handle> {
    type Guard = CallGuard;
    type Queued = NoQueue<CallGuard>;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<CallGuard, Self::Queued> {
        self.admit_at(request, &mut Now::default())
    }

    #[cold]
    fn record_rejection<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection {
        record_rejection(rejection, self.0.target(), self.key_of(request), request.extensions())
    }
}

impl<S> TakeReady<S> for ByThread<Handle> {
    fn take_ready(_: &mut S, queued: &Self::Queued) -> S {
        queued.never()
    }
}

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
        let of_key = self.get_or_insert(request)?;
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

impl Handle {
    /// Admits an attempt or rejects it. The admission is `None` if the result of the attempt is not recorded.
    fn admit(&self, extensions: &Extensions, now: &mut Now) -> Result<Option<CircuitAdmission>, Rejection> {
        if !self.is_enabled() && self.admits_all() {
            return Ok(None);
        }
        if let Some(link) = &self.0.store {
            link.join(self);
        }
        let admitted = self.emit_transition(self.0.circuit.admit(|| now.get()));
        let admitted = admitted.inspect_err(|rejection| self.request_turn_after(rejection));
        let admitted = match admitted {
            Err(rejection) if self.0.open_attempts.is_some() => {
                self.admit_while_open(rejection, extensions, now.get())
            }
            admitted => admitted,
        };
        match admitted {
            Ok(admission) => Ok(Some(admission)),
            Err(rejection) if self.is_shadowed(&rejection) => {
                self.admit_in_shadow(rejection);
                Ok(None)
            }
            Err(rejection) => {
                self.0.totals.record_rejected();
                Err(rejection.into())
            }
        }
    }

    /// Admits a call in shadow mode that would have been rejected. Its result is not recorded, because the
    /// call would not have been made.
    fn admit_in_shadow(&self, rejection: CircuitRejection) {
        self.0.shadow_admitted.add(1);
        Decision::AdmittedInShadow(rejection.into()).emit(self.0.target(), self.0.key());
    }

    /// The rejection of a hedge, unless every call is admitted: the result of one that is cancelled would be
    /// no use as that of a probe.
    #[cold]
    fn rejection_of_hedge(&self) -> Rejection {
        let probing = CircuitRejection { cause: RejectionCause::Probing, retry_after: None };
        self.peek_call(None).unwrap_or(probing).into()
    }

    /// Requests the turn to probe, if the call would have been a probe and the circuit is shared.
    #[cold]
    fn request_turn_after(&self, rejection: &CircuitRejection) {
        if let (RejectionCause::Probing, Some(link)) = (rejection.cause, &self.0.store) {
            link.request_turn(self);
        }
    }
}
