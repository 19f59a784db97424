use http::Request;
use serde_json::{Value, json};
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::{FallbackInfo, FallbackLayer, TargetStatistics};
use crate::providers::ModelTable;
use crate::testing::{send, strict};
use crate::{
    AttemptBudget, ErrorCode, Failure, FailureKind, MissingCapability, ModelCapabilities, Outcome, Payload,
    ResilienceBuilder, Trail, Verdict,
};

fn asking(body: Value) -> Request<Payload> {
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap()
}

/// A prompt of about so many tokens.
fn long(tokens: usize) -> Request<Payload> {
    asking(json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(tokens)}]}))
}

/// What came of a call whose first target failed with `failure`: the status, who answered, and the trail.
struct Told {
    status: u16,
    by: Option<String>,
    verdicts: Vec<Verdict>,
    asked: Vec<usize>,
    statistics: Vec<TargetStatistics>,
}

async fn ask(
    names: &[&str],
    first: impl Fn(&Handle) -> Answer,
    change: impl FnOnce(FallbackLayer) -> FallbackLayer,
    request: Request<Payload>,
) -> Told {
    let (service, handle) = strict();
    let first = first(&handle);
    handle.otherwise(first);
    let targets: Vec<_> = names[1..].iter().map(|name| (name, strict())).collect();
    let chain = targets
        .iter()
        .fold(FallbackLayer::new(), |chain, (name, (service, _))| chain.then(name, service.clone()));
    let mut service = ResilienceBuilder::new(names[0]).fallback(change(chain)).service(service);
    let response = send(&mut service, request).await.unwrap();
    Told {
        status: response.status().as_u16(),
        by: response.extensions().get::<FallbackInfo>().map(|answered| answered.target().to_owned()),
        verdicts: Trail::of(response.extensions())
            .into_iter()
            .flat_map(Trail::steps)
            .map(|step| step.verdict)
            .collect(),
        asked: targets.iter().map(|(_, (_, handle))| handle.calls()).collect(),
        statistics: service.signals().snapshot().fallback,
    }
}

fn unavailable(_: &Handle) -> Answer {
    Answer::status(503)
}

