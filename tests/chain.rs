//! A chain of targets by name, and what a fallback that was added by its name alone does.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate::chain::{Endpoint, ProviderSettings, Providers};
use tidegate::config::ConfigError;
use tidegate::fallback::FallbackInfo;
use tidegate::provider::{Gate, Verdict};
use tidegate::{
    BoxError, CircuitBreakerLayer, ErrorCode, FallbackChain, FallbackLayer, Outcome, Payload, ReqwestService,
    ResilienceBuilder, ResilienceConfig, RetryLayer, Trail,
};
use tidegate_testkit::{Provider, Reply, Server};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

const OPENAI: &str = "openai/gpt-4o";
const ANTHROPIC: &str = "anthropic/claude-3-5-sonnet-latest";
const DEEPSEEK: &str = "deepseek/deepseek-chat";

/// A request as it reached a client.
#[derive(Debug)]
struct Sent {
    uri: String,
    headers: HeaderMap,
    body: Value,
}

fn chat(uri: &str, stream: bool) -> Request<Payload> {
    let body = json!({"model": "any", "stream": stream, "messages": [{"role": "user", "content": "hello?"}]});
    Request::post(uri).body(Payload::from(body.to_string())).unwrap()
}

async fn providers(openai: &Server, anthropic: &Server, deepseek: &Server) -> Providers {
    Providers::empty()
        .with("openai", ProviderSettings::openai(openai.base_url()).api_key("openai-key"))
        .with("anthropic", ProviderSettings::anthropic(anthropic.base_url()).api_key("anthropic-key"))
        .with("deepseek", ProviderSettings::openai(deepseek.base_url()).api_key("deepseek-key"))
}

/// The chain of the seeds, in three dialects, from a spawned task.
#[tokio::test]
async fn a_chain_by_name_reaches_each_provider_with_its_own_key_model_and_dialect() {
    let openai = Provider::openai().api_key("openai-key").then(Reply::status(503)).then(Reply::status(503));
    let openai = openai.otherwise(Reply::text("from openai")).start().await.unwrap();
    let anthropic = Provider::anthropic().api_key("anthropic-key").then(Reply::text("from anthropic"));
    let anthropic = anthropic.otherwise(Reply::error(529, "overloaded_error")).start().await.unwrap();
    let deepseek = Provider::deepseek().api_key("deepseek-key").otherwise(Reply::text("from deepseek"));
    let deepseek = deepseek.start().await.unwrap();
    let chain = FallbackChain::new([OPENAI, ANTHROPIC, DEEPSEEK])
        .providers(providers(&openai, &anthropic, &deepseek).await)
        .service(ReqwestService::new(reqwest::Client::new()))
        .unwrap();
    for (stream, target, text) in
        [(false, ANTHROPIC, "from anthropic"), (true, DEEPSEEK, "deepseek"), (true, OPENAI, "openai")]
    {
        let chain = chain.clone().boxed_clone();
        let (info, body) = tokio::spawn(async move {
            let response = chain.oneshot(chat("/v1/chat/completions", stream)).await?;
            let info = response.extensions().get::<FallbackInfo>().map(|info| info.target().to_owned());
            Ok::<_, BoxError>((info, response.into_body().boxed().collect().await?.to_bytes()))
        })
        .await
        .unwrap()
        .unwrap();
        assert_eq!(info.as_deref().unwrap_or(OPENAI), target);
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(text) && body.ends_with("[DONE]\n\n") == stream, "{body}");
    }
    for (server, model, path) in [
        (&openai, "gpt-4o", "/v1/chat/completions"),
        (&anthropic, "claude-3-5-sonnet-latest", "/v1/messages"),
        (&deepseek, "deepseek-chat", "/chat/completions"),
    ] {
        let requests = server.log().requests();
        let sent: Value = serde_json::from_slice(&requests[0].body).unwrap();
        assert_eq!(sent["model"], model);
        assert!(requests[0].path.ends_with(path), "{}", requests[0].path);
    }
    let names: Vec<_> = chain.signals().iter().map(|signals| signals.target().to_string()).collect();
    assert_eq!(names, [OPENAI, ANTHROPIC, DEEPSEEK]);
}

type Client = BoxCloneSyncService<Request<Payload>, Response<Full<Bytes>>, BoxError>;

