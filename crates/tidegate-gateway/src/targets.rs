//! The targets of the routes: their signals, their health, and the changes by hand.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, Response, StatusCode, Uri};
use serde::Serialize;
use tidegate::alerts::ChainSignals;
use tidegate::circuit_breaker::{Metrics, Settings, Transitions};
use tidegate::fallback::Handle;
use tidegate::group::{self, GroupSnapshot, MemberSnapshot};
use tidegate::stack::{KeySignals, SignalsSnapshot};
use tidegate::{ErrorCode, Signals};
use tokio::time::Instant;

use crate::access::{self, CallerName};
use crate::config::LastResortName;
use crate::endpoint::dialect_of_caller;
use crate::paths::PathText;
use crate::proxy::{GatewayError, shortened};
use crate::running_config::ConfigOfRequest;
use crate::target_health::{HealthStatus, RecentHealth, TargetHealth};

/// The targets of all routes.
#[derive(Debug)]
pub(crate) struct Targets {
    gates: Vec<TargetGates>,
    chains: Vec<TargetsOfRoute>,
}

/// The targets of the chain of a route.
#[derive(Debug)]
pub(crate) struct TargetsOfRoute {
    /// Its path and its `model`.
    pub(crate) name: Arc<str>,
    pub(crate) signals: Vec<Signals>,
}

/// The gates of one target under one policy, and the chains that start with that target.
#[derive(Debug)]
pub(crate) struct TargetGates {
    pub(crate) policy: Arc<str>,
    /// Whether a circuit rejects calls if it is open.
    pub(crate) has_circuit: bool,
    pub(crate) signals: Signals,
    pub(crate) health: RecentHealth,
    pub(crate) chains: Vec<Handle>,
    /// The groups of several members that have it.
    pub(crate) groups: Vec<group::Handle>,
}

/// A target as `/signals` shows it.
#[derive(Serialize)]
pub(crate) struct TargetReport<'a> {
    policy: &'a str,
    has_circuit: bool,
    #[serde(flatten)]
    health: TargetHealth,
    #[serde(flatten)]
    snapshot: SignalsSnapshot,
    circuit_metrics: Metrics,
    /// The groups that it is a member of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Membership>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busiest_keys: Option<Vec<KeySignals>>,
}

/// A target as a member of a group.
#[derive(Serialize)]
struct Membership {
    group: Arc<str>,
    affinity: Option<String>,
    #[serde(flatten)]
    member: MemberSnapshot,
}

/// A change of a target by hand.
#[derive(Clone, Copy, Debug)]
enum TargetAction {
    Reset,
    ForceOpen,
    ForceClosed,
}

/// The most keys of a target that are reported.
const MAX_KEYS: usize = 20;

/// The page of the signals, and the changes by hand.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/signals", get(signals)).route("/signals/{*target_and_action}", post(change))
}

/// Whether a circuit with these settings rejects calls.
pub(crate) fn rejects_calls(circuit_breaker: Option<&Settings>) -> bool {
    circuit_breaker.is_some_and(|settings| settings.enabled && !settings.shadow)
}

async fn signals(Extension(running): ConfigOfRequest, uri: Uri, headers: HeaderMap) -> Response<Body> {
    match check_no_parameters(&uri) {
        Ok(()) => Json(running.targets.iter().map(TargetGates::report).collect::<Vec<_>>()).into_response(),
        Err(error) => error.into_response(dialect_of_caller(uri.path(), &headers)),
    }
}

/// Rejects a query to a page that has no parameters.
pub(crate) fn check_no_parameters(uri: &Uri) -> Result<(), Box<GatewayError>> {
    let Some((name, _)) = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).next() else {
        return Ok(());
    };
    let message = format!("unknown parameter `{}`, expected none", shortened(&name));
    Err(Box::new(GatewayError::new(ErrorCode::InvalidRequest, message)))
}

async fn change(
    Extension(running): ConfigOfRequest,
    PathText(path): PathText,
    caller: Option<Extension<CallerName>>,
    request: Request,
) -> Response<Body> {
    let (uri, headers) = (request.uri(), request.headers());
    if let Err(error) = access::check_content_type(headers, request.body()) {
        return access::rejected(*error, request).await;
    }
    let caller = caller.map(|Extension(CallerName(name))| name);
    match running.targets.change(&path, uri.query().unwrap_or_default(), caller.as_deref()) {
        Ok(changed) => Json(changed).into_response(),
        Err(error) => error.into_response(dialect_of_caller(uri.path(), headers)),
    }
}

