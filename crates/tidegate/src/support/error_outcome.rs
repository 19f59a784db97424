use std::error::Error;

use crate::{ErrorCode, Failure, FailureKind, Outcome};

/// The outcome of an attempt, or of a body, that ended in `error`: that of [`Outcome::of_error`], or, for types of
/// tokio and tower, that of [`foreign_failure`].
pub(crate) fn outcome_of_error(error: &(dyn Error + 'static)) -> Outcome {
    match Outcome::of_error(error) {
        Outcome::Failure(failure) if failure.kind == FailureKind::Transport => {
            foreign_failure(error).unwrap_or(failure).into()
        }
        outcome => outcome,
    }
}

/// The failure that a timeout of tokio or tower is, or a request that tower's `LoadShed` has refused.
pub(crate) fn foreign_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    tidegate_core::chain(error).find_map(|error| {
        if error.is::<tokio::time::error::Elapsed>() || error.is::<tower::timeout::error::Elapsed>() {
            Some(Failure { kind: FailureKind::Timeout, ..Failure::new(ErrorCode::Timeout) })
        } else if error.is::<tower::load_shed::error::Overloaded>() {
            Some(Failure { kind: FailureKind::NotProcessed, ..Failure::new(ErrorCode::Overloaded) })
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tower::load_shed::LoadShedLayer;
    use tower::timeout::TimeoutLayer;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::testing::{SECOND, strict};
    use crate::{BoxError, CircuitBreakerLayer, Payload, circuit_breaker};

    /// Regression: they were failures of the transport, for which an adaptive limit does not fall.
    #[tokio::test(start_paused = true)]
    async fn timeouts_of_tokio_and_tower_are_timeouts() {
        let of_tokio: BoxError =
            tokio::time::timeout(SECOND, std::future::pending::<()>()).await.unwrap_err().into();
        let (inner, provider) = strict();
        provider.hang();
        let of_tower = TimeoutLayer::new(SECOND).layer(inner).oneshot(Request::new(Payload::empty())).await;
        for error in [of_tokio, of_tower.err().unwrap()] {
            let outcome = outcome_of_error(&*crate::Error::boxed(error));
            assert_eq!(outcome.failure().unwrap().kind, FailureKind::Timeout);
        }
    }

    /// Regression: a request that was refused before it was sent opened the circuit of the provider.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_shed_is_no_failure_of_the_provider() {
        let (inner, provider) = strict();
        provider.block();
        let circuit = CircuitBreakerLayer::new().failure_threshold(1);
        let service = circuit.layer(LoadShedLayer::new().layer(inner));
        assert!(service.oneshot(Request::new(Payload::empty())).await.is_err());
        assert_eq!(circuit.handle().state(), circuit_breaker::State::Closed);
    }
}
