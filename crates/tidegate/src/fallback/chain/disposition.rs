//! Decides, as plain code, what becomes of the result of a target.

use crate::{Gate, Rejection};

/// What becomes of the result of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Returned to the caller: the call has succeeded, or no other target could do better.
    Return,
    /// The failure that was kept is returned to the caller: it is more informative than this one.
    ReturnKept,
    /// The chain goes on. Unless a later target does better, the caller gets this result.
    Keep,
    /// The chain goes on. Any failure that was kept is more informative than this one.
    Discard,
}

/// The facts about an attempt that decide what becomes of its result.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptFacts {
    /// The first target of the chain made the attempt.
    pub(super) is_first: bool,
    pub(super) verdict: PolicyVerdict,
    pub(super) request: SentRequest,
    pub(super) reach: Reach,
    /// An earlier attempt of the call reached a provider.
    pub(super) follows_sent_attempt: bool,
    /// The failure that is kept has a higher rank.
    pub(super) is_outranked: bool,
}

/// How the fallback policy classifies a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyVerdict {
    Success,
    /// A failure that another target would only repeat.
    Final,
    /// The provider refused the model or the key of the target.
    Refused,
    /// A failure that another target may avoid.
    FallBack,
}

/// The request that the target was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentRequest {
    /// The caller's own.
    Original,
    /// The last resort's, with a simplified prompt.
    Simplified,
}

/// How far an attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The target was not called, or one of tidegate's gates rejected the call.
    NotSent,
    /// The request could not be translated for the target.
    Untranslatable,
    /// A provider received the request.
    Provider,
}

impl AttemptFacts {
    pub(super) fn disposition(self) -> Disposition {
        match (self.verdict, self.request, self.reach) {
            (PolicyVerdict::Success, ..) => Disposition::Return,
            (PolicyVerdict::Final | PolicyVerdict::Refused, SentRequest::Original, _) if self.is_first => {
                Disposition::Return
            }
            // What only this target does not accept is less informative than how long to wait for another.
            (PolicyVerdict::Final, SentRequest::Original, _) if self.is_outranked => Disposition::ReturnKept,
            (PolicyVerdict::Final, SentRequest::Original, _) => Disposition::Return,
            // The failure of a simplified request does not concern the caller's own request.
            (_, SentRequest::Simplified, _) | (_, _, Reach::Untranslatable) => Disposition::Discard,
            (_, _, Reach::NotSent) if self.follows_sent_attempt => Disposition::Discard,
            _ if self.is_outranked => Disposition::Discard,
            (_, _, Reach::NotSent | Reach::Provider) => Disposition::Keep,
        }
    }
}

impl Reach {
    /// The reach of an attempt. `rejection` is the rejection that it ended with, if it did; `was_called` is
    /// false if the target did not become ready.
    pub(super) fn of(rejection: Option<&Rejection>, was_called: bool) -> Self {
        match rejection {
            Some(rejection) if rejection.gate() == Gate::Translate => Self::Untranslatable,
            Some(rejection) if !rejection.follows_attempt() => Self::NotSent,
            _ if was_called => Self::Provider,
            _ => Self::NotSent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn every_case_has_a_disposition() {
        use Disposition::{Discard, Keep, Return, ReturnKept};
        use PolicyVerdict::{FallBack, Final, Refused, Success};
        use SentRequest::{Original, Simplified};

        const REACHES: [Reach; 3] = [Reach::NotSent, Reach::Untranslatable, Reach::Provider];
        const FALLS_BACK: [[Disposition; 2]; 3] = [[Keep, Discard], [Discard, Discard], [Keep, Keep]];
        // For each reach: without and with an earlier attempt that reached a provider. At the first target and
        // at another one.
        let table = [
            (Success, Original, [[[Return; 2]; 3]; 2]),
            (Success, Simplified, [[[Return; 2]; 3]; 2]),
            (Final, Original, [[[Return; 2]; 3]; 2]),
            (Final, Simplified, [[[Discard; 2]; 3]; 2]),
            (Refused, Original, [[[Return; 2]; 3], FALLS_BACK]),
            (Refused, Simplified, [[[Discard; 2]; 3]; 2]),
            (FallBack, Original, [FALLS_BACK; 2]),
            (FallBack, Simplified, [[[Discard; 2]; 3]; 2]),
        ];
        for (verdict, request, expected) in table {
            let got = [true, false].map(|is_first| {
                REACHES.map(|reach| {
                    [false, true].map(|follows_sent_attempt| {
                        let facts = AttemptFacts {
                            is_first,
                            verdict,
                            request,
                            reach,
                            follows_sent_attempt,
                            is_outranked: false,
                        };
                        let outranked = AttemptFacts { is_outranked: true, ..facts }.disposition();
                        let disposition = facts.disposition();
                        let expected = match disposition {
                            Keep => Discard,
                            Return if verdict == Final && !is_first => ReturnKept,
                            other => other,
                        };
                        assert_eq!(outranked, expected, "{facts:?}");
                        disposition
                    })
                })
            });
            assert_eq!(got, expected, "{verdict:?}, {request:?}");
        }
    }

    #[test]
    fn the_reach_is_that_of_the_rejection() {
        let rejected = |gate| Rejection::new(gate, ErrorCode::Overloaded);
        let by_circuit = rejected(Gate::CircuitBreaker);
        let after_attempt = by_circuit.clone().after_attempt();
        let by_translation = rejected(Gate::Translate);
        for (rejection, called, not_called) in [
            (None, Reach::Provider, Reach::NotSent),
            (Some(&by_circuit), Reach::NotSent, Reach::NotSent),
            (Some(&after_attempt), Reach::Provider, Reach::NotSent),
            (Some(&by_translation), Reach::Untranslatable, Reach::Untranslatable),
        ] {
            let got = [true, false].map(|was_called| Reach::of(rejection, was_called));
            assert_eq!(got, [called, not_called], "{rejection:?}");
        }
    }
}
