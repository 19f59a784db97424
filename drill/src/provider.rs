//! A simulated provider: the testkit's, with replies by the scenario.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tidegate_testkit::provider::LoggedRequest;
use tidegate_testkit::{Provider, Reply};

use crate::call::{CALL, OUTPUT};
use crate::ledger::{Ledger, Refusal, Work};
use crate::random::generator;
use crate::scenario::{PlannedFault, PlannedFaultKind, ProviderApi, ProviderSpec};
use crate::wire::ATTEMPT;

/// Decides the reply to each request.
struct Replies {
    index: usize,
    spec: ProviderSpec,
    seed: u64,
    ledger: Ledger,
    /// The calls that have met a closed connection.
    met_stale: Mutex<BTreeSet<u32>>,
}

/// One request, with its draws.
struct PlannedRequest {
    number: usize,
    call: u32,
    is_stream: bool,
    prompt: u32,
    output: u32,
    elapsed: Duration,
    random: fastrand::Rng,
}

/// The bytes of a token in a request, as the testkit counts.
const BYTES_PER_TOKEN: usize = 4;

/// The provider with this index, whose limits are for periods of `minute`.
pub(crate) fn provider(
    index: usize,
    spec: &ProviderSpec,
    seed: u64,
    minute: Duration,
    ledger: &Ledger,
) -> Provider {
    let mut provider = match spec.dialect {
        ProviderApi::Openai => Provider::openai(),
        ProviderApi::Anthropic => Provider::anthropic(),
        ProviderApi::Deepseek => Provider::deepseek(),
        ProviderApi::Mistral => Provider::mistral(),
    };
    if let Some(requests) = spec.requests_per_minute {
        provider = provider.rate_limit(requests, minute);
    }
    if let Some(tokens) = spec.tokens_per_minute {
        provider = provider.token_limit(tokens, minute);
    }
    let (spec, ledger) = (spec.clone(), ledger.clone());
    let replies = Replies { index, spec, seed, ledger, met_stale: Mutex::default() };
    provider.otherwise_with(move |request| replies.reply(request))
}

/// A time after which no caller waits any more.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

impl Replies {
    fn reply(&self, request: &LoggedRequest) -> Reply {
        let mut planned = self.read(request);
        let mut work = self.work(&mut planned);
        let mut reply = Reply::ok().tokens(work.output as usize);
        for fault in &self.spec.faults {
            // Drawn in any case, so that a fault that is off does not move the draws of the next.
            let is_hit = planned.random.f64() < fault.share();
            if !is_hit || !fault.is_on(planned.elapsed) {
                continue;
            }
            match self.apply(fault, &planned, &mut work, reply) {
                ControlFlow::Continue(changed) => reply = changed,
                ControlFlow::Break(end) => return end,
            }
        }
        if self.spec.context_tokens.is_some_and(|context| planned.prompt > context) {
            self.ledger.edit(planned.number, |attempt| attempt.refusal = Some(Refusal::Request));
            return self.context_length();
        }
        if self.spec.capacity.is_some_and(|capacity| self.is_full(capacity)) {
            return Reply::status(503);
        }
        self.ledger.edit(planned.number, |attempt| attempt.work = Some(work));
        reply.latency(work.first_token).pace(work.pace)
    }

    fn read(&self, request: &LoggedRequest) -> PlannedRequest {
        let number = header(&request.headers, ATTEMPT) as usize;
        let call = header(&request.headers, CALL) as u32;
        let earlier = u64::from(self.ledger.earlier(number));
        PlannedRequest {
            number,
            call,
            is_stream: request.is_stream,
            prompt: request.body.len().div_ceil(BYTES_PER_TOKEN) as u32,
            output: header(&request.headers, OUTPUT) as u32,
            elapsed: request.at - self.ledger.start(),
            random: generator(self.seed, &[1 + self.index as u64, call.into(), earlier]),
        }
    }

    fn work(&self, planned: &mut PlannedRequest) -> Work {
        let is_slow = planned.random.f64() < self.spec.slow;
        let latency = if is_slow { self.spec.slow_first_token } else { self.spec.first_token };
        Work {
            prompt: planned.prompt,
            output: planned.output.max(1),
            first_token: latency.draw(&mut planned.random),
            pace: self.spec.pace.0,
            is_charged: true,
        }
    }

