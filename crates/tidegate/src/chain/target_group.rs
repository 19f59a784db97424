use crate::group::Affinity;
use crate::settings::ConfigError;

/// One place of a [`FallbackChain`](crate::FallbackChain): a target, or several targets of which any may take
/// a call.
///
/// Any text is a target. See [`group`] for several.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct TargetGroup {
    name: Option<String>,
    targets: Vec<String>,
    weights: Vec<f32>,
    affinity: Option<Affinity>,
}

/// Several targets as one place of a chain, each `provider/model`: deployments or servers of the same model.
///
/// ```
/// use tidegate::FallbackChain;
/// use tidegate::chain::group;
///
/// let gpt = group(["azure-east/gpt-4o", "azure-west/gpt-4o"]).weights([3.0, 1.0]).name("gpt-4o");
/// let chain = FallbackChain::new([gpt, "anthropic/claude-sonnet-4-5".into()]);
/// # let _ = chain;
/// ```
///
/// [`tidegate::group`](mod@crate::group) has how a member is chosen. A target of a provider with several
/// [keys](crate::chain::ProviderSettings::api_keys) has a member for each key.
pub fn group<T: AsRef<str>>(targets: impl IntoIterator<Item = T>) -> TargetGroup {
    let targets: Vec<String> = targets.into_iter().map(|target| target.as_ref().to_owned()).collect();
    TargetGroup { name: None, weights: vec![1.0; targets.len()], targets, affinity: None }
}

impl TargetGroup {
    /// The weight of each target, in their order: its share of the calls beside the others, a number from
    /// 0.001 to 1000. 1 each by default.
    pub fn weights(self, weights: impl IntoIterator<Item = f32>) -> Self {
        Self { weights: weights.into_iter().collect(), ..self }
    }

    /// Conversations stay with a target as long as it is healthy. By default they do not.
    pub fn affinity(self, affinity: Affinity) -> Self {
        Self { affinity: Some(affinity), ..self }
    }

    /// The name in trails, signals and metrics. By default that of the target, or those of all targets with
    /// `|` between.
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// The name that was set, or the default.
    pub(super) fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.targets.join("|"))
    }

    pub(super) fn targets(&self) -> &[String] {
        &self.targets
    }

    /// The targets with their weights.
    pub(super) fn weighted(&self) -> impl Iterator<Item = (&str, f32)> {
        self.targets.iter().map(String::as_str).zip(self.weights.iter().copied())
    }

    pub(super) const fn affinity_of(&self) -> Option<&Affinity> {
        self.affinity.as_ref()
    }

    /// # Errors
    ///
    /// There is no target, or not one weight for each.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match (self.targets.len(), self.weights.len()) {
            (0, _) => {
                Err(ConfigError::new("chain", "expected at least one \"provider/model\" in each group"))
            }
            (targets, weights) if targets != weights => {
                let expected = format!("one weight for each of {targets} targets");
                Err(ConfigError::expected("weights", &expected, weights))
            }
            _ => Ok(()),
        }
    }
}

impl<T: AsRef<str>> From<T> for TargetGroup {
    fn from(target: T) -> Self {
        group([target])
    }
}
