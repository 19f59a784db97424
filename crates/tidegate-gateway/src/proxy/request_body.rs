//! Reading of the request body, up to the limits of its length, of its time and of all bodies together.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tidegate::ErrorCode;
use tidegate::provider::ErrorBody;
use tokio::time::{Instant, timeout, timeout_at};

use super::GatewayError;
use super::body_budget::{BodyBudget, BudgetExceeded, CallerBytes, HeldBytes};
use super::content_coding::{ContentCoding, UnpackError};
use super::unpack_permits::{CallerUnpacking, UnpackPermits};

/// The limits of request bodies.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    /// The largest body, in bytes, packed and unpacked.
    pub(crate) length: usize,
    /// The least bytes per second that a caller has to send.
    pub(crate) min_rate: usize,
    pub(crate) budget: BodyBudget,
    pub(crate) permits: UnpackPermits,
}

/// What the request bodies of a caller take up.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallerBodies {
    bytes: CallerBytes,
    unpacking: CallerUnpacking,
}

impl BodyLimits {
    /// The limits of a caller whose bodies take up `used`: half of the budget, and at least one body; one
    /// processor.
    pub(super) fn of_caller(&self, used: &CallerBodies) -> Self {
        let budget = self.budget.of_caller((self.budget.limit() / 2).max(self.length), &used.bytes);
        let permits = self.permits.of_caller(&used.unpacking);
        Self { budget, permits, ..self.clone() }
    }
}

/// The time by which a caller may be behind the minimum rate.
const GRACE: Duration = Duration::from_secs(10);

/// The most memory that is reserved because a length was announced, which may be false.
const MAX_RESERVED: usize = 1024 * 1024;

/// The length up to which a body is copied, because its part may be a slice of a larger buffer.
const SMALL: usize = 16 * 1024;

/// The time for which a body that is not accepted is still read and discarded. Many clients read the response
/// only after they have sent the whole body, and would otherwise see a closed connection.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The time after which a body may fit the budget.
const BUDGET_WAIT: Duration = Duration::from_secs(1);

/// The time for unpacking a body, besides that for its bytes.
const UNPACK_TIME: Duration = Duration::from_secs(1);

/// The bytes per second that are unpacked at least.
const MIN_UNPACK_RATE: usize = 16 * 1024 * 1024;

/// The size of a head that does not count in the budget, so that a body of the largest size fits with a usual
/// head.
const USUAL_HEAD: usize = 4 * 1024;

/// Reads a body and unpacks it. What a head exceeds [`USUAL_HEAD`] by is a part of what the body holds, since
/// it is kept for as long. `progressed` is called for each part, and `received` once the whole body has been
/// received.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &BodyLimits,
    progressed: impl Fn(),
    received: impl FnOnce(),
) -> Result<(Bytes, HeldBytes), GatewayError> {
    let codings = ContentCoding::all(headers).map_err(|error| *error)?;
    let mut head_held = limits.budget.hold();
    let head: usize = headers.iter().map(header_size).sum();
    let is_head_held = head_held.grow(head.saturating_sub(USUAL_HEAD));
    let (mut bytes, mut held) = read_packed(headers, body, limits, is_head_held, progressed).await?;
    received();
    if !codings.is_empty() {
        let (length, budget) = (limits.length, limits.budget.clone());
        let unpack = move || unpack(codings, bytes, held, length, &budget);
        (bytes, held) = limits.permits.run(unpack).await??;
    }
    held.join(head_held);
    Ok((bytes, held))
}

/// The size of a header as RFC 9113 counts it, 6.5.2.
fn header_size((name, value): (&HeaderName, &HeaderValue)) -> usize {
    name.as_str().len() + value.len() + 32
}

fn unpack(
    codings: Vec<ContentCoding>,
    mut bytes: Bytes,
    mut held: HeldBytes,
    limit: usize,
    budget: &BodyBudget,
) -> Result<(Bytes, HeldBytes), UnpackError> {
    let time = UNPACK_TIME + Duration::from_secs_f64(limit as f64 / MIN_UNPACK_RATE as f64);
    let deadline = Instant::now() + time;
    // The last coding was applied to all others.
    for coding in codings.into_iter().rev() {
        let mut unpacked_held = budget.hold();
        let unpacked = coding.unpack(&bytes, limit, deadline, &mut unpacked_held)?;
        (bytes, held) = (unpacked.into(), unpacked_held);
    }
    Ok((bytes, held))
}

