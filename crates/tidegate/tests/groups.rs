//! Groups under load, in virtual time: what a group of members gets out of them, beside other ways to choose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use tidegate::group::{Affinity, Group, GroupMember, GroupSnapshot, Member};
use tidegate::provider::HttpService;
use tidegate::providers::{Provider as Kind, ProviderClassifier};
use tidegate::{
    BoxError, CircuitBreakerLayer, Deadline, Payload, RateLimitLayer, Resilience, ResilienceBuilder,
};
use tidegate_testkit::provider::InMemory;
use tidegate_testkit::{Provider, Reply};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request() -> Request<Payload> {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body)).unwrap()
}

/// A member with a circuit and a rate limit that is learned from the headers of its provider.
fn stack(name: &str, provider: &InMemory) -> Resilience<InMemory> {
    ResilienceBuilder::new(name)
        .classify(ProviderClassifier::new(Kind::OpenAi))
        .rate_limit(RateLimitLayer::new().max_wait(2 * MINUTE).max_waiting(10_000))
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(provider.clone())
}

fn healthy(latency: Duration) -> InMemory {
    Provider::openai().otherwise(Reply::ok().latency(latency)).service()
}

fn group<const N: usize>(providers: &[InMemory; N]) -> Group<Resilience<InMemory>> {
    let stacks = providers.iter().enumerate().map(|(index, provider)| stack(&format!("{index}/m"), provider));
    Group::new("m", stacks).unwrap()
}

fn logged<const N: usize>(providers: &[InMemory; N]) -> [usize; N] {
    providers.each_ref().map(|provider| provider.log().calls())
}

/// Sends one request and reads its answer; whether it succeeded.
async fn answer<S: HttpService<Payload>>(service: S) -> bool {
    send(service, request()).await.is_some_and(|response| response.status() == 200)
}

async fn send<S: HttpService<Payload>>(service: S, request: Request<Payload>) -> Option<Response<()>> {
    let (head, body) = service.oneshot(request).await.ok()?.into_parts();
    body.collect().await.ok()?;
    Some(Response::from_parts(head, ()))
}

mod unequal_quotas {
    use super::*;

    const QUOTAS: [u32; 3] = [100, 300, 600];
    const DURATION: Duration = Duration::from_secs(30 * 60);
    /// The most calls that the providers accept: the first burst, and the refill of each minute.
    const CAPACITY: f64 = (100 + 300 + 600) as f64 * 31.0;

    fn providers() -> [InMemory; 3] {
        QUOTAS.map(|quota| {
            let provider = Provider::openai().rate_limit(quota, MINUTE).service();
            let mut random = fastrand::Rng::with_seed(u64::from(quota));
            for _ in 0..60_000 {
                provider.script().then(Reply::ok().latency(millis(random.u64(200..3_000))));
            }
            provider
        })
    }

    /// More demand than the quotas allow, in bursts. Calls that still wait at the end are not counted.
    async fn play<S>(service: S)
    where
        S: HttpService<Payload, Body: Send, Future: Send, Error: Send> + Clone + Send + Sync + 'static,
        S::Body: http_body::Body<Data: Send>,
    {
        let mut random = fastrand::Rng::with_seed(5);
        let (start, mut calls) = (Instant::now(), JoinSet::new());
        while start.elapsed() < DURATION {
            for _ in 0..random.u32(0..220) {
                let end = tokio::time::timeout_at(start + DURATION, answer(service.clone()));
                calls.spawn(async { drop(end.await) });
            }
            sleep(millis(random.u64(1_000..9_000))).await;
            while let Some(result) = calls.try_join_next() {
                result.unwrap();
            }
        }
        calls.join_all().await;
    }

    /// Sends each call to the member that `next` names.
    async fn by(next: impl Fn() -> usize + Clone + Send + Sync + 'static) -> [InMemory; 3] {
        let providers = providers();
        let stacks: [_; 3] = std::array::from_fn(|index| stack(&format!("{index}/m"), &providers[index]));
        play(service_fn(move |request: Request<Payload>| stacks[next()].clone().oneshot(request))).await;
        providers
    }

