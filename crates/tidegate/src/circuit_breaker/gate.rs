//! The admission of calls by a circuit, or with keys by the circuit of each key.

use http::{Extensions, Request};
use http_body::Body;

use super::circuit::CircuitAdmission;
use super::rejections::{CircuitRejection, RejectionCause};
use super::shared::PendingTurn;
use super::{CallGuard, Handle};
use crate::attempt::{Admission, AdmissionGate, NoQueue, TakeReady};
use crate::chain_position::ChainPosition;
use crate::clock::Now;
use crate::events::Decision;
use crate::keyed::KeyedHandle;
use crate::rejected::record_rejection;
use crate::thread_shard::ByThread;
use crate::{Deadline, Rejection};

/// Why a call is not admitted at once.
enum NotAdmitted {
    Rejected(Rejection),
    /// The call waits for the turn of this process to probe.
    Awaits(PendingTurn),
}

impl From<Rejection> for NotAdmitted {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl AdmissionGate for ByThread<Handle> {
    type Guard = CallGuard;
    type Queued = NoQueue<CallGuard>;

    #[inline]
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<CallGuard, Self::Queued> {
        match self.admit_at(request, &mut Now::default(), false) {
            Admission::Admitted(guard) => Admission::Admitted(guard),
            Admission::Rejected(rejection) => Admission::Rejected(rejection),
            Admission::Queued(_) => unreachable!("the call does not await its turn"),
        }
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
    /// Admits or rejects the call. A call that needs the turn to probe waits for it if it `awaits_turn`, and
    /// is then admitted again, without another wait. The gates of one attempt read the clock at most once,
    /// into `now`.
    #[inline]
    pub(crate) fn admit_at<B: 'static>(
        &self,
        request: &Request<B>,
        now: &mut Now,
        awaits_turn: bool,
    ) -> Admission<CallGuard, PendingTurn> {
        match self.guard(request, now, awaits_turn) {
            Ok(guard) => Admission::Admitted(guard),
            Err(NotAdmitted::Rejected(rejection)) => Admission::Rejected(rejection),
            Err(NotAdmitted::Awaits(turn)) => Admission::Queued(turn),
        }
    }

    #[inline]
    fn guard<B: 'static>(
        &self,
        request: &Request<B>,
        now: &mut Now,
        awaits_turn: bool,
    ) -> Result<CallGuard, NotAdmitted> {
        let of_key = self.get_or_insert(request)?;
        let circuit = of_key.as_ref().unwrap_or(self);
        if !circuit.admits_all() && ChainPosition::is_of_hedge(request.extensions()) {
            return Err(circuit.rejection_of_hedge().into());
        }
        let Some(admission) = circuit.admit(request.extensions(), now, awaits_turn)? else {
            return Ok(CallGuard::unrecorded());
        };
        let circuit = of_key.unwrap_or_else(|| self.of_thread());
        Ok(CallGuard::new(circuit, admission, request.extensions(), now.get()))
    }
}

impl Handle {
    /// Admits an attempt or rejects it. The admission is `None` if the result of the attempt is not recorded.
    fn admit(
        &self,
        extensions: &Extensions,
        now: &mut Now,
        awaits_turn: bool,
    ) -> Result<Option<CircuitAdmission>, NotAdmitted> {
        if !self.is_enabled() && self.admits_all() {
            return Ok(None);
        }
        if let Some(link) = &self.0.store {
            link.join(self);
        }
        let admitted = self.emit_transition(self.0.circuit.admit(|| now.get()));
        if let Err(CircuitRejection { cause: RejectionCause::Probing, .. }) = admitted
            && let Some(turn) = self.request_turn(extensions, awaits_turn)
        {
            return Err(NotAdmitted::Awaits(turn));
        }
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
                Err(NotAdmitted::Rejected(rejection.into()))
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

    /// Requests the turn to probe for a call that would be a probe, if the circuit is shared. Returns it if
    /// the call `awaits_turn`. In shadow mode a probe needs none.
    #[cold]
    fn request_turn(&self, extensions: &Extensions, awaits_turn: bool) -> Option<PendingTurn> {
        if self.settings().shadow {
            return None;
        }
        let turn = self.0.store.as_ref()?.request_turn(self, awaits_turn)?;
        awaits_turn.then(|| PendingTurn::new(turn, Deadline::of(extensions)))
    }
}
