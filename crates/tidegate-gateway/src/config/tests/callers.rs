//! Callers, the key of an administrator, and what a browser may send.

use super::*;

#[test]
fn callers_have_a_name_and_a_key_from_a_variable_or_a_file() {
    let path = std::env::temp_dir().join(format!("tidegate-{}-caller-key", std::process::id()));
    std::fs::write(&path, "the-long-key-of-ann\n").unwrap();
    let file = path.to_str().unwrap();
    let parse = |callers: &str| {
        let parsed = Config::parse(&format!("{callers}\n{PROVIDERS}{ROUTE}"), env);
        let of_callers = |config: Config| {
            let warnings = config.warnings().iter().filter(|warning| warning.contains(": callers"));
            warnings.cloned().collect::<Vec<_>>()
        };
        parsed.map(of_callers).map_err(|error| error.to_string())
    };
    let ann = format!("[[callers]]\nname = \"ann\"\nkey_file = {file:?}\n");
    let ben = "[[callers]]\nname = \"ben\"\nkey_env = \"ANTHROPIC_API_KEY\"\n";
    assert_eq!(
        parse(&(ann.clone() + ben)),
        Ok(vec!["line 6, column 11: callers[1].key_env: key is shorter than 16 characters".into()])
    );
    for (callers, message) in [
        (
            "[[callers]]\nname = \"a b\"\nkey_env = \"X\"".to_owned(),
            "callers[0].name: expected a name of visible ASCII",
        ),
        ("[[callers]]\nname = \"ann\"".to_owned(), "callers[0].key_env: expected either key_env or key_file"),
        (ann.clone() + "key_env = \"X\"", "callers[0].key_env: expected either key_env or key_file"),
        (ann.clone() + &ann, "callers[1].name: `ann` is another caller already"),
        (ann.clone() + &ann.replace("ann", "ben"), "callers[1].key_file: key is that of `ann`"),
        (
            "[[callers]]\nname = \"ann\"\nkey_env = \"UNSET\"".to_owned(),
            "callers[0].key_env: UNSET is not set",
        ),
        (
            "[[callers]]\nname = \"ann\"\nkey_env = \"sk-the-key-itself\"".to_owned(),
            "callers[0].key_env: the variable it names is not set",
        ),
        (
            "[[callers]]\nname = \"ann\"\nkey_file = \"/dev/null\"".to_owned(),
            "callers[0].key_file: \"/dev/null\" cannot be read: expected a file",
        ),
        ("[[callers]]\nname = \"ann\"\nkey = \"sk-secret\"".to_owned(), "callers[0]: unknown key `key`"),
    ] {
        let error = parse(&callers).unwrap_err();
        assert!(error.contains(message), "{callers}: {error}");
        assert!(!error.contains("sk-"), "{error}");
    }
    let two_lines = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = parse(&format!("[[callers]]\nname = \"ann\"\nkey_file = {two_lines:?}")).unwrap_err();
    assert!(text.contains("callers[0].key_file: expected one line of visible ASCII in "), "{text}");
    let missing = parse("[[callers]]\nname = \"ann\"\nkey_file = \"/nowhere/key\"").unwrap_err();
    assert!(missing.contains("callers[0].key_file: \"/nowhere/key\" cannot be read: "), "{missing}");
    let config = Config::parse(&format!("{ann}\n{PROVIDERS}{ROUTE}"), env).unwrap();
    assert!(!format!("{config:?}").contains("the-long-key"));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_rules_of_a_caller_are_checked_and_explained() {
    let caller = |rules: &str| {
        let caller = format!("[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"\n{rules}\n");
        Config::parse(
            &format!("{caller}{PROVIDERS}{ROUTE}{}", ROUTE.replace("path", "model = \"gpt-4o\"\npath")),
            env,
        )
    };
    let rules = "routes = [\"gpt-4o\", \"/v1/chat/completions\", \"*\"]\npriority = \"batch\"\n\
                 backpressure.max_inflight = 2";
    let explained = caller(rules).unwrap().explain();
    let (_, explained) =
        explained.split_once("caller ann, batch, may use gpt-4o, /v1/chat/completions, *\n").unwrap();
    assert!(explained.starts_with("  rate_limiter: off\n  backpressure.enabled  true\n"), "{explained}");
    assert!(explained.contains("  backpressure.max_inflight  2\n"), "{explained}");
    let explained = caller("").unwrap().explain();
    assert!(explained.contains(
        "caller ann, interactive, may use every route\n  rate_limiter: off\n  backpressure: off\nadmin: "
    ));
    for (rules, message) in [
        (
            "routes = [\"gpt-4o\", \"gpt-4\"]",
            "callers[0].routes[1]: unknown model or path `gpt-4`, did you mean `gpt-4o`?",
        ),
        ("routes = [\"/v1/embeddings\"]", "callers[0].routes[0]: unknown model or path"),
        ("routes = []", "callers[0].routes: expected at least one, or no `routes` for all of them"),
        (
            "priority = \"low\"",
            "callers[0].priority: unknown value `low`, expected one of `interactive`, `batch`",
        ),
        ("rate_limiter.requests_per_minute = 0", "callers[0].rate_limiter.requests_per_minute: expected "),
        (
            "backpressure.max_inflight = 0",
            "callers[0].backpressure.max_inflight: expected at least 1, found 0",
        ),
        (
            "backpressure.max_inflght = 1",
            "callers[0].backpressure: unknown key `max_inflght`, did you mean `max_inflight`?",
        ),
    ] {
        let error = first_mistake(&caller(rules).expect_err(rules));
        assert!(error.starts_with(message), "{rules}: {error}");
    }
}

#[test]
fn the_admin_key_comes_from_a_variable_or_a_file() {
    let path = std::env::temp_dir().join(format!("tidegate-{}-admin-key", std::process::id()));
    std::fs::write(&path, "the-long-admin-key\r\n").unwrap();
    let in_file = format!("key_file = {:?}", path.to_str().unwrap());
    let ann = "[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"";
    let parse = |admin: &str| Config::parse(&format!("[admin]\n{admin}\n{ann}\n{PROVIDERS}{ROUTE}"), env);
    let config = parse(&in_file).unwrap();
    assert_eq!(config.admin_key, Some("the-long-admin-key".to_owned().into()));
    assert!(!format!("{config:?}").contains("the-long-admin-key"));
    std::fs::remove_file(path).unwrap();
    let short = |variable: &str| (variable == "SHORT").then(|| "short".into());
    let config = Config::parse(&format!("admin.key_env = \"SHORT\"\n{}", local_route()), short).unwrap();
    assert_eq!(config.warnings(), ["line 1, column 17: admin.key_env: key is shorter than 16 characters"]);
    for (admin, message) in [
        ("", "admin.key_env: expected either key_env or key_file"),
        ("key_env = \"X\"\nkey_file = \"x\"", "admin.key_env: expected either key_env or key_file"),
        ("key_env = \"UNSET\"", "admin.key_env: UNSET is not set"),
        ("key_env = \"EMPTY\"", "admin.key_env: EMPTY is empty"),
        ("key_env = \"sk-the-key-itself\"", "admin.key_env: the variable it names is not set"),
        ("key_file = \"/dev/null\"", "admin.key_file: \"/dev/null\" cannot be read: expected a file"),
        ("key_env = \"ANTHROPIC_API_KEY\"", "admin.key_env: key is that of the caller `ann`"),
        ("key = \"sk-secret\"", "admin: unknown key `key`"),
    ] {
        let error = parse(admin).unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains("sk-"), "{admin}: {error}");
    }
    let error = parse_error("admin = \"sk-secret\"");
    assert_eq!(error, "admin: expected a table with key_env or key_file, found string");
}

#[test]
fn hosts_origins_and_forwarded_headers_are_checked() {
    let provider = "[providers.p]\nbase_url = \"http://p\"\ndialect = \"openai\"\n";
    let route = "[[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]";
    let parse = |before: &str, in_provider: &str| {
        let parsed = Config::parse(&format!("{before}\n{provider}{in_provider}\n{route}"), env);
        parsed.map(drop).map_err(|error| first_mistake(&error))
    };
    for origin in ["https://app.example", "http://localhost:3000", "app://obsidian.md", "http://[::1]:1"] {
        assert_eq!(parse(&format!("origins = [{origin:?}]"), ""), Ok(()), "{origin}");
    }
    for origin in ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://a@b", ""]
    {
        let expected = "origins[0]: expected an origin such as https://app.example";
        assert!(parse(&format!("origins = [{origin:?}]"), "").unwrap_err().starts_with(expected));
    }
    for host in ["gateway.internal", "Gateway", "[fd00::1]"] {
        assert_eq!(parse(&format!("hosts = [{host:?}]"), ""), Ok(()), "{host}");
    }
    for host in ["gateway:80", "http://gateway", "a b", ""] {
        let expected = "hosts[0]: expected the name of a host without its port";
        assert!(parse(&format!("hosts = [{host:?}]"), "").unwrap_err().starts_with(expected));
    }
    assert_eq!(parse("", "forward_headers = [\"x-team\"]"), Ok(()));
    for header in [
        "Authorization",
        "x-goog-user-project",
        "connection",
        "content-length",
        "accept-encoding",
        "x-tidegate-a",
    ] {
        let error = parse("", &format!("forward_headers = [{header:?}]")).unwrap_err();
        assert!(
            error.starts_with("providers.p.forward_headers: `") && error.ends_with("never forwarded"),
            "{error}"
        );
    }
    let error = parse("", "forward_headers = [\"a b\"]").unwrap_err();
    assert_eq!(error, "providers.p.forward_headers: expected the name of a header");
}
