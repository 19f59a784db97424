use std::fmt;
use std::sync::Arc;

use tidegate_core::{MissingCapability, ModelCapabilities, ModelCatalog};

use crate::fallback::capabilities_of;

/// What the models of the members can do, if that differs between them.
///
/// The requirements of a request are parsed only then: members with the same model can take the same requests.
#[derive(Clone, Default)]
pub(super) struct MemberCapabilities(Option<Differing>);

#[derive(Clone)]
struct Differing {
    catalog: Arc<dyn ModelCatalog>,
    capabilities: Box<[Option<ModelCapabilities>]>,
}

impl MemberCapabilities {
    /// The capabilities of the members of these names. The model is what follows the first slash.
    pub(super) fn new<'a>(
        catalog: Option<Arc<dyn ModelCatalog>>,
        members: impl Iterator<Item = &'a str>,
    ) -> Self {
        let Some(catalog) = catalog else { return Self::default() };
        let capabilities: Box<[_]> = members.map(|name| capabilities_of(&*catalog, name)).collect();
        let differ = capabilities.windows(2).any(|two| two[0] != two[1]);
        Self(differ.then_some(Differing { catalog, capabilities }))
    }

    /// The members that lack a capability for a request with this body, and what it is.
    pub(super) fn missing(&self, body: Option<&[u8]>) -> Vec<(usize, MissingCapability)> {
        let (Some(Differing { catalog, capabilities }), Some(body)) = (&self.0, body) else {
            return Vec::new();
        };
        let requirements = catalog.requirements(body);
        let known = capabilities.iter().enumerate().filter_map(|(index, it)| Some((index, it.as_ref()?)));
        known.filter_map(|(index, it)| Some((index, it.first_missing(&requirements)?))).collect()
    }
}

impl fmt::Debug for MemberCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemberCapabilities").field(&self.0.as_ref().map(|it| &it.capabilities)).finish()
    }
}
