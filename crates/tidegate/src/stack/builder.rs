use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::service::Stack;
use super::{CallLimits, Resilience, Signals, TimeoutHeader};
use crate::attempt::{Attempt, AttemptGates};
use crate::classify::StreamClocks;
use crate::hedge::HedgeLayer;
use crate::metrics::TargetMetrics;
use crate::store::Store;
use crate::{
    BackpressureLayer, CircuitBreakerLayer, Classifier, ClassifyLayer, FallbackLayer, RateLimitLayer,
    RetryLayer, defaults, timeout,
};

/// Stacks the layers in their order; see the [module page](crate::stack).
///
/// A part is a layer value, and one layer value is one state. Stacks that are built from clones of one
/// builder share their circuit, limits and budget, under the name that was set first. That is right for two
/// clients of one provider, and wrong for two providers: give each its own parts, or parts that are
/// `per_service()`, which each [`build`](Self::build) makes anew.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
#[doc(alias = "AiClient")]
pub struct ResilienceBuilder {
    name: Arc<str>,
    fallback: FallbackLayer,
    hedge: Option<HedgeLayer>,
    retry: RetryLayer,
    backpressure: BackpressureLayer,
    rate_limit: RateLimitLayer,
    circuit_breaker: CircuitBreakerLayer,
    attempt_timeout: Duration,
    call_limits: CallLimits,
    stream_clocks: StreamClocks,
    classify: Option<ClassifyLayer>,
    store: Option<Store>,
}

/// The stack as a layer: all services that it makes share one state.
#[derive(Clone, Debug)]
pub struct ResilienceLayer {
    fallback: FallbackLayer,
    retry: RetryLayer,
    gates: AttemptGates,
    attempt_timeout: Duration,
    classify: ClassifyLayer,
    call_limits: CallLimits,
    signals: Signals,
    metrics: TargetMetrics,
}

