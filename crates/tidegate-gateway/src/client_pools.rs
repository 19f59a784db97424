use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Builder, Client, Error, ResponseFuture};
use pin_project::pin_project;
use tidegate::Payload;
use tower::Service;

use crate::connector::Connector;

/// The calls of one pool in flight. Over HTTP/2 those to one host share a connection, and servers allow 100
/// streams on one, or more (RFC 9113, 6.5.2). A further one would wait in the client, while its timeouts run.
const MAX_CALLS: usize = 100;

/// The most pools. With more calls than they allow, their connections have more calls.
const MAX_POOLS: usize = 64;

/// An HTTP client with as many pools of connections as its calls in flight need. A call goes to the first
/// pool that has room, so that few calls share the connections of one.
#[derive(Clone, Debug)]
pub(crate) struct ClientPools(Arc<Pools>);

struct Pools {
    builder: Builder,
    connector: Connector,
    pools: [OnceLock<Client<Connector, Payload>>; MAX_POOLS],
    calls: [AtomicUsize; MAX_POOLS],
}

/// A call in flight. It ends when this is dropped.
#[derive(Debug)]
struct PooledCall {
    pools: Arc<Pools>,
    index: usize,
}

impl ClientPools {
    pub(crate) fn new(builder: Builder, connector: Connector) -> Self {
        let pools = std::array::from_fn(|_| OnceLock::new());
        let calls = std::array::from_fn(|_| AtomicUsize::new(0));
        Self(Arc::new(Pools { builder, connector, pools, calls }))
    }

    fn begin_call(&self) -> PooledCall {
        let begins = |calls: &AtomicUsize| {
            let more = |calls| (calls < MAX_CALLS).then_some(calls + 1);
            calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        let index = self.0.calls.iter().position(begins).unwrap_or_else(|| {
            let loads = self.0.calls.iter().map(|calls| calls.load(Ordering::Relaxed));
            let fewest = loads.enumerate().min_by_key(|(_, calls)| *calls).map_or(0, |(index, _)| index);
            self.0.calls[fewest].fetch_add(1, Ordering::Relaxed);
            fewest
        });
        PooledCall { pools: Arc::clone(&self.0), index }
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Drop for PooledCall {
    fn drop(&mut self) {
        self.pools.calls[self.index].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Payload>> for ClientPools {
    type Response = Response<CountedBody>;
    type Error = Error;
    type Future = CountedResponse;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Payload>) -> CountedResponse {
        let call = self.begin_call();
        let Pools { builder, connector, pools, .. } = &*call.pools;
        let client = pools[call.index].get_or_init(|| builder.build(connector.clone()));
        CountedResponse { inner: client.request(request), call: Some(call) }
    }
}

/// Waits for the response of a call.
#[derive(Debug)]
pub(crate) struct CountedResponse {
    inner: ResponseFuture,
    call: Option<PooledCall>,
}

impl Future for CountedResponse {
    type Output = Result<Response<CountedBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.inner).poll(cx));
        let call = self.call.take();
        Poll::Ready(response.map(|response| response.map(|inner| CountedBody { inner, call })))
    }
}

/// The body of a response, with which its call ends.
#[pin_project]
#[derive(Debug)]
pub(crate) struct CountedBody {
    #[pin]
    inner: Incoming,
    call: Option<PooledCall>,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioExecutor;

    use super::*;
    use crate::config::ConnectionSettings;

    #[test]
    fn a_call_goes_to_the_first_pool_with_room_and_makes_room_when_it_ends() {
        let connector = Connector::new(&ConnectionSettings::default(), None).unwrap();
        let client = ClientPools::new(Client::builder(TokioExecutor::new()), connector);
        let begin = |count: usize| -> Vec<PooledCall> { (0..count).map(|_| client.begin_call()).collect() };
        let indices = |calls: &[PooledCall]| calls.iter().map(|call| call.index).collect::<Vec<_>>();
        let (first, second) = (begin(MAX_CALLS), begin(2));
        assert_eq!((indices(&first), indices(&second)), (vec![0; MAX_CALLS], vec![1; 2]));
        drop(first);
        assert_eq!(indices(&begin(1)), [0]);
        // Beyond all pools, calls go to the one with the fewest.
        let _all = begin(MAX_CALLS * MAX_POOLS - second.len());
        drop(second);
        let _fill = begin(2);
        assert_eq!(indices(&begin(2)), [0, 1]);
    }
}
