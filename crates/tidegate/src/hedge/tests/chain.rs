//! Hedges at the other targets of a chain.

use super::*;
use crate::fallback::{FallbackInfo, FallbackOverride};
use crate::{ErrorCode, Gate, Rejection, Resilience, RetryLayer};
use tidegate_testkit::strict::Strict;

struct Chain {
    service: Resilience<Strict<Payload>>,
    targets: [Handle; 3],
}

async fn chain(hedge: HedgeLayer) -> Chain {
    let targets = [strict(), strict(), strict()];
    let [first, second, third] = targets.each_ref().map(|(service, _)| service.clone());
    let target =
        |name: &str, service| ResilienceBuilder::new(name).classify(StatusClassifier).service(service);
    let fallback = FallbackLayer::new()
        .then_addressed("b/m", target("b/m", second))
        .then_addressed("c/m", target("c/m", third));
    let service = stack("a/m").hedge(hedge).fallback(fallback).service(first);
    let targets = targets.map(|(_, handle)| handle);
    warm_up(&mut service.clone(), &targets[0]).await;
    Chain { service, targets }
}

impl Chain {
    /// The calls of each target since the warm-up.
    fn calls(&self) -> [usize; 3] {
        let [first, second, third] = self.targets.each_ref().map(Handle::calls);
        [first - USUAL_CALLS as usize, second, third]
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_target_is_sent_the_request_as_well() {
    let mut chain = chain(HedgeLayer::new()).await;
    chain.targets[0].hang();
    chain.targets[1].answer(200).after(SECOND).body("of b");
    let response = call(&mut chain.service).await.unwrap();
    assert_eq!((chain.calls(), chain.targets[0].live_futures()), ([1, 1, 0], 0));
    let hedge = response.extensions().get::<HedgeInfo>().unwrap();
    assert_eq!((hedge.target(), hedge.won()), ("b/m", true));
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "b/m");
    let trail = Trail::of(response.extensions()).unwrap();
    let steps: Vec<_> = trail
        .steps()
        .into_iter()
        .map(|step| (step.target.as_deref().unwrap().to_owned(), step.verdict))
        .collect();
    assert!(steps[0].0 == "a/m" && is_hedge_at(&steps[0].1, "b/m"), "{steps:?}");
    assert_eq!(steps[1], ("b/m".to_owned(), Verdict::Succeeded));
    assert_eq!(steps[2], ("a/m".to_owned(), Verdict::Cancelled));
    assert_eq!((trail.attempts(), trail.target().as_deref()), (2, Some("b/m")));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "of b");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_beside_it_the_hedge_is_the_fallback() {
    let mut chain = chain(HedgeLayer::new()).await;
    chain.targets[0].answer(503).after(2 * SECOND);
    chain.targets[1].answer(200).after(3 * SECOND).body("of b");
    let response = call(&mut chain.service).await.unwrap();
    assert_eq!(chain.calls(), [1, 1, 0]);
    assert!(response.extensions().get::<HedgeInfo>().unwrap().won());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "of b");
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_chain_goes_on_behind_them() {
    for times in [[2, 3], [3, 1]] {
        let mut chain = chain(HedgeLayer::new()).await;
        for (target, time) in chain.targets.iter().zip(times) {
            target.answer(503).after(time * SECOND);
        }
        chain.targets[2].answer(200).body("of c");
        let response = call(&mut chain.service).await.unwrap();
        assert_eq!(chain.calls(), [1, 1, 1]);
        let trail = verdicts(Trail::of(response.extensions()).unwrap());
        let failed = Verdict::Failed(ErrorCode::Overloaded);
        assert_eq!(trail[1..3], [failed.clone(), failed]);
        let because = Some(ErrorCode::Overloaded);
        assert_eq!(trail[3..], [Verdict::FellBack { to: "c/m".into(), because }, Verdict::Succeeded]);
        assert!(!response.extensions().get::<HedgeInfo>().unwrap().won());
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_ready_is_passed_over() {
    let mut chain = chain(HedgeLayer::new()).await;
    chain.targets[0].answer(503).after(10 * SECOND);
    chain.targets[1].block();
    chain.targets[2].answer(503).after(SECOND);
    let mut late = tokio_test::task::spawn(chain.service.send(request()));
    assert!(late.poll().is_pending());
    tokio::time::sleep(3 * SECOND).await;
    assert!(late.poll().is_pending());
    assert_eq!(chain.calls(), [1, 0, 1]);
    tokio::time::sleep(3 * SECOND).await;
    assert!(late.poll().is_pending());
    assert_eq!(chain.targets[2].live_futures(), 0);
    // It is still a target of the chain, unlike the one that has failed.
    chain.targets[1].unblock();
    chain.targets[1].answer(200).body("of b");
    let response = late.await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "of b");
    assert_eq!(chain.calls(), [1, 1, 1]);
    let _ = call(&mut chain.service).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_target_is_the_last_choice_and_can_be_ruled_out() {
    for same_target in [true, false] {
        let mut chain = chain(HedgeLayer::new().same_target(same_target)).await;
        chain.targets[0].answer(200).after(5 * SECOND);
        chain.targets[0].answer(200).after(SECOND);
        chain.targets[1..].iter().for_each(Handle::block);
        call(&mut chain.service).await.unwrap();
        assert_eq!(chain.calls(), [1 + usize::from(same_target), 0, 0]);
    }
}

/// The same for a target that is not the first.
#[tokio::test(start_paused = true)]
async fn the_second_target_is_hedged_at_itself_unless_that_is_ruled_out() {
    for same_target in [true, false] {
        let mut chain = chain(HedgeLayer::new().same_target(same_target)).await;
        for _ in 0..USUAL_CALLS {
            chain.targets[0].answer(503);
            chain.targets[1].answer(200).after(SECOND);
            call(&mut chain.service).await.unwrap();
        }
        let before = chain.calls();
        chain.targets[0].answer(503);
        chain.targets[1].answer(200).after(5 * SECOND);
        chain.targets[1].answer(200).after(SECOND);
        chain.targets[2].block();
        call(&mut chain.service).await.unwrap();
        assert_eq!(chain.calls()[1] - before[1], 1 + usize::from(same_target));
    }
}

#[tokio::test(start_paused = true)]
async fn without_fallbacks_the_same_target_is_sent_the_request() {
    let mut chain = chain(HedgeLayer::new()).await;
    chain.targets[0].hang();
    chain.targets[0].answer(200);
    let request = request_with(FallbackOverride::off());
    assert_eq!(send(&mut chain.service, request).await.unwrap().status(), 200);
    assert_eq!(chain.calls(), [2, 0, 0]);
}

/// Each target would hedge itself otherwise.
#[tokio::test(start_paused = true)]
async fn the_targets_of_a_chain_that_hedges_do_not_hedge() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let (of_first, of_second) = (HedgeLayer::new(), HedgeLayer::new());
    let next = stack("b/m").hedge(of_second.clone()).service(second);
    let inner = stack("a/m").hedge(of_first.clone()).service(first);
    let mut chain = FallbackLayer::new()
        .hedge(HedgeLayer::new())
        .then_addressed("b/m", next.clone())
        .layer(inner.clone());
    warm_up(&mut next.clone(), &other).await;
    warm_up(&mut inner.clone(), &primary).await;
    warm_up(&mut chain, &primary).await;
    let before = (primary.calls(), other.calls());
    primary.otherwise(Answer::status(200).after(60 * SECOND));
    other.otherwise(Answer::status(200).after(60 * SECOND));
    call(&mut chain).await.unwrap();
    assert_eq!((primary.calls() - before.0, other.calls() - before.1), (1, 1));
    assert_eq!((of_first.handle().statistics().hedges, of_second.handle().statistics().hedges), (0, 0));
}

/// It would be several attempts otherwise, and a canned answer would overtake the attempt in progress.
#[tokio::test(start_paused = true)]
async fn a_hedge_at_a_chain_is_sent_to_one_of_its_targets_and_takes_no_last_resort() {
    fn rejected() -> Rejection {
        Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded)
    }
    let results: [(fn() -> Answer, usize); 3] = [
        (|| Answer::status(503), 1),
        (|| Answer::error("connection reset"), 1),
        (|| Answer::error_with(|| rejected().into()), 2),
    ];
    for (result, expected) in results {
        let ((first, late), (second, one), (third, other)) = (strict(), strict(), strict());
        let target = |name, service| ResilienceBuilder::new(name).classify(StatusClassifier).service(service);
        let fallback =
            FallbackLayer::new().then_addressed("c/m", target("c/m", third)).then_emergency("busy");
        let nested = ResilienceBuilder::new("b/m").classify(StatusClassifier).fallback(fallback);
        let fallback = FallbackLayer::new().then_addressed("b/m", nested.service(second));
        let hedge = HedgeLayer::new().same_target(false);
        let mut service = stack("a/m").hedge(hedge).fallback(fallback).service(first);
        warm_up(&mut service, &late).await;
        [&one, &other].into_iter().for_each(|target| drop(target.otherwise(result())));
        late.answer(200).after(20 * SECOND).body("of a");
        let response = send(&mut service, chat_request(r#"{"messages":[]}"#)).await.unwrap();
        assert_eq!(one.calls() + other.calls(), expected);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "of a");
    }
}

#[cfg(all(feature = "config", feature = "translate"))]
mod by_name {
    use super::*;
    use crate::chain::Providers;
    use crate::{FallbackChain, ResilienceConfig};

    const NAMES: [&str; 2] = ["one/m", "two/m"];

    fn policy(hedge: bool) -> ResilienceConfig {
        let hedge = hedge.then(Settings::default);
        ResilienceConfig { hedge, ..ResilienceConfig::default() }
    }

    fn chat() -> Request<Payload> {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
        Request::post("http://any/v1/chat/completions").body(body.into()).unwrap()
    }

    /// The hosts that a late call is sent to.
    async fn hosts(chain: FallbackChain) -> Vec<String> {
        let (client, provider) = strict();
        let providers = ["one", "two"].into_iter().fold(Providers::empty(), |providers, name| {
            let settings = crate::chain::ProviderSettings::openai(format!("http://{name}.test/v1"));
            providers.with(name, settings)
        });
        let chain = chain.providers(providers).service(client).unwrap();
        let answer = || {
            let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
            Answer::status(200).header("content-type", "application/json").body(body).after(SECOND)
        };
        for _ in 0..USUAL_CALLS {
            provider.then(answer());
            chain.send(chat()).await.unwrap();
        }
        provider.hang();
        provider.then(answer());
        chain.send(chat()).await.unwrap();
        let requests = &provider.requests()[USUAL_CALLS as usize..];
        requests.iter().map(|request| request.uri.host().unwrap().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_of_a_chain_hedges_at_the_next_target() {
        assert_eq!(hosts(FallbackChain::new(NAMES).policy(policy(true))).await, ["one.test", "two.test"]);
        let of_first = FallbackChain::new(NAMES).policy(policy(true)).policy_of("one/m", policy(true));
        assert_eq!(hosts(of_first).await, ["one.test", "two.test"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_of_a_target_hedges_at_that_target() {
        let of_first = FallbackChain::new(NAMES).policy_of("one/m", policy(true));
        assert_eq!(hosts(of_first).await, ["one.test", "one.test"]);
    }
}

/// One hedge per call, though the second target is late as well.
#[tokio::test(start_paused = true)]
async fn a_call_is_hedged_once() {
    let mut chain = chain(HedgeLayer::new()).await;
    let mut second = chain.service.clone();
    for _ in 0..USUAL_CALLS {
        chain.targets[0].answer(503);
        chain.targets[1].answer(200).after(SECOND);
        call(&mut second).await.unwrap();
    }
    let before = chain.calls();
    chain.targets[0].answer(503).after(2 * SECOND);
    chain.targets[1].answer(503).after(2 * SECOND);
    chain.targets[2].answer(200).after(30 * SECOND);
    call(&mut chain.service).await.unwrap();
    let calls = chain.calls();
    assert_eq!(std::array::from_fn(|index| calls[index] - before[index]), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn each_target_has_times_of_its_own() {
    let mut chain = chain(HedgeLayer::new()).await;
    for _ in 0..USUAL_CALLS {
        chain.targets[0].answer(503);
        chain.targets[1].answer(200).after(10 * SECOND);
        call(&mut chain.service).await.unwrap();
    }
    chain.targets[0].answer(503);
    chain.targets[1].hang();
    chain.targets[2].answer(200);
    let start = clock::now();
    call(&mut chain.service).await.unwrap();
    assert_eq!((clock::now() - start).as_secs(), 10);
}

/// Regression: a hedge was the last target whatever followed it, and left no time for the others.
#[tokio::test(start_paused = true)]
async fn a_hedge_leaves_the_reserve_to_the_targets_behind_it() {
    // The targets behind the one of the hedge, and the time and the status of the call.
    for (behind, expected) in [(0, (30, None)), (1, (20, Some(200)))] {
        let [(first, late), (second, hedged), (third, last)] = [strict(), strict(), strict()];
        let reserving = |name| {
            let retry = RetryLayer::exponential().reserve_for_fallback(10 * SECOND);
            ResilienceBuilder::new(name).classify(StatusClassifier).retry(retry)
        };
        let mut fallback = FallbackLayer::new().then_addressed("b/m", reserving("b/m").service(second));
        if behind > 0 {
            fallback = fallback.then_addressed("c/m", reserving("c/m").service(third));
        }
        let mut service = stack("a/m").fallback(fallback).service(first);
        warm_up(&mut service, &late).await;
        late.answer(503).after(5 * SECOND);
        hedged.hang();
        last.answer(200);
        let start = clock::now();
        let result = send(&mut service, with_deadline(request(), 30 * SECOND)).await;
        let status = result.ok().map(|response| response.status().as_u16());
        assert_eq!(((clock::now() - start).as_secs(), status), expected, "{behind} behind");
        assert_eq!((hedged.calls(), last.calls()), (1, behind));
    }
}

/// Regression: only the responses of targets had it, unless they were kept.
#[tokio::test(start_paused = true)]
async fn every_response_to_a_hedged_call_names_the_hedge() {
    let prompt = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let unsent = || Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into();
    for (has_last_resort, of_hedge, status) in [
        (true, Answer::status(503), 200),
        (true, Answer::error_with(unsent), 200),
        (false, Answer::status(503), 503),
        (false, Answer::error_with(unsent), 503),
    ] {
        let [(first, late), (second, hedged)] = [strict(), strict()];
        let target = ResilienceBuilder::new("b/m").classify(StatusClassifier).service(second);
        let fallback = FallbackLayer::new().then_addressed("b/m", target);
        let fallback = if has_last_resort { fallback.then_emergency("busy") } else { fallback };
        let mut service = stack("a/m").fallback(fallback).service(first);
        warm_up(&mut service, &late).await;
        late.answer(503).after(2 * SECOND);
        hedged.then(of_hedge.after(3 * SECOND));
        let response = send(&mut service, chat_request(prompt)).await.unwrap();
        assert_eq!((response.status().as_u16(), hedged.calls()), (status, 1));
        assert_eq!(response.headers()["x-tidegate-hedge"], "lost");
        let hedge = response.extensions().get::<HedgeInfo>().unwrap();
        assert_eq!((hedge.target(), hedge.won()), ("b/m", false));
    }
}

/// Regression: a chain around another one waits in its place, and this one never waits.
#[tokio::test(start_paused = true)]
async fn a_chain_that_is_hedged_as_a_whole_waits_for_a_cooldown() {
    let ((a, first), (b, second)) = (strict(), strict());
    for provider in [&first, &second] {
        provider.answer(429).header("retry-after", "1");
    }
    let chain = FallbackLayer::new().then("b/m", b).layer(a);
    let mut service = HedgeLayer::new().layer(chain);
    let start = clock::now();
    let response = send(&mut service, with_deadline(request(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), (clock::now() - start).as_secs()), (200, 1));
}
