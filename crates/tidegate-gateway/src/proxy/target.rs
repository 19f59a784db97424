use tidegate::Resilience;
use tidegate::chain::NamedTarget;

use crate::client::ProviderClient;

/// The gates of one `provider/model` under one policy.
pub(crate) type TargetStack = Resilience<ProviderClient>;

/// A target of a chain, to which each request is translated and addressed.
pub(crate) type AddressedTarget = NamedTarget<TargetStack>;
