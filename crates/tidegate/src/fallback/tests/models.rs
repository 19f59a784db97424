use http::Request;
use serde_json::json;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::{FallbackInfo, FallbackLayer, TargetStatistics};
use crate::providers::ModelTable;
use crate::testing::{chat_request, send, strict, with};
use crate::{
    AttemptBudget, ErrorCode, Failure, FailureKind, MissingCapability, ModelCapabilities, Outcome, Payload,
    ResilienceBuilder, Trail, Verdict,
};

/// A prompt of about `tokens` tokens.
fn long_prompt(tokens: usize) -> Request<Payload> {
    chat_request(json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(tokens)}]}))
}

/// The result of a call after a failure of its first target.
struct CallResult {
    status: u16,
    by: Option<String>,
    verdicts: Vec<Verdict>,
    calls: Vec<usize>,
    statistics: Vec<TargetStatistics>,
}

async fn run(
    names: &[&str],
    first: impl Fn(&Handle) -> Answer,
    change: impl FnOnce(FallbackLayer) -> FallbackLayer,
    request: Request<Payload>,
) -> CallResult {
    let (service, handle) = strict();
    let first = first(&handle);
    handle.otherwise(first);
    let targets: Vec<_> = names[1..].iter().map(|name| (name, strict())).collect();
    let chain = targets
        .iter()
        .fold(FallbackLayer::new(), |chain, (name, (service, _))| chain.then(name, service.clone()));
    let mut service = ResilienceBuilder::new(names[0]).fallback(change(chain)).service(service);
    let response = send(&mut service, request).await.unwrap();
    CallResult {
        status: response.status().as_u16(),
        by: response.extensions().get::<FallbackInfo>().map(|info| info.target().to_owned()),
        verdicts: Trail::of(response.extensions())
            .into_iter()
            .flat_map(Trail::steps)
            .map(|step| step.verdict)
            .collect(),
        calls: targets.iter().map(|(_, (_, handle))| handle.calls()).collect(),
        statistics: service.signals().snapshot().fallback,
    }
}

fn unavailable(_: &Handle) -> Answer {
    Answer::status(503)
}

