use std::sync::Arc;
use std::time::Duration;

use crate::scenario::{ProviderApi, Scale, Scenario};

/// The numbers of all stacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Attempts at one target, the first included.
    pub(crate) attempts: u32,
    /// The first wait before a retry; each is twice the one before, with jitter.
    pub(crate) initial_delay: Duration,
    /// The longest wait, by back-off or by `Retry-After`.
    pub(crate) max_delay: Duration,
    /// The time of an attempt: to its head, or where a stack reads streams, to the first token and between
    /// tokens.
    pub(crate) attempt: Duration,
    /// The time of the whole call.
    pub(crate) total: Duration,
    /// The part of it that is left to the second target.
    pub(crate) reserve: Duration,
    /// The longest wait for a limit where a stack has no deadlines: it leaves time for an attempt.
    pub(crate) limit_wait: Duration,
    /// The circuit opens at a failure rate of one half of this many calls.
    pub(crate) window: u32,
    /// Or after this many failures in a row.
    pub(crate) consecutive: u32,
    /// The time after which a stack sends an attempt again, if it has hedges and does not measure that.
    pub(crate) hedge_delay: Duration,
    /// How long it stays open.
    pub(crate) cooldown: Duration,
    /// Successful probes that close a circuit.
    pub(crate) probes: u32,
    /// Calls in flight at one target.
    pub(crate) in_flight: usize,
    /// Those that an adaptive limit starts with, and the least that it allows.
    pub(crate) first_in_flight: usize,
    pub(crate) least_in_flight: usize,
}

/// One provider, as it is configured in a stack.
#[derive(Clone, Debug)]
pub(crate) struct TargetPlan {
    pub(crate) name: String,
    /// The group that it is a member of.
    pub(crate) group: Option<String>,
    /// The host, and the port if there is one, of its URL.
    pub(crate) authority: String,
    pub(crate) dialect: ProviderApi,
    /// Its published limits, each for a `minute`.
    pub(crate) requests: Option<u32>,
    pub(crate) tokens: Option<u32>,
}

/// What a stack is built for.
#[derive(Clone, Debug)]
pub(crate) struct StackPlan {
    pub(crate) targets: Vec<TargetPlan>,
    pub(crate) settings: Settings,
    /// The period of the published limits.
    pub(crate) minute: Duration,
    /// Whether the clock is tokio's, and not that of the machine.
    pub(crate) is_virtual: bool,
}

/// The failure rate at which circuits open.
pub(crate) const FAILURE_RATE: f64 = 0.5;

const MINUTE: Duration = Duration::from_secs(60);

impl StackPlan {
    pub(crate) fn new(
        scenario: &Scenario,
        authorities: &Arc<[String]>,
        scale: Scale,
        is_virtual: bool,
    ) -> Self {
        let targets = scenario.providers.iter().zip(authorities.iter());
        let targets = targets.map(|(provider, authority)| TargetPlan {
            name: provider.name.clone(),
            group: provider.group.clone(),
            authority: authority.clone(),
            dialect: provider.dialect,
            requests: provider.requests_per_minute,
            tokens: provider.tokens_per_minute,
        });
        let settings = Settings::new(scenario.patience().0, scenario.providers.len() > 1, scale);
        let minute = MINUTE.div_f64(scale.time);
        Self { targets: targets.collect(), settings, minute, is_virtual }
    }

    /// The time of a call at a target of a stack without deadlines: the reserve is left to the next one, if
    /// there is one.
    pub(crate) fn time_of(&self, target: &TargetPlan) -> Duration {
        let is_last = self.targets.last().is_some_and(|last| last.name == target.name);
        let reserve = if is_last && target.group.is_none() { Duration::ZERO } else { self.settings.reserve };
        self.settings.total - reserve
    }

    /// The targets by their places in the chain: the members of a group share one.
    pub(crate) fn places(&self) -> impl Iterator<Item = &[TargetPlan]> {
        self.targets.chunk_by(|one, next| one.group.is_some() && one.group == next.group)
    }
}

impl Settings {
    /// Those for callers of this patience.
    pub(crate) fn new(patience: Duration, has_fallback: bool, scale: Scale) -> Self {
        let time = |millis| Duration::from_millis(millis).div_f64(scale.time);
        let attempt = time(10_000).min(patience);
        let in_flight = (100.0 / scale.load).round().max(4.0) as usize;
        Self {
            attempts: 3,
            initial_delay: time(500),
            max_delay: time(30_000),
            attempt,
            total: patience,
            limit_wait: patience - attempt.min(patience / 2),
            reserve: if has_fallback { attempt.min(patience / 2) } else { Duration::ZERO },
            window: 100,
            consecutive: 10,
            hedge_delay: time(2_500),
            cooldown: time(30_000),
            probes: 3,
            in_flight,
            first_in_flight: in_flight.min(20),
            least_in_flight: (in_flight / 10).max(1),
        }
    }
}