/// A client that records what it is sent and answers with `status`.
fn recording(
    sent: &Arc<Mutex<Vec<Sent>>>,
    status: impl Fn(&str) -> u16 + Clone + Send + Sync + 'static,
) -> Client {
    let sent = Arc::clone(sent);
    BoxCloneSyncService::new(service_fn(move |request: Request<Payload>| {
        let (sent, status) = (Arc::clone(&sent), status.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
            let uri = head.uri.to_string();
            let answer = json!({"choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "high tide"}}]});
            let response =
                Response::builder().status(status(&uri)).header("content-type", "application/json");
            sent.lock().unwrap().push(Sent { uri, headers: head.headers, body });
            Ok::<_, BoxError>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
        }
    }))
}

#[tokio::test]
async fn the_account_of_the_caller_never_reaches_a_provider_of_the_table() {
    let sent = Arc::default();
    let providers = Providers::empty().with("box", ProviderSettings::openai("http://gpu-box:8000/v1/")).with(
        "work",
        ProviderSettings::azure("https://w.openai.azure.com", "2024-10-21").api_key("azure-key"),
    );
    let status = |uri: &str| if uri.contains("gpu-box") { 500 } else { 200 };
    let chain = FallbackChain::new(["box/llama 3", "work/my deployment"])
        .providers(providers)
        .service(recording(&sent, status))
        .unwrap();
    let mut request = chat(
        "https://api.openai.com/v1/chat/completions/?timeout=3&beta=true&key=the-callers&api-version=1",
        false,
    );
    for name in ["authorization", "x-api-key", "openai-organization", "cookie", "host", "x-other"] {
        request.headers_mut().insert(name, "the-caller's".parse().unwrap());
    }
    assert_eq!(chain.send(request).await.unwrap().status(), 200);
    let sent: Vec<Sent> = std::mem::take(&mut *sent.lock().unwrap());
    let uris: Vec<_> = sent.iter().map(|sent| &*sent.uri).collect();
    assert_eq!(
        uris,
        [
            "http://gpu-box:8000/v1/chat/completions?beta=true&api-version=1",
            "https://w.openai.azure.com/openai/deployments/my%20deployment/chat/completions\
             ?api-version=2024-10-21&beta=true",
        ]
    );
    assert_eq!(
        (&sent[0].body["model"], &sent[1].body["model"]),
        (&json!("llama 3"), &json!("my deployment"))
    );
    assert_eq!(sent[1].headers["api-key"], "azure-key");
    for Sent { headers, .. } in &sent {
        assert!([AUTHORIZATION, COOKIE].iter().all(|name| !headers.contains_key(name)), "{headers:?}");
        assert!(
            !headers.contains_key("openai-organization") && headers.contains_key("x-other"),
            "{headers:?}"
        );
    }
}

#[test]
fn a_chain_that_cannot_work_is_refused_with_the_name_of_the_fault() {
    let providers = || {
        Providers::empty()
            .with("openai", ProviderSettings::openai("https://api.openai.com/v1").api_key("k"))
            .with("keyless", ProviderSettings::openai("https://x.test/v1").api_key_env("NO_SUCH_KEY_IS_SET"))
            .with("endpoint", ProviderSettings::openai("https://x.test/v1/chat/completions"))
            .with("google", ProviderSettings::new("https://g.test", tidegate::chain::ApiDialect::Gemini))
    };
    for (targets, message) in [
        (&[][..], "chain: expected at least one \"provider/model\""),
        (&["openai"], "chain: expected \"provider/model\", found \"openai\""),
        (&["opnai/gpt"], "chain: unknown provider `opnai` of gpt, did you mean `openai`?"),
        (&["openai/a", "openai/a"], "chain: `openai/a` is in the chain already"),
        (&["keyless/a"], "providers.keyless.api_key_env: NO_SUCH_KEY_IS_SET is not set"),
        (
            &["endpoint/a"],
            "providers.endpoint.base_url: expected the URL of the whole API, such as https://api.openai.com/v1, \
             found that of one endpoint",
        ),
        (
            &["google/gemini"],
            "chain: `google/gemini` has Gemini's own API, which nothing is translated into; use its \
             OpenAI-compatible URL",
        ),
    ] {
        let chain = FallbackChain::new(targets).providers(providers());
        let error = chain.service(recording(&Arc::default(), |_| 200)).err().unwrap();
        assert_eq!(error.to_string(), message);
    }
    let chain = FallbackChain::new(["openai/a"]).providers(providers());
    let error = chain.policy_of("openai/b", ResilienceConfig::default());
    let error = error.service(recording(&Arc::default(), |_| 200)).err().unwrap();
    assert_eq!(error.to_string(), "chain: `openai/b` has a policy and is not in the chain");
    assert!(!format!("{:?}", providers()).contains("\"k\""));
}

/// Regression: the key of a provider that was added after the environment was read counted as not set.
#[test]
fn a_key_in_a_variable_is_read_when_the_chain_is_built() {
    // Any variable that is set to a valid key.
    let is_key = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    let mut variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (variable, _) = variables.find(|(_, value)| is_key(value)).unwrap();
    let added = ProviderSettings::openai("https://x.test/v1").api_key_env(variable);
    for providers in [Providers::empty(), Providers::from_env().unwrap()] {
        let chain = FallbackChain::new(["added/a"]).providers(providers.with("added", added.clone()));
        assert!(chain.service(recording(&Arc::default(), |_| 200)).is_ok());
    }
}

/// A variable has the value that the provider's own client library takes.
#[test]
fn base_urls_come_from_the_environment() {
    let uri = |name: &str, variable: &str, value: &str| {
        let env = |wanted: &str| (wanted == variable).then(|| value.into());
        let providers = Providers::new().keys_from(env)?;
        let settings = providers.get(name).unwrap();
        let endpoint = if name == "anthropic" { Endpoint::Messages } else { Endpoint::ChatCompletions };
        Ok::<_, ConfigError>(settings.uri(endpoint, "m", "", None).unwrap().to_string())
    };
    for (name, variable, value, expected) in [
        ("openai", "OPENAI_BASE_URL", "http://proxy:4000/v1", "http://proxy:4000/v1/chat/completions"),
        ("openai", "OPENAI_BASE_URL", "http://proxy:4000/", "http://proxy:4000/chat/completions"),
        ("openai", "OPENAI_BASE_URL", "", "https://api.openai.com/v1/chat/completions"),
        ("anthropic", "ANTHROPIC_BASE_URL", "https://proxy", "https://proxy/v1/messages"),
        ("anthropic", "ANTHROPIC_BASE_URL", "https://proxy/claude/v1/", "https://proxy/claude/v1/messages"),
        ("google", "GOOGLE_GEMINI_BASE_URL", "https://p/", "https://p/v1beta/openai/chat/completions"),
        ("groq", "GROQ_BASE_URL", "https://p", "https://p/openai/v1/chat/completions"),
        ("groq", "OPENAI_BASE_URL", "https://p", "https://api.groq.com/openai/v1/chat/completions"),
    ] {
        assert_eq!(uri(name, variable, value).unwrap(), expected);
    }
    for (variable, value, problem) in [
        ("OPENAI_BASE_URL", "/v1", "expected a URL such as https://api.openai.com/v1"),
        ("OPENAI_BASE_URL", "http://proxy:80800/v1", "expected a port from 1 to 65535"),
        ("VLLM_BASE_URL", "proxy:4000", "expected a URL that begins with http:// or https://"),
        (
            "ANTHROPIC_BASE_URL",
            "https://proxy/v1/messages",
            "expected the URL of the whole API, such as https://api.openai.com/v1, found that of one endpoint",
        ),
    ] {
        let error = uri("openai", variable, value).unwrap_err();
        assert_eq!((error.key(), error.problem()), (variable, problem));
    }
    // A provider of the program keeps its URL.
    let own = Providers::new().with("openai", ProviderSettings::openai("https://own/v1"));
    let own =
        own.keys_from(|variable| (variable == "OPENAI_BASE_URL").then(|| "https://proxy".into())).unwrap();
    let uri = own.get("openai").unwrap().uri(Endpoint::ChatCompletions, "m", "", None).unwrap();
    assert_eq!(uri, "https://own/v1/chat/completions");
}

/// All providers are behind one proxy, by the variables of their base URLs.
#[test]
fn a_fallback_by_name_behind_one_proxy_gets_its_own_path_and_key() {
    const NAME: &str = "a_fallback_by_name_behind_one_proxy_gets_its_own_path_and_key";
    const IS_CHILD: &str = "TIDEGATE_TEST_BEHIND_PROXY";
    if std::env::var_os(IS_CHILD).is_none() {
        let variables = [
            ("OPENAI_BASE_URL", "http://proxy:4000/openai/v1"),
            ("GROQ_BASE_URL", "http://proxy:4000/groq"),
            ("MISTRAL_BASE_URL", "proxy"),
            ("GROQ_API_KEY", "groq-key"),
            ("MISTRAL_API_KEY", "mistral-key"),
        ];
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args([NAME, "--exact"]).env(IS_CHILD, "1").envs(variables).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sent = Arc::default();
        let client = recording(&sent, |_| 503);
        let fallback = ["openai/mini", "groq/llama", "mistral/small"]
            .into_iter()
            .fold(FallbackLayer::new(), |fallback, target| fallback.then(target, client.clone()));
        let openai = ResilienceBuilder::new(OPENAI).fallback(fallback).service(client);
        let mut request = chat("http://proxy:4000/openai/v1/chat/completions", false);
        request.headers_mut().insert(AUTHORIZATION, "Bearer openai-key".parse().unwrap());
        assert_eq!(openai.oneshot(request).await.unwrap().status(), 503);
        let sent: Vec<Sent> = std::mem::take(&mut *sent.lock().unwrap());
        let sent: Vec<_> = sent
            .iter()
            .map(|sent| {
                (&*sent.uri, sent.headers[AUTHORIZATION].to_str().unwrap(), sent.body["model"].clone())
            })
            .collect();
        let openai = "http://proxy:4000/openai/v1/chat/completions";
        assert_eq!(
            sent,
            [
                (openai, "Bearer openai-key", json!("any")),
                (openai, "Bearer openai-key", json!("mini")),
                ("http://proxy:4000/groq/openai/v1/chat/completions", "Bearer groq-key", json!("llama")),
            ],
            "mistral has no valid URL"
        );
    });
}

/// A target of an unknown name, with the client of the first target and nothing that addresses its requests.
#[tokio::test]
async fn a_target_of_an_unknown_name_that_does_not_address_its_requests_is_rejected() {
    let server = Provider::openai().otherwise(Reply::text("high tide")).start().await.unwrap();
    let base_url: Uri = server.base_url().parse().unwrap();
    let port = base_url.port_u16().unwrap();
    let builder =
        reqwest::Client::builder().resolve("api.openai.com", ([127, 0, 0, 1], port).into()).no_proxy();
    let client = ReqwestService::new(builder.build().unwrap());
    let url = format!("http://api.openai.com:{port}/v1/chat/completions");
    let call = async |fallback: FallbackLayer, key: Option<&'static str>| {
        let down = service_fn(async |_: Request<Payload>| Err::<Response<Payload>, BoxError>("down".into()));
        let mut request = chat(&url, false);
        key.map(|key| request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(key)));
        let trail = Trail::new();
        request.extensions_mut().insert(trail.clone());
        let stack = ResilienceBuilder::new(OPENAI).fallback(fallback).service(down);
        stack.send(request).await.map(|response| response.status().as_u16()).map_err(|_| {
            trail.steps().into_iter().find(|step| matches!(step.verdict, Verdict::Rejected { .. })).unwrap()
        })
    };
    let (layer, key) = (FallbackLayer::new, Some("Bearer openai-key"));
    let stack = ResilienceBuilder::new("box/llama").retry(RetryLayer::exponential()).service(client.clone());
    for bare in [layer().then("box/llama", client.clone()), layer().then("box/llama", stack)] {
        let step = call(bare, key).await.unwrap_err();
        let rejected = Verdict::Rejected { gate: Gate::Translate, code: ErrorCode::InvalidRequest };
        assert_eq!((step.target.as_deref(), step.verdict), (Some("box/llama"), rejected));
    }
    assert_eq!(server.log().calls(), 0);
    // What the program has chosen is sent: the same provider, a client with a key, and every address of its
    // own.
    assert_eq!(call(layer().then_addressed("box/llama", client.clone()), key).await.unwrap(), 200);
    assert_eq!(call(layer().then("box/llama", client.clone()), None).await.unwrap(), 200);
    let to = move |mut request: Request<Payload>| {
        *request.uri_mut() = format!("http://127.0.0.1:{port}/v1/chat/completions").parse().unwrap();
        request
    };
    let with_key = |mut request: Request<Payload>| {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer other-key"));
        request
    };
    let with_model = |request: Request<Payload>| {
        let body = r#"{"model":"other","messages":[{"role":"user","content":"hello?"}]}"#;
        request.map(|_| Payload::from(body))
    };
    for addressed in [
        layer().then("box/llama", client.clone().map_request(to)),
        layer().then("box/llama", client.clone().map_request(with_key)),
        layer().then("box/llama", client.clone().map_request(with_model)),
    ] {
        assert_eq!(call(addressed, key).await.unwrap(), 200);
    }
}

