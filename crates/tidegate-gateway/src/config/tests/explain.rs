//! The explanation of a file.

use super::*;

#[test]
fn the_stack_of_each_target_is_explained_with_the_origin_of_each_setting() {
    let text = format!(
        "{PROVIDERS}{}[policies.default]\npreset = \"minimal\"\nretry = {{ max_retries = 3 }}\n\
         [policies.slow]\ntimeout = {{ attempt = \"1h\" }}\n\
         [[routes]]\npath = \"/v1/messages\"\nmodel = \"m\"\npolicy = \"slow\"\nchain = [\"anthropic/c\"]",
        ROUTE.replace("openai/gpt-4o\"", "openai/gpt-4o\", \"anthropic/c\", \"@static\"")
    );
    let env = |variable: &str| match variable {
        "AI_LIB_MAX_INFLIGHT" => Some("3".into()),
        _ => env(variable),
    };
    let explained = Config::parse(&text, env).unwrap().explain();
    let lines: Vec<_> = explained.lines().collect();
    let heads: Vec<_> = lines.iter().copied().filter(|line| !line.starts_with("    ")).collect();
    assert_eq!(
        heads,
        [
            "/v1/chat/completions for any model",
            "  openai/gpt-4o, called in the dialect openai, policy default",
            "  anthropic/c, called in the dialect anthropic, policy default",
            "  @static",
            "/v1/messages for m",
            "  anthropic/c, called in the dialect anthropic, policy slow",
            "admin: the pages of operators are open",
            "alerts: off",
            "traces: off",
            "store: off",
        ]
    );
    let rows = |row: [&str; 3]| lines.iter().filter(|line| line.split_whitespace().eq(row)).count();
    assert_eq!(rows(["retry.max_retries", "3", "file"]), 2);
    assert_eq!(rows(["backpressure.max_inflight", "3", "environment"]), 3);
    assert_eq!(rows(["timeout.attempt", "\"1h\"", "file"]), 1);
    assert_eq!(rows(["timeout.attempt", "\"10m\"", "default"]), 2);
    assert_eq!(lines.iter().filter(|line| line.trim() == "circuit_breaker: off").count(), 3);
    assert!(!explained.contains("secret"));
}

#[test]
fn the_admin_pages_and_the_alerts_are_explained() {
    let tail = |text: &str| {
        let text = format!("{}{text}", local_route());
        let secret = |name: &str| ["A", "T"].contains(&name).then(|| "the-s3cret-of-nobody".into());
        let explained = Config::parse(&text, secret).unwrap().explain();
        explained[explained.find("admin: ").unwrap()..].to_owned()
    };
    let open = tail("listen = \"0.0.0.0:1\"\nopen = true");
    assert!(
        open.starts_with("admin: the pages of operators are refused, since there is no admin key\n"),
        "{open}"
    );
    let text = "admin.key_env = \"A\"\nalerts = { webhook = \"https://hooks.test/s3cret\", \
                webhook_token_env = \"T\", thresholds = { quota_left = 0.5 } }";
    let explained = tail(text);
    for line in [
        "admin: the pages of operators need the admin key",
        "alerts: logged, and posted to hooks.test with a token",
        "  quota_left  0.5",
        "  raise_after  \"30s\"",
        "traces: off",
        "store: off",
    ] {
        assert!(explained.lines().any(|it| it == line), "{line}: {explained}");
    }
    assert!(!explained.contains("s3cret"), "{explained}");
    let logged = tail("[[callers]]\nname = \"a\"\nkey_env = \"A\"\n[alerts]");
    assert!(
        logged.starts_with("admin: the pages of operators are open to callers with a key\nalerts: logged\n")
    );
}

/// Without a stand-in for each secret the rest of the file could not be checked where it is not deployed.
#[test]
fn a_file_is_checked_without_its_secrets() {
    let parse = |text: &str| {
        let set = |variable: &str| (variable == "SET").then(|| "the-long-secret".into());
        Config::parse_stamped(text, set, &mut FileStamps::default(), Secrets::Optional)
    };
    let file = "admin.key_env = \"ADMIN\"\nstore.url_env = \"STORE\"\nalerts = { webhook = \"https://h/\", webhook_token_env = \"TOKEN\" }\n\
                [[callers]]\nname = \"ann\"\nkey_env = \"ANN\"\n[[callers]]\nname = \"ben\"\nkey_env = \"SET\"\n\
                [providers.p]\nbase_url = \"https://p/v1\"\ndialect = \"openai\"\napi_key_env = \"P_KEY\"\n\
                headers = { x-a = { env = \"P_HEADER\" }, x-b = { env = \"P_KEY\" } }\n\
                [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]";
    let config = parse(file).unwrap();
    let missing = [
        "admin.key_env: ADMIN is not set",
        "callers[0].key_env: ANN is not set",
        "providers.p.headers.x-a: P_HEADER is not set",
        "providers.p.api_key_env: P_KEY is not set",
        "alerts.webhook_token_env: TOKEN is not set",
        "store.url_env: STORE is not set",
    ];
    for warning in missing {
        assert!(
            config.warnings().iter().any(|it| it.ends_with(&format!(": {warning}"))),
            "{warning}: {:?}",
            config.warnings()
        );
    }
    let unset = config.warnings().iter().filter(|warning| warning.ends_with("is not set")).count();
    assert_eq!(unset, missing.len());
    // Other mistakes are still found, and a key in the place of the name of its variable is not repeated.
    let error =
        parse(&file.replace("path = ", "pth = ").replace("P_KEY", "sk-s3cret")).unwrap_err().to_string();
    assert!(
        error.contains("unknown key `pth`") && error.contains("the variable it names is not set"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    assert!(Config::parse(file, |_| None).unwrap_err().to_string().contains("P_KEY is not set"));
}