    /// The used part of the quotas, and the part of the attempts with status 429.
    fn row(name: &str, providers: &[InMemory; 3]) -> (f64, f64) {
        let sum = |count: &dyn Fn(&InMemory) -> usize| providers.iter().map(count).sum::<usize>() as f64;
        let attempts = sum(&|provider| provider.log().calls());
        let limited = sum(&|provider| provider.log().responses_with_status(429));
        let (used, limited) = ((attempts - limited) / CAPACITY, limited / attempts);
        println!("| {name} | {attempts} | {:.1} % | {:.3} % |", used * 100.0, limited * 100.0);
        (used, limited)
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_uses_the_quotas_up_with_almost_no_429() {
        fastrand::seed(7);
        println!("| choice (seed 7) | attempts | used | 429 |\n|---|---|---|---|");
        let turn = Arc::new(AtomicUsize::new(0));
        let round_robin = row("round robin", &by(move || turn.fetch_add(1, Ordering::Relaxed) % 3).await);
        let random = row("random", &by(|| fastrand::usize(0..3)).await);
        let providers = providers();
        let service = super::group(&providers);
        play(service.clone()).await;
        let (used, limited) = row("group", &providers);
        assert!(used >= 0.97 && limited <= 0.001, "{:?}", service.handle().snapshot());
        assert!(round_robin.0 < used && random.0 < used);
    }
}

/// Calls `service` at this interval for `duration`, from as many callers as it takes. Returns the calls that
/// failed.
async fn load<S>(service: &S, interval: Duration, duration: Duration) -> usize
where
    S: HttpService<Payload, Body: Send, Future: Send, Error: Send> + Clone + Send + Sync + 'static,
    S::Body: http_body::Body<Data: Send>,
{
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    while start.elapsed() < duration {
        calls.spawn(answer(service.clone()));
        sleep(interval).await;
    }
    calls.join_all().await.into_iter().filter(|is_answered| !is_answered).count()
}

#[tokio::test(start_paused = true)]
async fn a_member_that_dies_costs_at_most_one_attempt_per_cooldown_and_no_call() {
    fastrand::seed(7);
    let providers = [healthy(millis(300)), healthy(millis(300)), healthy(millis(300))];
    let group = group(&providers);
    assert_eq!(load(&group, millis(100), secs(30)).await, 0);
    let before = logged(&providers)[0];
    providers[0].script().otherwise(Reply::status(500));
    assert_eq!(load(&group, millis(100), 10 * MINUTE).await, 0, "a call failed");
    let after = logged(&providers)[0] - before;
    println!("attempts at the dead member in ten minutes: {after} (seed 7)");
    // Cooldowns of 1, 2, 4, 8, 16, 32 and then 60 seconds; its circuit may lengthen them.
    assert!((5..=16).contains(&after), "{after} attempts");
    providers[0].script().otherwise(Reply::ok().latency(millis(300)));
    assert_eq!(load(&group, millis(100), 2 * MINUTE).await, 0);
    let healthy = logged(&providers)[0];
    assert_eq!(load(&group, millis(100), MINUTE).await, 0);
    let share = (logged(&providers)[0] - healthy) as f64 / 600.0;
    assert!((0.25..0.42).contains(&share), "it takes its share again: {share}");
}

/// One call at a time, and many at once.
#[tokio::test(start_paused = true)]
async fn a_slow_member_loses_its_traffic_within_20_calls_and_gets_it_back_within_a_minute() {
    for (name, interval) in [("1 a second", millis(1_000)), ("20 a second", millis(50))] {
        fastrand::seed(7);
        let providers = [healthy(millis(300)), healthy(millis(300)), healthy(millis(300))];
        let group = group(&providers);
        let part = async |calls: u64| {
            let before = logged(&providers)[0];
            load(&group, interval, interval * u32::try_from(calls).unwrap()).await;
            (logged(&providers)[0] - before) as f64 / calls as f64
        };
        let even = part(300).await;
        providers[0].script().otherwise(Reply::ok().latency(secs(3)));
        let (first, slow) = (part(20).await, part(600).await);
        providers[0].script().otherwise(Reply::ok().latency(millis(300)));
        // The calls of a minute, and then as many again.
        let minute = u64::try_from(MINUTE.as_millis() / interval.as_millis()).unwrap();
        let (_, back) = (part(minute).await, part(minute.max(300)).await);
        println!(
            "{name}: {even:.2} before, {first:.2} of the first 20, {slow:.3} slow, {back:.2} after (seed 7)"
        );
        assert!((0.25..0.42).contains(&even), "{name}: {even}");
        assert!(slow < 0.05 && first <= 0.35, "{name}: {first} {slow}");
        assert!((0.25..0.42).contains(&back), "{name}: {back}");
    }
}

/// The calls of each second at each member, for callers that all begin at once.
#[tokio::test(start_paused = true)]
async fn no_member_is_starved_and_no_herd_moves_at_once() {
    fastrand::seed(7);
    let providers: [InMemory; 5] = std::array::from_fn(|_| {
        let provider = healthy(millis(500));
        let mut random = fastrand::Rng::with_seed(5);
        (0..40_000).for_each(|_| provider.script().then(Reply::ok().latency(millis(random.u64(200..800)))));
        provider
    });
    let group = group(&providers);
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..200 {
        let group = group.clone();
        callers.spawn(async move {
            while start.elapsed() < secs(60) {
                assert!(answer(group.clone()).await);
            }
        });
    }
    callers.join_all().await;
    let mut seconds: BTreeMap<u64, [usize; 5]> = BTreeMap::new();
    for (index, provider) in providers.iter().enumerate() {
        for arrival in provider.log().arrivals() {
            seconds.entry(arrival.duration_since(start).as_secs()).or_default()[index] += 1;
        }
    }
    let shares = seconds.range(..60).map(|(_, counts)| {
        let total = counts.iter().sum::<usize>() as f64;
        counts.map(|count| count as f64 / total)
    });
    let all: Vec<f64> = shares.flatten().collect();
    let (least, most) = (all.iter().copied().fold(1.0, f64::min), all.iter().copied().fold(0.0, f64::max));
    println!("share of a member in any second, of five: {least:.2} to {most:.2} (seed 7)");
    assert!(least > 0.12 && most < 0.30, "{least} {most}");
}

/// Conversations of this many calls, each with its own header, at four members. Returns the members of each.
async fn talk(group: &Group<Resilience<InMemory>>, lengths: Vec<usize>, seed: u64) -> Vec<Vec<Arc<str>>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut conversations = JoinSet::new();
    for (number, calls) in lengths.into_iter().enumerate() {
        let (group, seed, begin) = (group.clone(), random.u64(..), millis(random.u64(0..600_000)));
        conversations.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut members = Vec::new();
            sleep(begin).await;
            for _ in 0..calls {
                let mut request = request();
                request.headers_mut().insert("x-conversation", (seed ^ number as u64).into());
                let response = send(group.clone(), request).await.expect("a response");
                members.push(GroupMember::of(response.extensions()).unwrap().member().clone());
                sleep(millis(random.u64(1_000..20_000))).await;
            }
            members
        });
    }
    conversations.join_all().await
}

