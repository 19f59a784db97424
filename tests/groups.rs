//! Groups of targets in a chain by name, over sockets.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Request;
use tidegate::chain::{ProviderSettings, Providers, group};
use tidegate::fallback::FallbackInfo;
use tidegate::group::GroupMember;
use tidegate::provider::Verdict;
use tidegate::{FallbackChain, Payload, ReqwestService, ResilienceConfig, Trail};
use tidegate_testkit::{Provider, Reply, Server};

fn client() -> ReqwestService {
    ReqwestService::new(reqwest::Client::builder().no_proxy().build().unwrap())
}

fn chat() -> Request<Payload> {
    let body = r#"{"messages":[{"role":"user","content":"hello?"}]}"#;
    Request::post("/v1/chat/completions").body(Payload::from(body)).unwrap()
}

async fn start(provider: Provider) -> Server {
    provider.start().await.unwrap()
}

/// The chain for which groups were made: two deployments as one place, then another provider.
#[tokio::test]
async fn a_group_is_one_place_of_a_chain_by_name() {
    let east = start(Provider::azure().otherwise(Reply::ok())).await;
    let west = start(Provider::azure().otherwise(Reply::ok())).await;
    let anthropic = start(Provider::anthropic().otherwise(Reply::ok())).await;
    let providers = Providers::empty()
        .with("azure-east", ProviderSettings::openai(east.base_url()).api_key("east-key"))
        .with("azure-west", ProviderSettings::openai(west.base_url()).api_key("west-key"))
        .with("anthropic", ProviderSettings::anthropic(anthropic.base_url()).api_key("k"));
    let chain = FallbackChain::new([
        group(["azure-east/gpt-4o", "azure-west/gpt-4o"]).weights([3.0, 1.0]).name("gpt-4o"),
        "anthropic/claude-3-5-sonnet-latest".into(),
    ]);
    let chat_service = chain.providers(providers).service(client()).unwrap();
    for _ in 0..40 {
        let response = chat_service.send(chat()).await.unwrap();
        assert_eq!(response.status(), 200);
        let member = GroupMember::of(response.extensions()).unwrap();
        assert_eq!(&**member.group(), "gpt-4o");
        assert!(response.extensions().get::<FallbackInfo>().is_none());
    }
    assert!(east.log().calls() > 0 && west.log().calls() > 0);
    east.script().otherwise(Reply::status(503));
    west.script().otherwise(Reply::status(503));
    let mut request = chat();
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let response = chat_service.send(request).await.unwrap();
    let info = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((response.status().as_u16(), info.target()), (200, "anthropic/claude-3-5-sonnet-latest"));
    let targets: BTreeSet<Arc<str>> = trail
        .steps()
        .into_iter()
        .filter(|step| matches!(step.verdict, Verdict::Failed(_)))
        .filter_map(|step| step.target)
        .collect();
    assert!(targets.iter().map(|it| &**it).eq(["azure-east/gpt-4o", "azure-west/gpt-4o"]), "{targets:?}");
    let groups: Vec<_> = chat_service.groups().iter().map(|group| group.snapshot()).collect();
    assert_eq!((groups.len(), groups[0].members.len(), groups[1].members.len()), (2, 2, 1));
    assert_eq!(chat_service.signals().len(), 3);
}

/// The member is named where the group is a later target, too.
#[tokio::test]
async fn a_fallback_to_a_group_names_the_member() {
    let down = start(Provider::openai().otherwise(Reply::status(503))).await;
    let [one, two] = [
        start(Provider::openai().otherwise(Reply::ok())).await,
        start(Provider::openai().otherwise(Reply::ok())).await,
    ];
    let providers = Providers::empty()
        .with("down", ProviderSettings::openai(down.base_url()))
        .with("one", ProviderSettings::openai(one.base_url()))
        .with("two", ProviderSettings::openai(two.base_url()));
    let chain = FallbackChain::new(["down/m".into(), group(["one/m", "two/m"])]).providers(providers);
    let chain = chain.service(client()).unwrap();
    for _ in 0..20 {
        let response = chain.send(chat()).await.unwrap();
        let info = response.extensions().get::<FallbackInfo>().unwrap();
        assert!(info.target() == "one/m" || info.target() == "two/m", "{info:?}");
        assert_eq!(response.headers()["x-tidegate-target"], info.target());
    }
    assert_eq!(&*chain.handle().statistics()[0].target, "one/m|two/m");
}

#[tokio::test]
async fn each_key_of_a_provider_is_a_member_and_an_exhausted_one_is_left_out_alone() {
    let server = start(Provider::openai().api_key("good-key").otherwise(Reply::ok())).await;
    let keys = ["good-key", "revoked-key"];
    let settings = ProviderSettings::openai(server.base_url()).api_keys(keys);
    assert!(!format!("{settings:?}").contains("-key"), "{settings:?}");
    let policy: ResilienceConfig = ResilienceConfig::default();
    let chain = FallbackChain::new(["openai/gpt-4o"]).policy(policy);
    let chain = chain.providers(Providers::empty().with("openai", settings)).service(client()).unwrap();
    for _ in 0..20 {
        assert_eq!(chain.send(chat()).await.unwrap().status(), 200);
    }
    assert!(server.log().responses_with_status(401) <= 1);
    let names: Vec<_> = chain.signals().iter().map(|signals| signals.target().to_string()).collect();
    assert_eq!(names, ["openai/gpt-4o#1", "openai/gpt-4o#2"]);
    assert_eq!(
        server.log().last().unwrap().model.as_deref(),
        Some("gpt-4o"),
        "the name of the key is no model"
    );
    let snapshot = chain.groups()[0].snapshot();
    assert_eq!(&*snapshot.group, "openai/gpt-4o");
    assert!(snapshot.members[1].cooldown_remaining_ms.is_none_or(|left| left > 50_000), "{snapshot:?}");
}

#[test]
fn a_group_that_cannot_work_is_refused_with_the_name_of_the_fault() {
    let providers = || {
        let openai = || ProviderSettings::openai("https://api.openai.com/v1");
        Providers::empty()
            .with("openai", openai().api_key("k"))
            .with("twice", openai().api_keys(["k", "k"]))
            .with("keyless", openai().api_keys_env(["NO_SUCH_KEY_IS_SET", "NOR_THIS"]))
    };
    for (place, message) in [
        (group::<&str>([]), "chain: expected at least one \"provider/model\" in each group"),
        (group(["openai/a", "openai/a"]), "chain: `openai/a` is in the chain already"),
        (
            group(["openai/a"]).weights([1.0, 2.0]),
            "weights: expected one weight for each of 1 targets, found 2",
        ),
        (group(["openai/a"]).weights([-1.0]), "weight: expected a number from 0.001 to 1000, found -1"),
        (group(["openai"]), "chain: expected \"provider/model\", found \"openai\""),
        (group(["twice/a"]), "providers.twice.api_keys[1]: is in the list already"),
        (
            group(["keyless/a"]),
            "providers.keyless.api_keys_env[0]: NO_SUCH_KEY_IS_SET is not set\n\
             providers.keyless.api_keys_env[1]: NOR_THIS is not set",
        ),
    ] {
        let chain = FallbackChain::new([place]).providers(providers());
        assert_eq!(chain.service(client()).err().unwrap().to_string(), message);
    }
}