/// The program of the README with `.then("groq/...")` and `.then("anthropic/...")` behind it, and one client
/// for all.
#[test]
fn a_fallback_by_name_is_never_sent_to_the_first_provider() {
    const NAME: &str = "a_fallback_by_name_is_never_sent_to_the_first_provider";
    const IS_CHILD: &str = "TIDEGATE_TEST_IS_CHILD";
    if std::env::var_os(IS_CHILD).is_none() {
        // Variables cannot be set while other threads may read them.
        for key in [None, Some("groq-key")] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([NAME, "--exact"]).env(IS_CHILD, "1").env_remove("GROQ_API_KEY");
            for variable in ["OPENAI_BASE_URL", "GROQ_BASE_URL", "ANTHROPIC_BASE_URL"] {
                command.env_remove(variable);
            }
            command.env("ANTHROPIC_API_KEY", "anthropic-key").envs(key.map(|key| ("GROQ_API_KEY", key)));
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sent = Arc::default();
        let client = recording(&sent, |uri| if uri.contains("anthropic") { 200 } else { 503 });
        let stack = |name: &str| {
            ResilienceBuilder::new(name)
                .retry(RetryLayer::exponential().max_retries(1).initial_delay(Duration::from_millis(1)))
                .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(5))
        };
        let fallback = FallbackLayer::new()
            .then("groq/llama", stack("groq/llama").service(client.clone()))
            .then("openai/mini", stack("openai/mini").service(client.clone()))
            .then("anthropic/claude", stack("anthropic/claude").service(client.clone()));
        let openai = stack(OPENAI).fallback(fallback).service(client);
        let mut request = chat("https://api.openai.com/v1/chat/completions", false);
        request.headers_mut().insert(AUTHORIZATION, "Bearer openai-key".parse().unwrap());
        let trail = Trail::new();
        request.extensions_mut().insert(trail.clone());
        let result = openai.oneshot(request).await;
        let sent: Vec<Sent> = std::mem::take(&mut *sent.lock().unwrap());
        for Sent { uri, headers, body } in &sent {
            let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
            let expected = match body["model"].as_str().unwrap() {
                "any" | "mini" => ("https://api.openai.com/v1/chat/completions", Some("Bearer openai-key")),
                "llama" => ("https://api.groq.com/openai/v1/chat/completions", Some("Bearer groq-key")),
                "claude" => {
                    assert_eq!(headers["x-api-key"], "anthropic-key");
                    ("https://api.anthropic.com/v1/messages", None)
                }
                other => panic!("{other}"),
            };
            assert_eq!((&**uri, authorization), expected);
        }
        let models: Vec<_> = sent.iter().map(|sent| sent.body["model"].as_str().unwrap()).collect();
        let has_key = std::env::var_os("GROQ_API_KEY").is_some();
        let groq: &[_] = if has_key { &["llama", "llama"] } else { &[] };
        assert_eq!(models, [&["any", "any"], groq, &["mini", "mini", "claude", "claude"]].concat());
        // The answer is in another dialect than Anthropic's, and so is no answer: it is retried. The caller gets
        // an error in its own dialect.
        let response = result.unwrap();
        assert!(matches!(Outcome::of(&response), Outcome::Failure(_)));
        assert_eq!(response.status(), 502);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(serde_json::from_slice::<Value>(&body).unwrap()["error"].is_object());
    });
}
