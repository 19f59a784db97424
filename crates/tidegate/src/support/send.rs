//! What the services of all layers have: their wrapped service, and one request through a clone of them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower_service::Service;

/// The accessors of the service `S` in this field. `$without` names what `into_inner` drops.
macro_rules! wrapped_service {
    ($field:ident, $without:literal) => {
        /// The wrapped service.
        pub const fn get_ref(&self) -> &S {
            &self.$field
        }

        /// The wrapped service, to be changed.
        pub const fn get_mut(&mut self) -> &mut S {
            &mut self.$field
        }

        #[doc = concat!("The wrapped service, without ", $without, ".")]
        pub fn into_inner(self) -> S {
            self.$field
        }
    };
}

/// The method `send` of a service, with this documentation after its first line.
macro_rules! send_method {
    ($(#[$doc:meta])*) => {
        /// Sends one request through a clone of this service, which is made ready first.
        $(#[$doc])*
        pub fn send<B>(
            &self,
            request: http::Request<B>,
        ) -> crate::send::SendFuture<
            Self,
            http::Request<B>,
            <Self as tower_service::Service<http::Request<B>>>::Future,
        >
        where
            Self: tower_service::Service<http::Request<B>> + Clone,
        {
            crate::send::send(self, request)
        }
    };
}

/// Sends `request` through a clone of `service`, which is made ready first.
pub(crate) fn send<S, R>(service: &S, request: R) -> SendFuture<S, R, S::Future>
where
    S: Service<R> + Clone,
{
    SendFuture { state: State::Readying(Some((service.clone(), request))) }
}

/// Waits until the service is ready, then for its response.
///
/// The same as tower's `Oneshot`, but for the future of the service, which is a parameter of its own: whether
/// this type is `Send` does not depend on the bounds of the service, one of which the compiler cannot prove
/// for an `async` block that returns a [`BoxError`](crate::BoxError).
#[pin_project]
pub struct SendFuture<S, R, F> {
    #[pin]
    state: State<S, R, F>,
}

#[pin_project(project = StateProj)]
enum State<S, R, F> {
    Readying(Option<(S, R)>),
    Calling(#[pin] F),
}

impl<S, R, F> Future for SendFuture<S, R, F>
where
    S: Service<R, Future = F>,
    F: Future<Output = Result<S::Response, S::Error>>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Readying(waiting) => {
                    let (service, _) = waiting.as_mut().expect("polled after completion");
                    ready!(service.poll_ready(cx))?;
                    let (mut service, request) = waiting.take().expect("checked above");
                    let future = service.call(request);
                    state.set(State::Calling(future));
                }
                StateProj::Calling(future) => return future.poll(cx),
            }
        }
    }
}

partial_debug!([S, R, F] SendFuture<S, R, F>, "SendFuture");