async fn read_packed(
    headers: &HeaderMap,
    mut body: Body,
    limits: &BodyLimits,
    is_head_held: Result<(), BudgetExceeded>,
    progressed: impl Fn(),
) -> Result<(Bytes, HeldBytes), GatewayError> {
    let is_long = body.size_hint().lower() > limits.length as u64;
    // A caller that sent `Expect` has not sent the body yet, so nothing has to be discarded.
    if is_long && headers.contains_key(EXPECT) {
        return Err(too_long(limits.length));
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(MAX_RESERVED);
    let (mut received, mut held) = (Received::default(), limits.budget.hold());
    // The instant by which the caller is too far behind the minimum rate. Bytes that came faster do not pay
    // for a stall.
    let mut deadline = Instant::now() + GRACE;
    let refused = loop {
        if is_long {
            break too_long(limits.length);
        }
        if let Err(exceeded) = is_head_held {
            break exceeded.into();
        }
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow(limits.min_rate))?;
        let Some(frame) = frame else { return Ok((received.into_bytes(), held)) };
        let frame = frame.map_err(|_| GatewayError::new(ErrorCode::InvalidRequest, "body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        progressed();
        if data.len() > limits.length - received.len() {
            break too_long(limits.length);
        }
        if let Err(exceeded) = held.grow(data.len()) {
            break exceeded.into();
        }
        let paid = Duration::from_secs_f64(data.len() as f64 / limits.min_rate as f64);
        received.push(data, announced);
        deadline = (deadline + paid).min(Instant::now() + GRACE);
    };
    drop((received, held));
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(DISCARD_TIMEOUT, rest).await;
    Err(refused)
}

/// A body so far: its only part as it came, or all parts in one buffer. Parts are not kept one by one: each
/// is a slice of a larger buffer that nothing counts.
#[derive(Default)]
struct Received {
    first: Bytes,
    all: Vec<u8>,
}

impl Received {
    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    /// Adds a part of a body of at least `announced` bytes.
    fn push(&mut self, part: Bytes, announced: usize) {
        if self.len() == 0 {
            self.first = part;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve_exact(announced.max(self.first.len() + part.len()));
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&part);
    }

    fn into_bytes(mut self) -> Bytes {
        if !self.all.is_empty() {
            self.all.shrink_to_fit();
            return self.all.into();
        }
        if self.first.len() > SMALL { self.first } else { Bytes::copy_from_slice(&self.first) }
    }
}

fn too_long(limit: usize) -> GatewayError {
    GatewayError::new(ErrorCode::RequestTooLarge, format_args!("body is larger than {limit} bytes"))
}

fn too_slow(min_rate: usize) -> GatewayError {
    let message = format_args!("body arrived at less than {min_rate} bytes per second");
    GatewayError::new(ErrorCode::Timeout, message).status(StatusCode::REQUEST_TIMEOUT)
}

impl From<BudgetExceeded> for GatewayError {
    fn from(_: BudgetExceeded) -> Self {
        let body = ErrorBody::new(ErrorCode::Overloaded, "too many bytes of request bodies are in flight");
        Self::from_body(body.with_retry_after(Some(BUDGET_WAIT)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::time::sleep;

    use super::*;

    const LIMITS: [usize; 2] = [1_000_000, 1000];

    fn limits(budget: usize) -> BodyLimits {
        let [length, min_rate] = LIMITS;
        let permits = UnpackPermits::of_process();
        BodyLimits { length, min_rate, budget: BodyBudget::new(budget), permits }
    }

    /// A body of `frames` frames of `size` bytes, with a pause after each.
    fn body(frames: usize, size: usize, pause: Duration) -> Body {
        let frames = stream::iter(0..frames).then(move |_| async move {
            sleep(pause).await;
            Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; size])))
        });
        Body::new(StreamBody::new(frames))
    }

    async fn read_plain(body: Body, limits: &BodyLimits) -> Result<usize, String> {
        let read = read(&HeaderMap::new(), body, limits, || {}, || {}).await;
        read.map(|(bytes, _)| bytes.len()).map_err(|error| format!("{error:?}"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_accepted_at_the_minimum_rate_however_long_it_takes() {
        let second = Duration::from_secs(1);
        assert_eq!(read_plain(body(600, 1000, second), &limits(LIMITS[0])).await, Ok(600_000));
        let started = Instant::now();
        let error = read_plain(body(600, 500, second), &limits(LIMITS[0])).await.unwrap_err();
        assert!(error.contains("less than 1000 bytes per second"), "{error}");
        assert_eq!(started.elapsed(), Duration::from_millis(19_500), "19 of 20 frames, and 10 s of grace");
        read_plain(body(1, 1, GRACE * 2), &limits(LIMITS[0])).await.unwrap_err();
    }

    /// Regression: the bytes of a fast beginning paid for a stall of half an hour.
    #[tokio::test(start_paused = true)]
    async fn a_fast_beginning_does_not_pay_for_a_stall() {
        let fast = stream::once(async { Ok(Frame::data(Bytes::from(vec![b'x'; 900_000]))) });
        let stalled = Body::new(StreamBody::new(fast.chain(stream::pending::<Result<_, std::io::Error>>())));
        let started = Instant::now();
        read_plain(stalled, &limits(LIMITS[0])).await.unwrap_err();
        assert_eq!(started.elapsed(), GRACE);
    }

    /// Regression: the stalled bodies of one caller took up the whole budget.
    #[tokio::test(start_paused = true)]
    async fn a_caller_has_half_of_the_budget() {
        let (limits, used) = (BodyLimits { length: 100, ..limits(1000) }, CallerBodies::default());
        let of_caller = limits.of_caller(&used);
        let bodies: Vec<_> = (0..5)
            .map(|_| {
                let limits = of_caller.clone();
                tokio::spawn(async move { read_plain(body(2, 50, Duration::from_secs(1)), &limits).await })
            })
            .collect();
        let sixth = read_plain(body(1, 60, Duration::from_millis(2_500)), &of_caller).await;
        assert_eq!(sixth, Ok(60), "the others have ended");
        for body in bodies {
            assert_eq!(body.await.unwrap(), Ok(100));
        }
        let mut held = of_caller.budget.hold();
        held.grow(500).unwrap();
        read_plain(body(1, 1, Duration::ZERO), &of_caller).await.unwrap_err();
        assert_eq!(read_plain(body(1, 100, Duration::ZERO), &limits).await, Ok(100), "another caller");
        drop(held);
        assert_eq!(read_plain(body(1, 1, Duration::ZERO), &of_caller).await, Ok(1));
    }

    /// Regression: each part of a body was kept with a size of its own, 38 times that of a part of one byte.
    #[test]
    fn parts_are_kept_in_one_buffer_and_a_large_one_is_not_copied() {
        let (large, mut received) = (Bytes::from(vec![b'x'; SMALL + 1]), Received::default());
        received.push(large.clone(), 0);
        assert_eq!(received.into_bytes().as_ptr(), large.as_ptr());

        let mut received = Received::default();
        for part in ["a", "", "b", "cd"] {
            received.push(Bytes::from(part), 3);
        }
        assert_eq!((received.first.len(), received.len()), (0, 4));
        assert_eq!(received.into_bytes(), "abcd");
        assert_eq!(Received::default().into_bytes(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_counts_until_the_body_is_dropped() {
        let limits = limits(1000);
        let mut headers = HeaderMap::new();
        headers.insert("x-long", HeaderValue::from_str(&"x".repeat(USUAL_HEAD + 562)).unwrap());
        let read = async |size| {
            let read = read(&headers, body(1, size, Duration::ZERO), &limits, || {}, || {}).await;
            read.map(|(bytes, held)| held.into_body(bytes)).map_err(|error| error.http_status())
        };
        assert_eq!(read(401).await.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        let body = read(400).await.unwrap();
        assert_eq!(read(0).await.unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        drop(body);
        assert_eq!(read(400).await.unwrap().len(), 400);
    }

    /// Regression: a body as long as the budget did not fit beside its head.
    #[tokio::test(start_paused = true)]
    async fn a_body_of_the_largest_size_fits_with_a_usual_head() {
        let limits = limits(1000);
        let mut headers = HeaderMap::new();
        headers.insert("x-usual", HeaderValue::from_str(&"x".repeat(4_000)).unwrap());
        let read = read(&headers, body(1, 1000, Duration::ZERO), &limits, || {}, || {}).await;
        assert_eq!(read.unwrap().0.len(), 1000);
    }

    /// Regression: the connection was closed while the caller still sent the body.
    #[tokio::test(start_paused = true)]
    async fn the_body_of_a_head_that_does_not_fit_is_discarded() {
        let (limits, parts) = (limits(1000), Arc::new(AtomicUsize::new(0)));
        let mut headers = HeaderMap::new();
        headers.insert("x-long", HeaderValue::from_str(&"x".repeat(10_000)).unwrap());
        let counted = Arc::clone(&parts);
        let body = stream::iter(0..5).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        });
        let error = read(&headers, Body::from_stream(body), &limits, || {}, || {}).await.unwrap_err();
        assert_eq!(
            (error.http_status(), parts.load(Ordering::Relaxed)),
            (StatusCode::SERVICE_UNAVAILABLE, 5)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_share_one_budget_and_only_received_bytes_count() {
        let limits = limits(1000);
        let slow = tokio::spawn({
            let limits = limits.clone();
            async move { read_plain(body(9, 100, Duration::from_millis(100)), &limits).await }
        });
        sleep(Duration::from_millis(50)).await;
        assert_eq!(read_plain(body(1, 900, Duration::ZERO), &limits).await, Ok(900));
        sleep(Duration::from_millis(500)).await;
        let error = read_plain(body(1, 900, Duration::ZERO), &limits).await.unwrap_err();
        assert!(error.contains("E3002") || error.contains("Overloaded"), "{error}");
        assert_eq!(slow.await.unwrap(), Ok(900));
        assert_eq!(read_plain(body(1, 1000, Duration::ZERO), &limits).await, Ok(1000));
    }
}
