use std::fmt;
use std::sync::Arc;

use http::Uri;
use tidegate_core::{ModelCapabilities, ModelCatalog, Requirements};

/// The model of a target: the name under which its capabilities are known, and what is changed in a request
/// before it gets it.
#[derive(Clone)]
pub(crate) struct TargetModel {
    pub(crate) name: Arc<str>,
    /// Present if requests may be translated for the target.
    pub(crate) output_cap: Option<OutputCap>,
}

/// The most output tokens to which a translation lowers the limit of a request to this URI; `None` if the
/// request is not translated, or the maximum of the model is not known.
#[derive(Clone)]
pub(crate) struct OutputCap(pub(crate) Arc<FindCap>);

type FindCap = dyn Fn(&Uri) -> Option<u64> + Send + Sync;

impl TargetModel {
    pub(crate) fn capabilities(&self, models: &dyn ModelCatalog) -> Option<ModelCapabilities> {
        models.capabilities(without_key(&self.name))
    }

    /// The requirements of a request to `uri` as they are once it is translated for this target.
    pub(crate) fn lower(&self, requirements: Requirements, uri: &Uri) -> Requirements {
        let Some(limit) = requirements.max_output else { return requirements };
        let cap = self.output_cap.as_ref().and_then(|cap| cap.0(uri)).unwrap_or(limit);
        Requirements { max_output: Some(limit.min(cap)), ..requirements }
    }
}

/// The name of the model of a target: the number of a key, as in `openai/gpt-4o#1`, is no part of it.
pub(super) fn without_key(target: &str) -> &str {
    let is_number = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    target.rsplit_once('#').filter(|(_, key)| is_number(key)).map_or(target, |(model, _)| model)
}

impl fmt::Debug for TargetModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TargetModel").field(&self.name).finish()
    }
}
