use std::sync::Arc;

use http::Extensions;

/// Which member of a group responded; in the extensions of the response of a group of several members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub(super) group: Arc<str>,
    pub(super) member: Arc<str>,
}

/// The member with the late attempt, in the extensions of the hedge request, which another member takes.
#[derive(Clone, Debug)]
pub(crate) struct LateMember(pub(crate) Arc<str>);

impl GroupMember {
    /// The member that sent this response, if it is from a group.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The name of the group.
    #[must_use]
    pub const fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// The name of the member.
    #[must_use]
    pub const fn member(&self) -> &Arc<str> {
        &self.member
    }
}
