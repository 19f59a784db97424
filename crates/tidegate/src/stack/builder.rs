use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tower_layer::Layer;

use super::preflight::PreflightLayer;
use super::service::Stack;
use super::{CallLimits, Resilience, Signals, TimeoutHeader};
use crate::classify::StreamClocks;
use crate::retry::{GatePeek, GatesBelow};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, Classifier, ClassifyLayer, FallbackLayer, Payload,
    RateLimitLayer, RetryLayer, TimeoutLayer, backpressure, circuit_breaker,
};

/// Stacks the layers in protocol order; see the [module page](crate::stack).
///
/// A part is a layer value, and one layer value is one state: two stacks that are built of clones of one builder
/// are two doors to one circuit, one limit and one budget, under the name that was given first. That is right for two
/// clients of one provider, and wrong for two providers: give each its own parts, or parts that are
/// `per_service()`, which each [`build`](Self::build) makes anew.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ResilienceBuilder {
    name: Arc<str>,
    fallback: FallbackLayer,
    retry: RetryLayer,
    backpressure: BackpressureLayer,
    rate_limit: RateLimitLayer,
    circuit_breaker: CircuitBreakerLayer,
    attempt_timeout: Duration,
    call_limits: CallLimits,
    stream_clocks: StreamClocks,
    classify: Option<ClassifyLayer>,
}

/// The stack as a layer: one shared state for every service it makes.
#[derive(Clone, Debug)]
pub struct ResilienceLayer {
    fallback: FallbackLayer,
    retry: RetryLayer,
    preflight: PreflightLayer,
    backpressure: BackpressureLayer,
    rate_limit: RateLimitLayer,
    circuit_breaker: CircuitBreakerLayer,
    timeout: TimeoutLayer,
    classify: ClassifyLayer,
    call_limits: CallLimits,
}

impl ResilienceBuilder {
    /// A stack of this name, usually `provider/model`, with nothing in it but the wire.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            fallback: FallbackLayer::new(),
            retry: RetryLayer::disabled(),
            backpressure: BackpressureLayer::disabled(),
            rate_limit: RateLimitLayer::disabled(),
            circuit_breaker: CircuitBreakerLayer::disabled(),
            attempt_timeout: Duration::from_secs(600),
            call_limits: CallLimits::default(),
            stream_clocks: StreamClocks::new(),
            classify: None,
        }
    }

    /// Another name; it also tells whose rules judge the answers.
    pub fn name(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Whom to ask next.
    pub fn fallback(self, fallback: FallbackLayer) -> Self {
        Self { fallback, ..self }
    }

    /// Asks again.
    pub fn retry(self, retry: RetryLayer) -> Self {
        Self { retry, ..self }
    }

    /// Bounds what is in flight.
    pub fn backpressure(self, backpressure: BackpressureLayer) -> Self {
        Self { backpressure, ..self }
    }

    /// Keeps to the provider's pace.
    pub fn rate_limit(self, rate_limit: RateLimitLayer) -> Self {
        Self { rate_limit, ..self }
    }

    /// Stops asking a provider that is down.
    pub fn circuit_breaker(self, circuit_breaker: CircuitBreakerLayer) -> Self {
        Self { circuit_breaker, ..self }
    }

    /// One attempt may take this long, to the last byte of its answer. 600 s by default.
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// The whole call may take this long, waits, attempts and fallbacks together: the
    /// [`Deadline`](crate::Deadline) of a request that has none, or a later one. By default there is none.
    pub fn total_timeout(mut self, total_timeout: Duration) -> Self {
        self.call_limits = self.call_limits.total_timeout(total_timeout);
        self
    }

    /// The whole call may make so many attempts, retries and fallbacks together: the
    /// [`AttemptBudget`](crate::AttemptBudget) of a request that has none. 0 is taken as 1; by default each layer
    /// counts its own.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.call_limits = self.call_limits.max_attempts(attempts);
        self
    }

    /// The caller may say in this header how long it waits; it can only shorten the
    /// [`total_timeout`](Self::total_timeout). A call whose header cannot be read is refused with E1001. No header is
    /// read by default: it takes a program that knows its callers to let them say.
    pub fn timeout_header(mut self, header: TimeoutHeader) -> Self {
        self.call_limits = self.call_limits.timeout_header(header);
        self
    }

    /// What a call may take as a whole, instead of what was set before.
    pub fn bounds(self, call_limits: CallLimits) -> Self {
        Self { call_limits, ..self }
    }

    /// A stream may be silent this long, by each of its clocks. 120 s by default.
    pub fn stream_clocks(self, stream_clocks: StreamClocks) -> Self {
        Self { stream_clocks, ..self }
    }

    /// Judges answers by `classifier` instead of by the rules of the provider named.
    pub fn classify(self, classifier: impl Classifier) -> Self {
        Self { classify: Some(ClassifyLayer::new(classifier)), ..self }
    }

    /// The stack as a layer, for a `ServiceBuilder` or for several clients of one provider.
    #[must_use]
    pub fn build(self) -> ResilienceLayer {
        let name = &*self.name;
        let (retry, backpressure) = (self.retry.for_stack().name(name), self.backpressure.for_stack().name(name));
        let (rate_limit, circuit_breaker) =
            (self.rate_limit.for_stack().name(name), self.circuit_breaker.for_stack().name(name));
        let classify = self.classify.unwrap_or_else(|| default_classifier(name)).clocks(self.stream_clocks);
        let rate_limit = rate_limit.with_default_classifier(classify.classifier());
        let gates = StackGates { circuit: circuit_breaker.handle(), slots: backpressure.handle() };
        let retry = retry.gates_below(GatesBelow::new(gates));
        let signals = Signals::new(
            Arc::clone(&self.name),
            circuit_breaker.handle(),
            rate_limit.handle(),
            backpressure.handle(),
            retry.handle(),
            self.fallback.handle(),
        );
        ResilienceLayer {
            fallback: self.fallback,
            retry,
            preflight: PreflightLayer::new(signals),
            backpressure,
            rate_limit,
            circuit_breaker,
            timeout: TimeoutLayer::new(self.attempt_timeout),
            classify,
            call_limits: self.call_limits,
        }
    }

    /// The stack around `inner`.
    #[must_use]
    pub fn service<S>(self, inner: S) -> Resilience<S> {
        self.build().layer(inner)
    }
}