/// What OpenAI says of a prompt that is too long.
fn too_long(_: &Handle) -> Answer {
    let body = json!({"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    Answer::status(400).header("content-type", "application/json").body(body.to_string())
}

fn as_it_is(layer: FallbackLayer) -> FallbackLayer {
    layer
}

/// P31: a fallback was chosen though its context was too small for the prompt (litellm 31557).
#[tokio::test(start_paused = true)]
async fn p31_a_target_whose_context_is_too_small_is_passed_over() {
    let names = ["openai/gpt-4o", "openai/gpt-4", "azure/unheard-of"];
    let told = ask(&names, unavailable, as_it_is, long(9_000)).await;
    assert_eq!((told.status, told.by.as_deref(), told.asked), (200, Some("azure/unheard-of"), vec![0, 1]));
    let lack = MissingCapability::Context { needed: 9_000, limit: 8_192 };
    let because = Some(ErrorCode::Overloaded);
    let [_, passed, fell_back, ..] = &told.verdicts[..] else { panic!("{:?}", told.verdicts) };
    assert_eq!(passed, &Verdict::PassedOver { target: "openai/gpt-4".into(), lack });
    assert_eq!(fell_back, &Verdict::FellBack { to: "azure/unheard-of".into(), because });
    let counted = told.statistics.iter().map(|target| (target.asked, target.passed_over)).collect::<Vec<_>>();
    assert_eq!(counted, [(0, 1), (1, 0)]);
    // One that fits is asked in its turn.
    assert_eq!(ask(&names, unavailable, as_it_is, long(7_000)).await.asked, [1, 0]);
}

/// P31: and so for whatever else it cannot do.
#[tokio::test(start_paused = true)]
async fn p31_a_target_without_tools_eyes_or_schemas_is_passed_over() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    for (name, body, lack) in [
        ("openai/o1-mini", json!({"tools": [{"type": "function"}]}), MissingCapability::Tools),
        (
            "deepseek/deepseek-chat",
            json!({"messages": [{"role": "user", "content": [image]}]}),
            MissingCapability::Vision,
        ),
        ("openai/gpt-4", json!({"response_format": {"type": "json_schema"}}), MissingCapability::JsonSchema),
        (
            "openai/gpt-4o",
            json!({"max_tokens": 20_000}),
            MissingCapability::Output { needed: 20_000, limit: 16_384 },
        ),
    ] {
        let told = ask(&["first", name, "third"], unavailable, as_it_is, asking(body)).await;
        assert_eq!(told.asked, [0, 1], "{name}");
        assert!(
            told.verdicts.contains(&Verdict::PassedOver { target: name.into(), lack }),
            "{:?}",
            told.verdicts
        );
        assert_eq!(
            ask(&["first", name], unavailable, as_it_is, asking(json!({}))).await.asked,
            [1],
            "{name}"
        );
    }
}

/// P31: one who said that it is too long knows better than an estimate.
#[tokio::test(start_paused = true)]
async fn p31_after_a_prompt_was_too_long_only_larger_models_are_asked() {
    let names = ["openai/gpt-4o", "azure/gpt-4o-mini", "deepseek/deepseek-chat"];
    let larger = |layer: FallbackLayer| layer.on_context_length(true);
    let told = ask(&names, too_long, larger, long(10)).await;
    assert_eq!((told.status, told.asked), (200, vec![0, 1]));
    let lack = MissingCapability::Context { needed: 128_001, limit: 128_000 };
    assert!(told.verdicts.contains(&Verdict::PassedOver { target: "azure/gpt-4o-mini".into(), lack }));
    // It is not a case for others unless asked, whoever they are.
    assert_eq!(ask(&names, too_long, as_it_is, long(10)).await.asked, [0, 0]);
}

/// P31: a target in the middle of the chain says it, too.
#[tokio::test(start_paused = true)]
async fn p31_any_target_may_say_that_the_prompt_is_too_long() {
    let [(first, primary), (second, middle), (third, same), (fourth, larger)] =
        [strict(), strict(), strict(), strict()];
    primary.answer(503);
    let failure = Failure { cause: FailureKind::ContextLength, ..Failure::new(ErrorCode::InvalidRequest) };
    middle.answer(400).extension(Outcome::from(failure));
    let chain = FallbackLayer::new().then("openai/gpt-4o", second).then("azure/gpt-4o", third);
    let mut chain = chain.then("openai/gpt-4.1", fourth).on_context_length(true).layer(first);
    assert_eq!(send(&mut chain, long(10)).await.unwrap().status(), 200);
    assert_eq!((middle.calls(), same.calls(), larger.calls()), (1, 0, 1));
}

/// P31: nobody is asked for what it cannot do, not even if nobody else is left.
#[tokio::test(start_paused = true)]
async fn p31_when_all_are_unfit_the_last_real_answer_goes_through() {
    let names = ["openai/gpt-4o", "openai/gpt-4", "openai/o1-mini"];
    let told = ask(&names, unavailable, as_it_is, long(130_000)).await;
    assert_eq!((told.status, told.by, told.asked), (503, None, vec![0, 0]));
    let passed = |verdict: &&Verdict| matches!(verdict, Verdict::PassedOver { .. });
    assert_eq!(told.verdicts.iter().filter(passed).count(), 2);
    // A last resort asks nobody.
    let told = ask(&names, unavailable, FallbackLayer::then_static, long(130_000)).await;
    assert_eq!((told.status, told.by.as_deref()), (200, Some("@static")));
}

/// P31: a simplified prompt is another one, and may fit who could not take the first.
#[tokio::test(start_paused = true)]
async fn p31_a_simplified_prompt_is_judged_anew() {
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let lines = "one line that is short enough\n".repeat(2_000);
    let body = json!({"model": "m", "tools": tools, "messages": [{"role": "user", "content": lines}]});
    let names = ["first", "openai/o1-mini", "openai/gpt-4"];
    let told = ask(&names, unavailable, FallbackLayer::then_simplified, asking(body)).await;
    assert_eq!((told.by.as_deref(), told.asked), (Some("openai/gpt-4"), vec![0, 1]));
}

#[tokio::test(start_paused = true)]
async fn who_is_passed_over_costs_no_attempt() {
    let [(first, primary), (second, small), (third, large)] = [strict(), strict(), strict()];
    primary.answer(503);
    let chain = FallbackLayer::new().then("openai/gpt-4", second).then("openai/gpt-4o", third);
    let mut request = long(9_000);
    request.extensions_mut().insert(AttemptBudget::new(2));
    assert_eq!(send(&mut chain.layer(first), request).await.unwrap().status(), 200);
    assert_eq!((small.calls(), large.calls()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_table_can_be_extended_corrected_and_emptied() {
    let card = |tokens| ModelCapabilities { context_tokens: Some(tokens), ..ModelCapabilities::default() };
    for (models, asked) in [
        (ModelTable::new(), [0, 1]),
        (ModelTable::new().with("gpt-4", card(32_000)), [1, 0]),
        (ModelTable::new().with("acme/", card(1_000)), [0, 0]),
        (ModelTable::empty(), [1, 0]),
    ] {
        let names = ["first", "openai/gpt-4", "acme/own"];
        assert_eq!(ask(&names, unavailable, |layer| layer.models(models), long(9_000)).await.asked, asked);
    }
}
