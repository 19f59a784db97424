use std::fmt;
use std::sync::Arc;

use http::Uri;
use tidegate_core::{MissingCapability, ModelCapabilities, ModelCatalog};

use crate::fallback::TargetModel;

/// What the models of the members can do, if that differs between them.
///
/// The requirements of a request are parsed only then: members with the same model can take the same
/// requests.
#[derive(Clone, Default)]
pub(super) struct MemberCapabilities(Option<Differing>);

#[derive(Clone)]
struct Differing {
    catalog: Arc<dyn ModelCatalog>,
    members: Box<[TargetModel]>,
    capabilities: Box<[Option<ModelCapabilities>]>,
}

impl MemberCapabilities {
    /// The capabilities of the members of these names. The model is what follows the first slash.
    pub(super) fn new(
        catalog: Option<Arc<dyn ModelCatalog>>,
        members: impl Iterator<Item = TargetModel>,
    ) -> Self {
        let Some(catalog) = catalog else { return Self::default() };
        let members: Box<[_]> = members.collect();
        let capabilities: Box<[_]> = members.iter().map(|member| member.capabilities(&*catalog)).collect();
        let differ = capabilities.windows(2).any(|two| two[0] != two[1]);
        Self(differ.then_some(Differing { catalog, members, capabilities }))
    }

    /// The members that lack a capability for a request to this URI with this body, and what it is.
    pub(super) fn missing(&self, uri: &Uri, body: Option<&[u8]>) -> Vec<(usize, MissingCapability)> {
        let (Some(Differing { catalog, members, capabilities }), Some(body)) = (&self.0, body) else {
            return Vec::new();
        };
        let requirements = catalog.requirements(body);
        let missing = |(index, member): (usize, &TargetModel)| {
            let capabilities = capabilities[index].as_ref()?;
            Some((index, capabilities.first_missing(&member.lower(requirements, uri))?))
        };
        members.iter().enumerate().filter_map(missing).collect()
    }
}

impl fmt::Debug for MemberCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemberCapabilities").field(&self.0.as_ref().map(|it| &it.capabilities)).finish()
    }
}