/// What a retry looks at before it waits.
struct StackGates {
    circuit: circuit_breaker::Handle,
    slots: backpressure::Handle,
}

impl GatePeek for StackGates {
    /// An open circuit stays open for longer than many a wait; the other gates can be waited for.
    fn would_reject(&self, wait: Duration, next: Option<&Request<Payload>>) -> bool {
        let circuit = next.map_or_else(|| Some(self.circuit.clone()), |next| self.circuit.of(next));
        circuit.and_then(|circuit| circuit.cooldown_remaining()).is_some_and(|open| open > wait)
    }

    fn load(&self) -> Option<f64> {
        Some(self.slots.in_flight() as f64 / self.slots.limit()? as f64)
    }
}

impl ResilienceLayer {
    /// The state shared by all services of this layer.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.preflight.signals()
    }

    /// Protocol order, outermost first.
    fn stack<S>(&self, inner: S) -> Stack<S> {
        // Per call: whom to ask next, once the stack of the first target has given up.
        self.fallback.layer(
            // Per call: outside of the gates, so that every attempt passes all of them, and none is held in a wait.
            self.retry.layer(
                // Per attempt: what is bound to be refused is refused before it queues.
                self.preflight.layer(
                    // Per attempt: a permit first, so that what waits for the rate is bounded too.
                    self.backpressure.layer(
                        // Per attempt: a request and its tokens, given back if the circuit below refuses.
                        self.rate_limit.layer(
                            // Per attempt: last of the gates, so that it sees just what reaches the provider.
                            self.circuit_breaker.layer(
                                // The wire: clocks outside of the judge, who may have to read a slow error body.
                                self.timeout.layer(self.classify.layer(inner)),
                            ),
                        ),
                    ),
                ),
            ),
        )
    }
}

impl<S> Layer<S> for ResilienceLayer {
    type Service = Resilience<S>;

    fn layer(&self, inner: S) -> Resilience<S> {
        Resilience::new(self.stack(inner), self.signals(), self.call_limits.clone())
    }
}

#[cfg(feature = "providers")]
fn default_classifier(name: &str) -> ClassifyLayer {
    use tidegate_providers::{Provider, ProviderClassifier};
    ClassifyLayer::new(ProviderClassifier::new(Provider::named(name)))
}

#[cfg(not(feature = "providers"))]
fn default_classifier(_: &str) -> ClassifyLayer {
    ClassifyLayer::new(crate::StatusClassifier)
}
