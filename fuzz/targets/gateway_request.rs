//! Whatever a caller sends, the gateway answers with a response of its API, and the provider gets no header
//! of the caller that providers do not read, no key of the caller and one model.
//!
//! Input: the endpoint, lines of headers, an empty line, and the body.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::chain::is_provider_header;
use tidegate_fuzz::headers;
use tidegate_gateway::{Config, Gateway};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages/count_tokens",
    "/openai/deployments/m/chat/completions",
];

const CALLER_KEY: &str = "the-long-key-of-the-caller";
const PROVIDER_KEY: &str = "sk-4fT9qLmZ07vWn2RkYhbE";

struct Setup {
    runtime: Runtime,
    provider: Server,
    gateway: Gateway,
}

/// A gateway with one caller, in front of a provider that repeats its key in errors.
static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (provider, gateway) = runtime.block_on(async {
        let reply = Reply::error(400, "invalid_request_error").message(format!("bad key {PROVIDER_KEY}"));
        let provider = Provider::openai().otherwise(reply).start().await.expect("a port");
        let file = format!(
            "hosts = [\"gateway.test\"]\nbody_limit = 65536\n\
             [providers.p]\nbase_url = {:?}\ndialect = \"openai\"\napi_key_env = \"KEY\"\n\
             [[callers]]\nname = \"c\"\nkey_env = \"CALLER\"\n{}",
            provider.base_url(),
            PATHS[..4]
                .iter()
                .map(|path| format!("[[routes]]\npath = {path:?}\nchain = [\"p/m\"]\n"))
                .collect::<String>(),
        );
        let env = |variable: &str| match variable {
            "KEY" => Some(PROVIDER_KEY.into()),
            "CALLER" => Some(CALLER_KEY.into()),
            _ => None,
        };
        (provider, Gateway::new(Config::parse(&file, env).expect("a valid file")).expect("a gateway"))
    });
    Setup { runtime, provider, gateway }
});

fuzz_target!(|input: &[u8]| {
    let Some((&number, rest)) = input.split_first() else { return };
    let path = PATHS[usize::from(number) % PATHS.len()];
    let (headers, body) = headers(rest);
    let Setup { runtime, provider, gateway } = &*SETUP;
    let mut request = Request::post(path).body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    *request.headers_mut() = headers.clone();
    // Half of the inputs have the key and the host, so that they come further.
    if number < 128 {
        let is_own =
            |headers: &HeaderMap| !headers.contains_key(HOST) && !headers.contains_key(AUTHORIZATION);
        if is_own(&headers) {
            request.headers_mut().insert(HOST, "gateway.test".parse().expect("a host"));
            request
                .headers_mut()
                .insert(AUTHORIZATION, format!("Bearer {CALLER_KEY}").parse().expect("a key"));
        }
    }
    let calls = provider.log().calls();
    let (status, text) = runtime.block_on(async {
        let response = gateway.router().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status();
        (status, response.into_body().collect().await.expect("a whole body").to_bytes())
    });
    let body: Value = serde_json::from_slice(&text).expect("JSON");
    assert!(status == StatusCode::OK || body["error"]["message"].is_string(), "{status} {body}");
    assert!(!body.to_string().contains(PROVIDER_KEY) && !body.to_string().contains(CALLER_KEY), "{body}");
    // At most one is sent: there are no retries, and one target.
    let sent = provider.log().last().filter(|_| provider.log().calls() > calls);
    if let Some(request) = sent {
        let own = [HeaderName::from_static("content-length"), HOST, AUTHORIZATION];
        let is_known =
            |name: &HeaderName| own.contains(name) || is_provider_header(name) || name == "accept-encoding";
        assert!(request.headers.keys().all(is_known), "{:?}", request.headers);
        assert_eq!(request.headers[AUTHORIZATION], format!("Bearer {PROVIDER_KEY}"));
        // Fields that are not read may have escapes that are no text.
        let Ok(sent) = serde_json::from_slice::<Value>(&request.body) else { return };
        let models =
            sent.as_object().expect("an object").keys().filter(|key| key.eq_ignore_ascii_case("model"));
        assert_eq!((models.count(), &sent["model"]), (1, &Value::from("m")));
    }
});