impl Targets {
    pub(crate) fn new(
        gates: impl IntoIterator<Item = TargetGates>,
        chains: impl IntoIterator<Item = TargetsOfRoute>,
    ) -> Self {
        Self { gates: gates.into_iter().collect(), chains: chains.into_iter().collect() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TargetGates> {
        self.gates.iter()
    }

    /// The target, the policy, and the changes of state of each circuit from now on.
    pub(crate) fn transitions(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>, Transitions)> {
        self.gates.iter().map(|target| {
            let transitions = target.signals.circuit_breaker().subscribe();
            (Arc::clone(target.signals.target()), Arc::clone(&target.policy), transitions)
        })
    }

    /// Whether `name` is a target of a route, or a last resort.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.gates.iter().any(|target| **target.signals.target() == *name)
            || LastResortName::ALL.iter().any(|resort| resort.name() == name)
    }

    /// The names of the targets that are not healthy, or were not up to a second ago.
    pub(crate) fn not_healthy(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let now = Instant::now();
        let recent = |target: &&TargetGates| target.health.recent(&target.signals, now);
        for target in self.gates.iter().filter(|it| recent(it).status != HealthStatus::Healthy) {
            names.push(&**target.signals.target());
        }
        // They are sorted by name.
        names.dedup();
        names
    }

    /// Sets the metrics of the states of the gates.
    pub(crate) fn record_metrics(&self) {
        for TargetGates { policy, signals, .. } in &self.gates {
            signals.record_metrics(&[("policy", policy)]);
        }
    }

    /// Changes the target in `path`, under the policy in `query` or else under all of its policies.
    fn change(
        &self,
        path: &str,
        query: &str,
        caller: Option<&str>,
    ) -> Result<Vec<TargetReport<'_>>, Box<GatewayError>> {
        let not_found = |message: String| Box::new(GatewayError::new(ErrorCode::NotFound, message));
        let (name, action) = path.rsplit_once('/').unwrap_or((path, ""));
        let action = TargetAction::parse(action).ok_or_else(|| {
            let found = shortened(action);
            not_found(format!("expected reset, force-open or force-closed after the target, found `{found}`"))
        })?;
        let policy = policy_of(query)?;
        let named = self.gates.iter().filter(|target| **target.signals.target() == *name);
        let selected = named.filter(|target| policy.as_ref().is_none_or(|policy| **policy == *target.policy));
        let selected: Vec<_> = selected.collect();
        if selected.is_empty() {
            let policy = policy.map(|policy| format!(" with the policy `{}`", shortened(&policy)));
            let policy = policy.unwrap_or_default();
            return Err(not_found(format!("no target `{}`{policy}, see /signals", shortened(name))));
        }
        if let Some(target) = selected.iter().find(|target| !target.has_circuit && action.forces()) {
            let message = format!("policy `{}` has no circuit breaker that rejects calls", target.policy);
            // Not E4001, which can be retried.
            let error = GatewayError::new(ErrorCode::InvalidRequest, message).status(StatusCode::CONFLICT);
            return Err(Box::new(error));
        }
        for target in &selected {
            target.apply(action);
            let (target, policy) = (&**target.signals.target(), &*target.policy);
            tracing::warn!(
                layer = "gateway",
                target,
                policy,
                action = action.name(),
                caller,
                "changed by hand"
            );
        }
        Ok(selected.into_iter().map(TargetGates::report).collect())
    }
}

/// The policy in a query.
fn policy_of(query: &str) -> Result<Option<String>, Box<GatewayError>> {
    let mut policy = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "policy" {
            let message = format!("unknown parameter `{}`, expected policy", shortened(&name));
            return Err(Box::new(GatewayError::new(ErrorCode::InvalidRequest, message)));
        }
        policy = Some(value.into_owned());
    }
    Ok(policy)
}

impl TargetGates {
    fn apply(&self, action: TargetAction) {
        match action {
            TargetAction::Reset => {
                self.signals.reset();
                self.groups.iter().for_each(|group| _ = group.reset(self.signals.target()));
            }
            TargetAction::ForceOpen => self.signals.circuit_breaker().force_open(),
            TargetAction::ForceClosed => self.signals.circuit_breaker().force_closed(),
        }
    }

    fn membership(&self, group: &group::Handle) -> Option<Membership> {
        let GroupSnapshot { group, affinity, members } = group.snapshot();
        let member = members.into_iter().find(|member| member.target == *self.signals.target())?;
        Some(Membership { group, affinity, member })
    }

    fn report(&self) -> TargetReport<'_> {
        TargetReport { busiest_keys: Some(self.signals.keys(MAX_KEYS)), ..self.summary() }
    }

    /// The report without the keys.
    pub(crate) fn summary(&self) -> TargetReport<'_> {
        let mut snapshot = self.signals.snapshot();
        // In the gateway the fallback is outside of the stack, once per chain, and chains may share targets.
        for more in self.chains.iter().flat_map(Handle::statistics) {
            match snapshot.fallback.iter_mut().find(|known| known.target == more.target) {
                Some(known) => known.merge(&more),
                None => snapshot.fallback.push(more),
            }
        }
        TargetReport {
            policy: &self.policy,
            has_circuit: self.has_circuit,
            health: self.health.current(&self.signals, Instant::now()),
            snapshot,
            circuit_metrics: self.signals.circuit_metrics(),
            groups: self.groups.iter().filter_map(|group| self.membership(group)).collect(),
            busiest_keys: None,
        }
    }
}

impl Targets {
    /// The signals of all targets, under each policy.
    pub(crate) fn snapshots(&self) -> Vec<SignalsSnapshot> {
        self.gates.iter().map(|target| target.signals.snapshot()).collect()
    }

    /// The signals of the targets of each route. A single route has all targets, and is left out.
    pub(crate) fn chains(&self) -> Vec<ChainSignals> {
        let chains = if self.chains.len() == 1 { &[] } else { &*self.chains };
        let signals = |chain: &TargetsOfRoute| chain.signals.iter().map(Signals::snapshot).collect();
        chains.iter().map(|it| ChainSignals { name: Arc::clone(&it.name), targets: signals(it) }).collect()
    }
}

impl TargetAction {
    const ALL: [Self; 3] = [Self::Reset, Self::ForceOpen, Self::ForceClosed];

    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ForceOpen => "force-open",
            Self::ForceClosed => "force-closed",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    const fn forces(self) -> bool {
        !matches!(self, Self::Reset)
    }
}