impl ResilienceBuilder {
    /// A stack of this name, usually `provider/model`, that consists of the wire only.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            fallback: FallbackLayer::new(),
            hedge: None,
            retry: RetryLayer::disabled(),
            backpressure: BackpressureLayer::disabled(),
            rate_limit: RateLimitLayer::disabled(),
            circuit_breaker: CircuitBreakerLayer::disabled(),
            attempt_timeout: timeout::Settings::ATTEMPT,
            call_limits: CallLimits::default(),
            stream_clocks: StreamClocks::new(),
            classify: None,
            store: None,
        }
    }

    /// Sets the name, which also selects the provider's rules for the classification of responses.
    pub fn name(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The targets that are tried after this one. The gates are those of the first target: a call that they
    /// reject falls back. A limit of the callers goes around the stack.
    pub fn fallback(self, fallback: FallbackLayer) -> Self {
        Self { fallback, ..self }
    }

    /// Hedges of late calls: at the targets of the [`fallback`](Self::fallback), else at this one. It
    /// replaces the hedges of the fallback.
    pub fn hedge(self, hedge: HedgeLayer) -> Self {
        Self { hedge: Some(hedge), ..self }
    }

    /// Retries of failed attempts.
    pub fn retry(self, retry: RetryLayer) -> Self {
        Self { retry, ..self }
    }

    /// The limit of calls in flight.
    pub fn backpressure(self, backpressure: BackpressureLayer) -> Self {
        Self { backpressure, ..self }
    }

    /// The rate limit.
    pub fn rate_limit(self, rate_limit: RateLimitLayer) -> Self {
        let rate_limit = match &self.store {
            Some(store) => rate_limit.store(store.clone()),
            None => rate_limit,
        };
        Self { rate_limit, ..self }
    }

    /// The circuit breaker.
    pub fn circuit_breaker(self, circuit_breaker: CircuitBreakerLayer) -> Self {
        let circuit_breaker = match &self.store {
            Some(store) => circuit_breaker.store(store.clone()),
            None => circuit_breaker,
        };
        Self { circuit_breaker, ..self }
    }

    /// Shares the quotas of the rate limit, the time for which the provider closed it, and the state of the
    /// circuit with the other processes that use this store, under the name of the stack; see
    /// [`store`](crate::store). It is set on the layers as by their own setters, so that the stack shares no
    /// state with a clone of a layer that has no store: set the store of the layer before you clone it.
    pub fn store(self, store: Store) -> Self {
        Self {
            rate_limit: self.rate_limit.store(store.clone()),
            circuit_breaker: self.circuit_breaker.store(store.clone()),
            store: Some(store),
            ..self
        }
    }

    /// The time of one attempt, to the last byte of its response. 600 s by default.
    #[doc(alias = "max_wait_duration")]
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// The time of the whole call, waits, attempts and fallbacks together. It sets the
    /// [`Deadline`](crate::Deadline) of a request that has none, or a later one. None by default.
    pub fn total_timeout(mut self, total_timeout: Duration) -> Self {
        self.call_limits = self.call_limits.total_timeout(total_timeout);
        self
    }

    /// The attempts of the whole call, retries and fallbacks together. It sets the
    /// [`AttemptBudget`](crate::AttemptBudget) of a request that has none. Zero is raised to one. By default
    /// each layer counts its own attempts.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.call_limits = self.call_limits.max_attempts(attempts);
        self
    }

    /// The header with which a caller can shorten the [`total_timeout`](Self::total_timeout). A call is
    /// rejected with E1001 if its header cannot be parsed. No header is read by default, since only the
    /// program can decide if its callers are trusted to set a timeout.
    pub fn timeout_header(mut self, header: TimeoutHeader) -> Self {
        self.call_limits = self.call_limits.timeout_header(header);
        self
    }

    /// Replaces all limits of a call that were set before.
    pub fn call_limits(self, call_limits: CallLimits) -> Self {
        Self { call_limits, ..self }
    }

    /// The timeouts between the parts of a stream. 120 s each by default.
    pub fn stream_clocks(self, stream_clocks: StreamClocks) -> Self {
        Self { stream_clocks, ..self }
    }

    /// Classifies responses by `classifier` instead of the rules of the named provider.
    pub fn classify(self, classifier: impl Classifier) -> Self {
        Self { classify: Some(ClassifyLayer::new(classifier)), ..self }
    }

    /// Without fallbacks and hedges.
    #[cfg(feature = "config")]
    pub(crate) fn without_other_targets(self) -> Self {
        Self { fallback: FallbackLayer::new(), hedge: None, ..self }
    }

    /// The stack as a layer, for a `ServiceBuilder` or for several clients of one provider.
    #[must_use]
    pub fn build(self) -> ResilienceLayer {
        let name = &*self.name;
        let retry = self.retry.for_stack(name);
        let backpressure = self.backpressure.for_stack(name);
        let rate_limit = self.rate_limit.for_stack(name);
        let circuit_breaker = self.circuit_breaker.for_stack(name);
        let call_limits = self.call_limits.or_max_attempts(retry.call_attempts());
        let classify = self
            .classify
            .unwrap_or_else(|| ClassifyLayer::new(defaults::classifier(name)))
            .clocks(self.stream_clocks);
        rate_limit.set_default_classifier(classify.classifier());
        let gates = AttemptGates::new(Arc::clone(&self.name), backpressure, rate_limit, circuit_breaker);
        let retry = retry.gates_below(gates.clone());
        let fallback = match self.hedge {
            Some(hedge) => self.fallback.hedge(hedge.name(name)),
            None => self.fallback,
        };
        let signals = Signals::new(gates.clone(), retry.handle(), fallback.handle());
        ResilienceLayer {
            fallback,
            retry,
            gates,
            attempt_timeout: self.attempt_timeout,
            classify,
            call_limits,
            signals,
            metrics: TargetMetrics::of(&self.name),
        }
    }

    /// The stack around `inner`.
    #[must_use]
    pub fn service<S>(self, inner: S) -> Resilience<S> {
        self.build().layer(inner)
    }
}

impl ResilienceLayer {
    /// The state that all services of this layer share.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }

    /// Protocol order, outermost first.
    fn stack<S>(&self, inner: S) -> Stack<S> {
        // Per attempt: clocks and classification, which arm one timer.
        let wire = self.classify.wire().within(self.attempt_timeout).metrics(self.metrics);
        // Per attempt: a permit first, so that the number of waits for the rate is bounded too; then a
        // request and its tokens, refunded if the circuit rejects; the circuit last, so that it counts
        // exactly the attempts that are sent.
        let attempt = Attempt::with_wire(inner, self.gates.clone(), wire);
        // Per call: outside of the gates, so that every attempt passes them all and no permit is held in a
        // wait.
        let retry = self.retry.layer(attempt);
        // Per call: the next target, once the stack of the first target has failed.
        self.fallback.layer(retry)
    }
}

impl<S> Layer<S> for ResilienceLayer {
    type Service = Resilience<S>;

    fn layer(&self, inner: S) -> Resilience<S> {
        Resilience::new(self.stack(inner), self.signals(), self.call_limits.clone(), self.metrics)
    }
}
