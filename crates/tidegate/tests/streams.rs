//! Streams through the whole stack: every fixture of the providers crate, split, truncated, broken off and
//! dropped at arbitrary points. The bytes are forwarded unchanged, the outcome is that of the bytes, and each
//! guard receives exactly one end.

use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::sample::Index;
use tidegate::circuit_breaker::State;
use tidegate::providers::{Provider, stream::Scanner};
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, ErrorCode, Outcome, Payload, RateLimitLayer, ResilienceBuilder,
};
use tidegate_core::Scan;
use tidegate_testkit::strict;

struct Fixture {
    name: String,
    bytes: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tidegate-providers/fixtures/streams");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut fixtures: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "sse"))
        .map(|path| Fixture {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            bytes: std::fs::read(&path).unwrap(),
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(fixtures.len() > 80);
    fixtures
}

/// The scanner after the whole stream was read at once. Only the end of the body completes its last event.
fn scanned(provider: Provider, bytes: &[u8], ends: bool) -> Scanner {
    let mut scanner = Scanner::sse(provider);
    scanner.push(bytes);
    if ends {
        scanner.finish();
    }
    scanner
}

/// How the body continues after its last piece.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Ends,
    Breaks,
    Stalls,
}

/// The result of one call.
#[derive(Debug, PartialEq)]
enum End {
    NoHead,
    Dropped,
    Finished,
    Failed,
}

#[derive(Debug)]
struct Play {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
    last: Ending,
    /// The body is dropped after this many frames.
    max_frames: usize,
}

/// Plays a stream through a stack with one permit and a circuit that opens at the first failure.
async fn play(name: &str, play: &Play) -> (End, Vec<u8>) {
    let (inner, provider) = strict::service::<Payload>();
    let answer = provider.answer(200).header("content-type", "text/event-stream");
    let mut start = 0;
    for (number, &cut) in play.cuts.iter().chain([&play.bytes.len()]).enumerate() {
        let answer = answer.clone().frame(play.bytes[start..cut].to_vec());
        if number % 3 == 1 {
            answer.pause(Duration::from_millis(300));
        }
        start = cut;
    }
    match play.last {
        Ending::Ends => {}
        Ending::Breaks => drop(answer.break_off("reset")),
        Ending::Stalls => drop(answer.stall()),
    }
    let breaker = CircuitBreakerLayer::new().failure_threshold(1);
    let service = ResilienceBuilder::new(name)
        .backpressure(BackpressureLayer::max_inflight(1).max_queued(0))
        .rate_limit(RateLimitLayer::per_minute(100))
        .circuit_breaker(breaker.clone())
        .service(inner);
    let signals = service.signals();

    let request = Request::post("http://provider/").body(Payload::from(r#"{"stream":true}"#)).unwrap();
    let (mut read, mut counts_against) = (Vec::new(), false);
    let end = match service.clone().send(request).await {
        Err(error) => {
            counts_against = is_ill(&Outcome::of_error(&*error));
            End::NoHead
        }
        Ok(response) if Outcome::of(&response) != Outcome::Success => {
            counts_against = is_ill(&Outcome::of(&response));
            drop(response);
            End::NoHead
        }
        Ok(response) => {
            let mut body = response.into_body();
            assert_eq!(signals.snapshot().current_inflight, 1, "the permit lives as long as the body");
            let mut frames = 0;
            loop {
                if frames == play.max_frames {
                    break End::Dropped;
                }
                frames += 1;
                match body.frame().await {
                    Some(Ok(frame)) => read.extend(frame.into_data().unwrap()),
                    Some(Err(error)) => {
                        counts_against = is_ill(&Outcome::of_error(&*error));
                        break End::Failed;
                    }
                    None => break End::Finished,
                }
            }
        }
    };
    let snapshot = signals.snapshot();
    assert_eq!((snapshot.current_inflight, snapshot.queued), (0, 0), "{end:?}");
    assert_eq!((provider.live_bodies(), provider.live_futures()), (0, 0));
    let is_open = breaker.handle().state() == State::Open;
    match end {
        // A failure that was read counts; one that had arrived and was not read may count.
        End::Dropped => {
            let has_failure = |bytes: &[u8]| {
                let scanner = scanned(Provider::named(name), bytes, false);
                scanner.state().failure.clone().is_some_and(|failure| is_ill(&failure.into()))
            };
            assert!(is_open || !has_failure(&read), "an error that was read is not a cancelled call");
            assert!(!is_open || has_failure(&play.bytes), "a cancelled call does not open the circuit");
        }
        _ => assert_eq!(is_open, counts_against, "{end:?}"),
    }
    (end, read)
}

fn is_ill(outcome: &Outcome) -> bool {
    outcome
        .failure()
        .is_some_and(|failure| failure.counts_against_health() || failure.code == ErrorCode::QuotaExhausted)
}

fn run(name: &str, the_play: &Play) -> (End, Vec<u8>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(name, the_play))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Pitfall P03 (docs/pitfalls.md).
    #[test]
    fn bytes_are_forwarded_unchanged_and_the_outcome_is_theirs(
        which: Index,
        length: Option<Index>,
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        last in prop_oneof![4 => Just(Ending::Ends), 1 => Just(Ending::Breaks), 1 => Just(Ending::Stalls)],
        max_frames in prop_oneof![Just(usize::MAX), 0usize..12],
    ) {
        let fixtures = fixtures();
        let Fixture { name, bytes } = which.get(&fixtures);
        let provider = Provider::named(name.split('_').next().unwrap());
        let length = length.map_or(bytes.len(), |length| length.index(bytes.len() + 1));
        let bytes = &bytes[..length];
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let the_play = Play { bytes: bytes.to_vec(), cuts, last, max_frames };

        let (end, read) = run(name.split('_').next().unwrap(), &the_play);
        prop_assert!(bytes.starts_with(&read), "{name}: not the provider's bytes");
        // After its stop reason a stream may break off where it may end.
        let unfinished = scanned(provider, bytes, false);
        let has_stopped = unfinished.state().stop.is_some();
        let scanner = scanned(provider, bytes, last == Ending::Ends || has_stopped);
        let state = scanner.state();
        let has_finished = state.failure.is_none() && state.has_finished;
        match end {
            End::Finished => prop_assert!(has_finished && read == bytes, "{name}: {state:?}"),
            End::Failed => prop_assert!(!has_finished && read == bytes, "{name}: {state:?}"),
            End::Dropped => {}
            // A token in an event without its empty line is not one that a reader has received.
            End::NoHead => prop_assert!(
                !unfinished.state().has_started || state.failure.is_some(),
                "{name}: {state:?}"
            ),
        }
    }
}