/// OpenAI's response to a prompt that is too long.
fn too_long(_: &Handle) -> Answer {
    let body = json!({"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    Answer::status(400).header("content-type", "application/json").body(body.to_string())
}

fn unchanged(layer: FallbackLayer) -> FallbackLayer {
    layer
}

/// Pitfall P31 (docs/pitfalls.md): a target was selected although its context was too small for the prompt.
/// (litellm 31557)
#[tokio::test(start_paused = true)]
async fn a_target_with_too_small_a_context_is_skipped() {
    let names = ["openai/gpt-4o", "openai/gpt-4", "azure/unheard-of"];
    let result = run(&names, unavailable, unchanged, long_prompt(9_000)).await;
    assert_eq!(
        (result.status, result.by.as_deref(), result.calls),
        (200, Some("azure/unheard-of"), vec![0, 1])
    );
    let missing = MissingCapability::Context { needed: 9_000, limit: 8_192 };
    let because = Some(ErrorCode::Overloaded);
    let [_, passed, fell_back, ..] = &result.verdicts[..] else { panic!("{:?}", result.verdicts) };
    assert_eq!(passed, &Verdict::Skipped { target: "openai/gpt-4".into(), missing });
    assert_eq!(fell_back, &Verdict::FellBack { to: "azure/unheard-of".into(), because });
    let counts = result.statistics.iter().map(|target| (target.calls, target.skips)).collect::<Vec<_>>();
    assert_eq!(counts, [(0, 1), (1, 0)]);
    // A target with a sufficient context is called in its order.
    assert_eq!(run(&names, unavailable, unchanged, long_prompt(7_000)).await.calls, [1, 0]);
}

/// Pitfall P31 (docs/pitfalls.md): the same for the other capabilities.
#[tokio::test(start_paused = true)]
async fn a_target_without_tools_images_or_schemas_is_skipped() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    for (name, body, missing) in [
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
        let result = run(&["first", name, "third"], unavailable, unchanged, chat_request(body)).await;
        assert_eq!(result.calls, [0, 1], "{name}");
        assert!(
            result.verdicts.contains(&Verdict::Skipped { target: name.into(), missing }),
            "{:?}",
            result.verdicts
        );
        assert_eq!(
            run(&["first", name], unavailable, unchanged, chat_request(json!({}))).await.calls,
            [1],
            "{name}"
        );
    }
}

/// Pitfall P31 (docs/pitfalls.md): a provider's rejection is more reliable than an estimate.
#[tokio::test(start_paused = true)]
async fn after_a_context_length_error_only_larger_models_are_called() {
    let names = ["openai/gpt-4o", "azure/gpt-4o-mini", "deepseek/deepseek-chat"];
    let larger = |layer: FallbackLayer| layer.on_context_length(true);
    let result = run(&names, too_long, larger, long_prompt(10)).await;
    assert_eq!((result.status, result.calls), (200, vec![0, 1]));
    let missing = MissingCapability::Context { needed: 128_001, limit: 128_000 };
    assert!(result.verdicts.contains(&Verdict::Skipped { target: "azure/gpt-4o-mini".into(), missing }));
    // Without the setting there is no fallback, whatever the targets are.
    assert_eq!(run(&names, too_long, unchanged, long_prompt(10)).await.calls, [0, 0]);
}

/// Pitfall P31 (docs/pitfalls.md): a rejection by a target in the middle of the chain counts, too.
#[tokio::test(start_paused = true)]
async fn a_context_length_error_of_any_target_counts() {
    let [(first, primary), (second, middle), (third, same), (fourth, larger)] =
        [strict(), strict(), strict(), strict()];
    primary.answer(503);
    let failure = Failure { kind: FailureKind::ContextLength, ..Failure::new(ErrorCode::InvalidRequest) };
    middle.answer(400).extension(Outcome::from(failure));
    let chain = FallbackLayer::new().then("openai/gpt-4o", second).then("azure/gpt-4o", third);
    let mut chain = chain.then("openai/gpt-4.1", fourth).on_context_length(true).layer(first);
    assert_eq!(send(&mut chain, long_prompt(10)).await.unwrap().status(), 200);
    assert_eq!((middle.calls(), same.calls(), larger.calls()), (1, 0, 1));
}

/// Pitfall P31 (docs/pitfalls.md): a target without the capability is not called, even if no other is left.
#[tokio::test(start_paused = true)]
async fn when_no_target_is_capable_the_last_response_is_returned() {
    let names = ["openai/gpt-4o", "openai/gpt-4", "openai/o1-mini"];
    let result = run(&names, unavailable, unchanged, long_prompt(130_000)).await;
    assert_eq!((result.status, result.by, result.calls), (503, None, vec![0, 0]));
    let passed = |verdict: &&Verdict| matches!(verdict, Verdict::Skipped { .. });
    assert_eq!(result.verdicts.iter().filter(passed).count(), 2);
    // A static answer calls no target.
    let result = run(&names, unavailable, FallbackLayer::then_static, long_prompt(130_000)).await;
    assert_eq!((result.status, result.by.as_deref()), (200, Some("@static")));
}

/// Pitfall P31 (docs/pitfalls.md): a target that cannot take the original prompt may be able to take the
/// simplified one.
#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_has_requirements_of_its_own() {
    let tools = json!([{"type": "function", "function": {"name": "weather"}}]);
    let lines = "one line that is short enough\n".repeat(2_000);
    let body = json!({"model": "m", "tools": tools, "messages": [{"role": "user", "content": lines}]});
    let names = ["first", "openai/o1-mini", "openai/gpt-4"];
    let result = run(&names, unavailable, FallbackLayer::then_simplified, chat_request(body)).await;
    assert_eq!((result.by.as_deref(), result.calls), (Some("openai/gpt-4"), vec![0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_skipped_target_costs_no_attempt() {
    let [(first, primary), (second, small), (third, large)] = [strict(), strict(), strict()];
    primary.answer(503);
    let chain = FallbackLayer::new().then("openai/gpt-4", second).then("openai/gpt-4o", third);
    let request = with(long_prompt(9_000), AttemptBudget::new(2));
    assert_eq!(send(&mut chain.layer(first), request).await.unwrap().status(), 200);
    assert_eq!((small.calls(), large.calls()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_table_can_be_extended_corrected_and_emptied() {
    let capabilities =
        |tokens| ModelCapabilities { context_tokens: Some(tokens), ..ModelCapabilities::default() };
    for (models, calls) in [
        (ModelTable::new(), [0, 1]),
        (ModelTable::new().with("gpt-4", capabilities(32_000)), [1, 0]),
        (ModelTable::new().with("acme/", capabilities(1_000)), [0, 0]),
        (ModelTable::empty(), [1, 0]),
    ] {
        let names = ["first", "openai/gpt-4", "acme/own"];
        assert_eq!(
            run(&names, unavailable, |layer| layer.models(models), long_prompt(9_000)).await.calls,
            calls
        );
    }
}

#[cfg(all(feature = "config", feature = "translate"))]
mod translated {
    use serde_json::Value;

    use super::*;
    use crate::FallbackChain;
    use crate::chain::{ApiDialect, ProviderSettings, Providers, TargetGroup, group};

    /// The tokens that the second target gets, if it is called, after the first has failed or was passed
    /// over.
    async fn sent_output(second: TargetGroup, path: &str) -> Vec<Option<Value>> {
        let (client, provider) = strict();
        let settings = |dialect| ProviderSettings::new("http://any.test/v1", dialect).api_key("key");
        let providers = Providers::empty()
            .with("openai", settings(ApiDialect::OpenAi))
            .with("anthropic", settings(ApiDialect::Anthropic));
        let chain = FallbackChain::new(["openai/unheard-of".into(), second]).providers(providers);
        let chain = chain.service(client).unwrap();
        provider.answer(503);
        provider.otherwise(Answer::status(503));
        let body =
            json!({"model": "m", "max_tokens": 20_000, "messages": [{"role": "user", "content": "hi"}]});
        let request = Request::post(format!("http://any{path}")).body(Payload::from(body.to_string()));
        chain.send(request.unwrap()).await.unwrap();
        let requests = provider.requests().into_iter().skip(1);
        let limit = |body: &[u8]| {
            let fields: Value = serde_json::from_slice(body).unwrap();
            fields.get("max_tokens").or(fields.get("max_completion_tokens")).cloned()
        };
        requests.map(|request| limit(&request.body.unwrap())).collect()
    }

    /// Regression: a target was skipped since its model has fewer output tokens than the request sets, which
    /// a translation lowers.
    #[tokio::test(start_paused = true)]
    async fn a_target_whose_translation_lowers_the_output_tokens_is_called() {
        const CHAT: &str = "/v1/chat/completions";
        let claude = "anthropic/claude-3-5-sonnet-20241022";
        for (second, path, expected) in [
            (claude.into(), CHAT, vec![Some(8_192.into())]),
            (claude.into(), "/v1/messages", vec![]),
            ("openai/gpt-4o".into(), "/v1/messages", vec![Some(16_384.into())]),
            ("openai/gpt-4o".into(), CHAT, vec![]),
            // Of the members of a group, those that can take the request.
            (group([claude, "openai/gpt-4o"]), CHAT, vec![Some(8_192.into())]),
        ] {
            assert_eq!(sent_output(second, path).await, expected, "{path}");
        }
    }
}