/// How far the largest and the least load are from even.
fn imbalance(counts: &[usize]) -> f64 {
    let even = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 / even - 1.0).abs()).fold(0.0, f64::max)
}

#[tokio::test(start_paused = true)]
async fn conversations_stay_and_the_load_stays_even() {
    for seed in 1..=3 {
        fastrand::seed(seed);
        let providers: [InMemory; 4] = std::array::from_fn(|_| healthy(millis(700)));
        let group = group(&providers).affinity(Affinity::header(HeaderName::from_static("x-conversation")));
        let mut random = fastrand::Rng::with_seed(seed);
        // A few conversations are much longer than most.
        let lengths = (0..600).map(|number| if number % 20 == 0 { 30 } else { random.usize(2..12) });
        let conversations = talk(&group, lengths.collect(), seed).await;
        let has_stayed = |members: &&Vec<_>| members.windows(2).all(|two| two[0] == two[1]);
        let stayed = conversations.iter().filter(has_stayed).count() as f64 / 600.0;
        let counts = logged(&providers);
        let GroupSnapshot { members, .. } = group.handle().snapshot();
        let kept: u64 = members.iter().map(|member| member.choices.by_affinity).sum();
        let moved: u64 = members.iter().map(|member| member.choices.moved).sum();
        println!(
            "{:.1} % of conversations stayed, load {counts:?}: {:.0} % from even, {moved} calls moved (seed {seed})",
            stayed * 100.0,
            imbalance(&counts) * 100.0,
        );
        assert!(stayed >= 0.95 && imbalance(&counts) <= 0.25, "{counts:?}");
        assert_eq!(kept + moved, counts.iter().sum::<usize>() as u64);
    }
}

/// A single conversation that makes half of all calls does not overload its member.
#[tokio::test(start_paused = true)]
async fn one_conversation_that_is_larger_than_a_share_is_spread() {
    fastrand::seed(7);
    let providers: [InMemory; 4] = std::array::from_fn(|_| healthy(millis(700)));
    let group = group(&providers).affinity(Affinity::header(HeaderName::from_static("x-conversation")));
    let mut calls = JoinSet::new();
    for number in 0..8_000_u64 {
        let mut request = request();
        let conversation = if number % 2 == 0 { 0 } else { number };
        request.headers_mut().insert("x-conversation", conversation.into());
        let group = group.clone();
        calls.spawn(async move { send(group, request).await.expect("a response") });
        sleep(millis(50)).await;
    }
    assert_eq!(calls.join_all().await.len(), 8_000);
    let counts = logged(&providers);
    println!(
        "one conversation with half of the calls: {counts:?}, {:.0} % from even",
        imbalance(&counts) * 100.0
    );
    let most = *counts.iter().max().unwrap() as f64;
    // A quarter more than its share of 2 000, and three deviations of 300 calls a minute, which are 17 per
    // cent.
    assert!(most <= 2_000.0 * 1.45, "{counts:?}");
}

/// Members of any type, without gates: the sum of the calls is right, and each gets its weight.
#[tokio::test(start_paused = true)]
async fn members_without_gates_are_chosen_by_weight() {
    fastrand::seed(7);
    let counts: [Arc<AtomicUsize>; 2] = Default::default();
    let service = |index: usize| {
        let count = Arc::clone(&counts[index]);
        tower::util::BoxCloneSyncService::new(service_fn(move |_: Request<Payload>| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, BoxError>(Response::new(Payload::from("{}"))) }
        }))
    };
    let members = [Member::new("a", service(0)).weight(3.0), Member::new("b", service(1))];
    let group = Group::new("any", members).unwrap();
    for _ in 0..4_000 {
        let mut request = request();
        Deadline::after(MINUTE, Instant::now().into_std()).tighten(request.extensions_mut());
        group.send(request).await.unwrap();
    }
    let share = counts[0].load(Ordering::Relaxed) as f64 / 4_000.0;
    assert!((0.72..0.78).contains(&share), "{share}");
}