    /// The reply with this fault; it breaks with the reply if there is no answer at all.
    fn apply(
        &self,
        fault: &PlannedFault,
        planned: &PlannedRequest,
        work: &mut Work,
        reply: Reply,
    ) -> ControlFlow<Reply, Reply> {
        let tokens = fault.after_tokens.unwrap_or(5) as usize;
        match fault.kind {
            PlannedFaultKind::Error => return ControlFlow::Break(self.error(fault, planned)),
            PlannedFaultKind::Reset => return ControlFlow::Break(Reply::reset()),
            PlannedFaultKind::Hang => return ControlFlow::Break(Reply::hang()),
            PlannedFaultKind::Empty => return ControlFlow::Break(Reply::raw("").latency(work.first_token)),
            PlannedFaultKind::ErrorEvent if planned.is_stream => {
                return ControlFlow::Break(
                    Reply::ok().latency(work.first_token).error_event_at(1, "server_error"),
                );
            }
            PlannedFaultKind::ErrorEvent => return ControlFlow::Break(Reply::status(500)),
            PlannedFaultKind::QuotaExhausted => {
                let refusal = Refusal::Until(fault.to.map_or(Duration::MAX, |to| to.0));
                self.ledger.edit(planned.number, |attempt| attempt.refusal = Some(refusal));
                return ControlFlow::Break(Reply::error(429, "insufficient_quota"));
            }
            PlannedFaultKind::Capacity if self.is_full(fault.capacity.unwrap_or(5)) => {
                return ControlFlow::Break(Reply::status(503));
            }
            PlannedFaultKind::Stale if self.meets_stale(planned.call) => {
                return ControlFlow::Break(Reply::reset());
            }
            PlannedFaultKind::Capacity | PlannedFaultKind::Stale => {}
            PlannedFaultKind::Slow => {
                let factor = fault.factor.unwrap_or(10.0);
                // Several may be on at once.
                work.first_token = work.first_token.mul_f64(factor).min(LONGEST);
                work.pace = work.pace.mul_f64(factor).min(LONGEST);
            }
            PlannedFaultKind::Cut => {
                work.output = work.output.min(tokens as u32);
                return ControlFlow::Continue(reply.cut_after(tokens));
            }
            PlannedFaultKind::Stall => {
                work.output = work.output.min(tokens as u32);
                let stalled = reply.stall_after(tokens);
                return ControlFlow::Continue(
                    fault.pings.map_or(stalled.clone(), |every| stalled.pings(every.0)),
                );
            }
        }
        ControlFlow::Continue(reply)
    }

    fn error(&self, fault: &PlannedFault, planned: &PlannedRequest) -> Reply {
        let reply = Reply::status(fault.status.unwrap_or(500));
        let Some(wait) = fault.retry_after else { return reply };
        let refusal = Refusal::Until(planned.elapsed + wait.0);
        self.ledger.edit(planned.number, |attempt| attempt.refusal = Some(refusal));
        // As OpenAI sends it; Anthropic and others have the seconds alone.
        let reply = reply.retry_after(wait.0.as_nanos().div_ceil(1_000_000_000) as u64);
        match self.spec.dialect {
            ProviderApi::Openai => reply.header("retry-after-ms", &wait.0.as_millis().to_string()),
            ProviderApi::Anthropic | ProviderApi::Deepseek | ProviderApi::Mistral => reply,
        }
    }

    fn context_length(&self) -> Reply {
        match self.spec.dialect {
            ProviderApi::Anthropic => {
                Reply::error(400, "invalid_request_error").message("prompt is too long")
            }
            ProviderApi::Openai | ProviderApi::Deepseek | ProviderApi::Mistral => {
                Reply::error(400, "context_length_exceeded")
            }
        }
    }

    fn is_full(&self, capacity: u32) -> bool {
        self.ledger.working(self.index) >= capacity as usize
    }

    fn meets_stale(&self, call: u32) -> bool {
        self.met_stale.lock().unwrap_or_else(PoisonError::into_inner).insert(call)
    }
}

fn header(headers: &HeaderMap, name: &str) -> u64 {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}
