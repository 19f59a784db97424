use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tidegate_core::ModelCatalog;
use tower_service::Service;

use super::members::Members;
use super::{Affinity, Handle, Member, ResponseBody, ResponseFuture};
use crate::body::{as_payload, buffered};
use crate::fallback::TargetModel;
use crate::settings::ConfigError;
use crate::{BoxError, Error, HttpService, Payload};

/// Several services that can take the same calls; see the [module page](crate::group).
///
/// Clones share the state of the members.
#[derive(Clone, Debug)]
pub struct Group<S> {
    /// The only member, or a clone of the first one.
    first: S,
    members: Arc<Members<S>>,
    is_single: bool,
}

impl<S: Clone> Group<S> {
    /// A group of these members, named `name` in trails, signals and metrics.
    ///
    /// # Errors
    ///
    /// There is no member, or more than 64; two members have one name; a weight is not from 0.001 to 1000.
    pub fn new<M: Into<Member<S>>>(
        name: &str,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Self, ConfigError> {
        let members = Members::new(name, members.into_iter().map(Into::into).collect())?;
        let first = members.members[0].service.clone();
        Ok(Self { first, is_single: members.members.len() == 1, members: Arc::new(members) })
    }

    /// Conversations stay with a member as long as it is healthy and has no more than its share of the calls.
    /// By default every call takes any member.
    #[must_use]
    pub fn affinity(self, affinity: impl Into<Option<Affinity>>) -> Self {
        let members = Members::clone(&self.members).with_affinity(affinity.into());
        Self { members: Arc::new(members), ..self }
    }

    /// The capabilities of the models behind the members, looked up by their names. The default is the
    /// `ModelTable` of the providers; with an empty table, every member takes every request. If no member is
    /// known to support a request, all may take it: the provider decides more reliably.
    #[must_use]
    pub fn models(self, models: impl ModelCatalog) -> Self {
        self.with_catalog(Some(Arc::new(models)))
    }

    pub(crate) fn with_catalog(self, catalog: Option<Arc<dyn ModelCatalog>>) -> Self {
        let members = Members::clone(&self.members).with_catalog(catalog);
        Self { members: Arc::new(members), ..self }
    }

    /// The members replace the credential of a request by their own.
    #[cfg(any(test, all(feature = "config", feature = "translate")))]
    pub(crate) fn with_own_accounts(self) -> Self {
        let members = Members::clone(&self.members).with_own_accounts();
        Self { members: Arc::new(members), ..self }
    }

    /// Each member for which `is_unchanged` returns true shares what was learned about that of its name in
    /// `other`: for a group that replaces another one while the program runs.
    #[must_use]
    pub fn state_of<T>(self, other: &Group<T>, is_unchanged: impl Fn(&str) -> bool) -> Self {
        let members = Members::clone(&self.members).with_state_of(&other.members, is_unchanged);
        Self { members: Arc::new(members), ..self }
    }
}

impl<S> Group<S> {
    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.members.group
    }

    /// The names of the members, in their order.
    pub fn members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.members.iter().map(|member| &member.name)
    }

    /// The models of the members, in their order.
    pub(crate) fn models_of_members(&self) -> impl Iterator<Item = TargetModel> {
        self.members.members.iter().map(Member::model)
    }

    /// The name of a member that would take this request now. Acquires and counts nothing; of members that
    /// are equally good, it is another one each time.
    #[must_use]
    pub fn choose_for<B: 'static>(&self, request: &Request<B>) -> &Arc<str> {
        let Members { affinity, members, .. } = &*self.members;
        let key = affinity.as_ref().and_then(|affinity| affinity.key(request));
        let chosen = match key {
            None => self.members.choose_by_load(self.members.all(), request),
            key => self.members.choose(self.members.all(), request, key, true).map(|choice| choice.chosen),
        };
        &members[chosen.map_or(0, |chosen| chosen.index)].name
    }

    /// The service of the only member, if there are no others.
    pub(crate) fn only_member(&self) -> Option<&S> {
        self.is_single.then_some(&self.first)
    }

    /// The service of the first member.
    pub const fn get_ref(&self) -> &S {
        &self.first
    }

    send_method!();

    /// The handle of the group.
    #[must_use]
    pub fn handle(&self) -> Handle
    where
        S: Send + Sync + 'static,
    {
        Handle::new(Arc::clone(&self.members))
    }
}

impl<S, B> Service<Request<B>> for Group<S>
where
    S: HttpService<Payload> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, B>;

    /// The readiness of the only member. A group of several is always ready: the request decides which member
    /// has to be.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.is_single { self.first.poll_ready(cx).map_err(Error::new) } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.is_single {
            return ResponseFuture::of_only_member(self.first.call(request.map(as_payload)));
        }
        let (head, body) = request.into_parts();
        let members = Arc::clone(&self.members);
        match buffered(body) {
            Ok(body) => ResponseFuture::calling(members, Request::from_parts(head, body)),
            Err(body) => ResponseFuture::collecting(members, Request::from_parts(head, body)),
        }
    }
}
