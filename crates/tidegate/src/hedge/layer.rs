use std::time::Duration;

use tower_layer::Layer;

use super::response_times::HALF_WINDOW;
use super::settings::Settings;
use super::{Handle, Hedge};
use crate::FallbackLayer;
use crate::layer_state::LayerState;
use crate::settings::ConfigError;

/// Sends a request once more when its first token is late; see the [module page](crate::hedge).
///
/// One layer value is one budget, and one record of the times that each target takes: every service it
/// makes, and every clone of those, shares them, unless [`per_service`](Self::per_service) is set. A setter
/// creates new ones, and the handles that were given out follow them, unless a clone of the layer or a
/// service still uses the state: these keep theirs.
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
pub struct HedgeLayer {
    handle: Handle,
    per_service: bool,
}

impl Default for HedgeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl HedgeLayer {
    /// Hedges the calls that take longer than 95 % of the others, and at most 5 % of all calls and tokens.
    pub fn new() -> Self {
        Self::of(Settings::default())
    }

    /// Creates a layer with these settings.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        Ok(Self::of(settings))
    }

    /// A layer with these settings, which are valid.
    pub(crate) fn of(settings: Settings) -> Self {
        Self { handle: Handle(LayerState::new(settings)), per_service: false }
    }

    /// Hedges nothing, and measures nothing.
    pub fn disabled() -> Self {
        Self::of(Settings { enabled: false, ..Settings::default() })
    }

    /// A call is hedged when its first token is later than that of this many of a hundred calls. 95 by
    /// default. Taken as the next number above 0 and below 100, and a NaN as the default.
    pub fn percentile(self, percentile: f64) -> Self {
        let percentile =
            if percentile.is_nan() { Settings::default().percentile } else { percentile.clamp(0.01, 99.99) };
        self.set(|settings| settings.percentile = percentile)
    }

    /// The calls of a target that are measured before one is hedged. 50 by default, taken as 1 to 512.
    pub fn min_samples(self, calls: u32) -> Self {
        self.set(|settings| settings.min_samples = calls.clamp(1, HALF_WINDOW.into()))
    }

    /// The shortest time after which a call is hedged. 100 ms by default.
    pub fn min_delay(self, delay: Duration) -> Self {
        self.set(|settings| settings.min_delay = delay)
    }

    /// Hedges as a share of the calls, taken as 0 to 1. 0.05 by default.
    pub fn max_extra_requests(self, share: f64) -> Self {
        self.set(|settings| settings.max_extra_requests = share_of(share))
    }

    /// The tokens of the hedges as a share of those of the calls, taken as 0 to 1. 0.05 by default.
    ///
    /// Counted are the estimated tokens of the prompts, and for whole answers the largest output as well: a
    /// stream is cancelled before its first token, and a whole answer when most of it may be complete.
    pub fn max_extra_tokens(self, share: f64) -> Self {
        self.set(|settings| settings.max_extra_tokens = share_of(share))
    }

    /// Whether a call is hedged at its own target if no other target of the chain can take it at once. On by
    /// default.
    pub fn same_target(self, enabled: bool) -> Self {
        self.set(|settings| settings.same_target = enabled)
    }

    /// The name of the first target in events, usually `provider/model`. The first name set is kept.
    pub fn name(self, name: &str) -> Self {
        self.handle.0.name(name);
        self
    }

    /// Gives every service that this layer makes its own budget and times.
    pub fn per_service(self) -> Self {
        Self { per_service: true, ..self }
    }

    /// The settings of the layer.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.handle.settings()
    }

    /// The statistics shared by the services of this layer (those of the template, after
    /// [`per_service`](Self::per_service)).
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.handle.0.to_hand_out())
    }

    /// The handle for one more service or stack.
    pub(crate) fn share(&self) -> Handle {
        if self.per_service { Handle(self.handle.0.fresh(|_| ())) } else { self.handle.clone() }
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        Self { handle: Handle(self.handle.0.replace(change)), ..self }
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Hedge<S> {
        FallbackLayer::new().hedge(self.clone()).layer(inner)
    }
}

/// A share within its bounds; a NaN is none.
const fn share_of(share: f64) -> f64 {
    if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
}
