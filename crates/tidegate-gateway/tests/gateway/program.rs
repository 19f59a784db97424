//! The executable: its exit codes, its output, and its shutdown.
#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::process::{ChildGuard, GatewayProcess, TempFile, program};
use crate::support::{client, openai, route};

fn status_and_stderr(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

const VALID: &str = r#"
    providers.p = { base_url = "http://127.0.0.1:1/v1", dialect = "openai", api_key_env = "PROVIDER_KEY" }
    routes = [{ path = "/v1/chat/completions", chain = ["p/m"] }]
"#;

#[test]
fn an_invalid_file_exits_with_status_2_and_a_line_for_each_mistake() {
    let file = TempFile::new("bad", "[policies.default.retry]\nmax_retrys = 3");
    let path = file.path();
    let unknown_key = format!(
        "tidegate-gateway: {path}: line 2, column 1: policies.default.retry: unknown key `max_retrys`, did you mean `max_retries`?\n\
         tidegate-gateway: {path}: routes: expected at least one\n"
    );
    assert_eq!(
        status_and_stderr(&program(&["--config", path]).output().unwrap()),
        (Some(2), unknown_key.clone())
    );
    assert_eq!(
        status_and_stderr(&program(&["--check", "--config", path]).output().unwrap()),
        (Some(2), unknown_key)
    );

    let missing = program(&["--config", "/nowhere/tidegate.toml"]).output().unwrap();
    let (status, line) = status_and_stderr(&missing);
    assert_eq!((status, line.lines().count()), (Some(2), 1));
    assert!(line.starts_with("tidegate-gateway: /nowhere/tidegate.toml: cannot be read: "), "{line}");
}

/// Attack M14 of the field: nothing warned of a gateway without callers at all addresses.
#[test]
fn a_gateway_without_callers_at_all_addresses_warns_of_it() {
    let without_key = VALID.replace(", api_key_env = \"PROVIDER_KEY\"", "");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let closed = TempFile::new("closed", &without_key);
        let (status, line) =
            status_and_stderr(&program(&["--config", closed.path(), "--listen", listen]).output().unwrap());
        assert!(status == Some(2) && line.contains("listen: other machines reach"), "{status:?} {line}");
        let open = TempFile::new("open", &format!("open = true\nnotice = \"0s\"\n{without_key}"));
        let mut command = program(&["--config", open.path(), "--listen", listen]);
        let mut running = ChildGuard(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listens on"), "{line}");
        let id = running.0.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let mut log = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(log.contains("WARN") && log.contains("everybody who reaches"), "{log}");
    }
}

#[test]
fn check_validates_the_file_without_serving() {
    let file = TempFile::new("good", VALID);
    let args = ["--check", "--config", file.path()];
    let checked = program(&args).env("PROVIDER_KEY", "sk-secret").output().unwrap();
    assert_eq!(status_and_stderr(&checked), (Some(0), String::new()));
    assert_eq!(String::from_utf8(checked.stdout).unwrap(), format!("{}: ok\n", file.path()));

    // Without the secrets the rest is checked.
    let missing = "providers.p.api_key_env: PROVIDER_KEY is not set\n";
    let (status, line) = status_and_stderr(&program(&args).output().unwrap());
    assert_eq!(status, Some(0));
    assert!(
        line.starts_with(&format!("{}: warning: line ", file.path())) && line.ends_with(missing),
        "{line}"
    );
    let (status, line) = status_and_stderr(&program(&args[1..]).output().unwrap());
    assert_eq!(status, Some(2));
    assert!(line.ends_with(missing), "{line}");

    let (status, line) = status_and_stderr(&program(&[]).env("AI_LIB_RPS", "fast").output().unwrap());
    assert_eq!(status, Some(2));
    assert_eq!(
        line,
        "tidegate-gateway: AI_LIB_RPS: expected a number above 0 and below 4294967296, found \"fast\"\n"
    );
}

/// Regression: in a container without certificates the gateway did not start at all.
#[tokio::test]
async fn the_certificates_of_authorities_are_needed_for_an_address_by_https_alone() {
    let none = TempFile::new("none", "");
    let file = |webhook: &str, base_url: &str| {
        format!("notice = \"0s\"\nalerts = {{ {webhook} }}\n")
            + &openai("p", base_url)
            + &route("*", &["p/m"])
    };
    let gateway = GatewayProcess::start_with("http", &file("", "http://127.0.0.1:1/v1"), |command| {
        command.env("SSL_CERT_FILE", none.path());
    });
    std::fs::write(gateway.file(), file("", "https://127.0.0.1:1/v1")).unwrap();
    gateway.signal("HUP");
    let mut health = String::new();
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        health = client().get(gateway.url("/healthz")).send().await.unwrap().text().await.unwrap();
        if health.contains("last_reload") {
            break;
        }
    }
    assert!(health.contains("\"result\":\"error\""), "{health}");
    gateway.signal("TERM");
    let (status, log) = gateway.end().await;
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("providers.p.base_url: certificates of providers cannot be checked: "), "{log}");
    for (setting, webhook, base_url) in [
        ("providers.p.base_url", "", "HTTPS://127.0.0.1:1/v1"),
        ("alerts.webhook", "webhook = \"https://127.0.0.1:1\"", "http://127.0.0.1:1/v1"),
    ] {
        let file = TempFile::new("https", &file(webhook, base_url));
        let mut checked = program(&["--check", "--config", file.path()]);
        let checked = checked.env("SSL_CERT_FILE", none.path()).output().unwrap();
        let (status, line) = status_and_stderr(&checked);
        assert_eq!(status, Some(2), "{line}");
        let problem = format!("{}: {setting}: certificates of providers cannot be checked: ", file.path());
        assert!(line.contains(&problem) && line.contains("SSL_CERT_FILE is "), "{line}");
    }
}

#[test]
fn a_file_that_is_explained_is_checked_as_well_where_both_are_requested() {
    let file = TempFile::new("both", VALID);
    let run = |args: &[&str]| {
        let args = [args, &["--config", file.path()]].concat();
        let output = program(&args).env("PROVIDER_KEY", "sk-secret").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let explained = run(&["--explain"]);
    assert_eq!(run(&["--check", "--explain"]), explained);
    // The pages of operators would be open to other machines.
    let (status, printed) = run(&["--check", "--explain", "--listen", "0.0.0.0:0"]);
    assert_eq!((status, &*printed), (Some(2), ""));
    for [one, other] in [["--schema", "--example"], ["--example", "--schema"]] {
        assert_eq!(program(&[one, other]).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn explain_prints_the_stack_of_a_target() {
    let file = TempFile::new("explained", VALID);
    let mut explained = program(&["--explain", "--config", file.path()]);
    let output = explained.env("PROVIDER_KEY", "sk-secret").env("AI_LIB_RPS", "5").output().unwrap();
    assert_eq!(status_and_stderr(&output), (Some(0), String::new()));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("/v1/chat/completions for any model\n  p/m, "), "{text}");
    let has_row =
        |line: &str| line.split_whitespace().eq(["rate_limiter.requests_per_second", "5.0", "environment"]);
    assert!(text.lines().any(has_row) && !text.contains("secret"), "{text}");
}

/// Regression: the first one was a panic.
#[test]
fn an_argument_that_is_no_duration_is_rejected() {
    for drain in ["18446744073709551615s 1000ms", "1 0s", "none"] {
        let (status, lines) = status_and_stderr(&program(&["--drain", drain]).output().unwrap());
        assert!(status == Some(2) && lines.contains("expected a duration such as"), "{status:?} {lines}");
    }
}

#[test]
fn the_printed_example_is_valid_and_the_printed_schema_is_json() {
    let printed = |arg| String::from_utf8(program(&[arg]).output().unwrap().stdout).unwrap();
    let file = TempFile::new("example", &printed("--example"));
    let mut check = program(&["--check", "--config", file.path()]);
    for variable in ["OPENAI_API_KEY", "DEEPSEEK_API_KEY", "ANTHROPIC_API_KEY"] {
        check.env(variable, "sk-secret");
    }
    assert_eq!(status_and_stderr(&check.output().unwrap()), (Some(0), String::new()));
    let schema: serde_json::Value = serde_json::from_str(&printed("--schema")).unwrap();
    assert_eq!(schema["title"], "tidegate-gateway");
}

/// Regression: a schema that was cut by a full disk had the status of a whole one.
#[test]
fn output_that_cannot_be_written_is_a_failure_unless_its_reader_has_left() {
    let file = TempFile::new("unwritten", &VALID.replace(", api_key_env = \"PROVIDER_KEY\"", ""));
    for args in [&["--schema"][..], &["--example"], &["--explain"], &["--check"]] {
        let args = if args[0] == "--explain" || args[0] == "--check" {
            [args, &["--config", file.path()]].concat()
        } else {
            args.to_vec()
        };
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (status, lines) = status_and_stderr(&program(&args).stdout(full).output().unwrap());
        assert!(status == Some(1) && lines.contains("cannot write the output: "), "{args:?} {lines}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let left = program(&args).stdout(writer).output().unwrap();
        assert_eq!(status_and_stderr(&left), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn a_variable_that_nothing_reads_is_a_warning() {
    let file = TempFile::new("warned", VALID);
    let mut checked = program(&["--check", "--listen", "localhost:0", "--config", file.path()]);
    let checked = checked.env("PROVIDER_KEY", "sk-secret").env("AI_LIB_MAX_INFLIHGT", "5").output().unwrap();
    let warning = "AI_LIB_MAX_INFLIHGT: nothing reads it, did you mean `AI_LIB_MAX_INFLIGHT`?";
    let line = format!("{}: warning: {warning}\n", file.path());
    assert_eq!(status_and_stderr(&checked), (Some(0), line));

    let file = TempFile::new("proxied", &VALID.replace(", api_key_env = \"PROVIDER_KEY\"", ""));
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "all_proxy"] {
        let check =
            |value: &str| program(&["--check", "--config", file.path()]).env(name, value).output().unwrap();
        let warning = format!("{name}: nothing reads it, providers are connected to without a proxy");
        let line = format!("{}: warning: {warning}\n", file.path());
        assert_eq!(status_and_stderr(&check("http://user:s3cret@proxy:3128")), (Some(0), line));
        assert_eq!(status_and_stderr(&check("")), (Some(0), String::new()));
    }
}

#[test]
fn the_error_for_a_port_in_use_contains_a_workaround() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut demo = program(&["--listen", &addr]);
    let (status, lines) = status_and_stderr(&demo.env("AI_LIB_MAX_INFLIHGT", "5").output().unwrap());
    assert_eq!(status, Some(1));
    // The demo reads the variables of the environment, too.
    let (warning, line) = lines.split_once('\n').unwrap();
    assert!(warning.starts_with("warning: AI_LIB_MAX_INFLIHGT: nothing reads it"), "{warning}");
    assert!(line.starts_with(&format!("tidegate-gateway: cannot listen on {addr}: ")), "{line}");
    assert!(line.ends_with("; choose another with --listen ADDR\n"), "{line}");
}

#[test]
fn the_error_for_a_store_that_cannot_be_reached_is_about_the_store() {
    let unused = tidegate_testkit::closed_port().unwrap();
    let store = format!("\n[store]\nurl = \"redis://{}\"\nmode = \"fail_closed\"\n", unused.addr());
    let file = TempFile::new("closed", &(VALID.to_owned() + &store));
    let mut program = program(&["--listen", "127.0.0.1:0", "--config", file.path()]);
    let (status, lines) = status_and_stderr(&program.env("PROVIDER_KEY", "sk-secret").output().unwrap());
    assert_eq!(status, Some(1));
    let line = format!("tidegate-gateway: the Redis server at {} cannot be used: ", unused.addr());
    assert!(lines.lines().any(|it| it.starts_with(&line)), "{lines}");
}

/// Parses the URL and the body of a printed curl command.
fn parse(line: &str) -> (String, String) {
    let url = line.split(' ').find(|word| word.starts_with("http://")).unwrap();
    let (_, body) = line.split_once("-d '").unwrap();
    (url.to_owned(), body.strip_suffix('\'').unwrap().to_owned())
}

#[tokio::test]
async fn without_arguments_a_few_calls_show_a_retry_and_a_fallback() {
    let mut child =
        program(&["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut running = ChildGuard(child);
    let curls: Vec<String> = lines.filter(|line| line.starts_with("curl ")).take(2).collect();
    let [plain, stream] = &*curls else { panic!("{curls:?}") };

    let (mut retried, mut fell_back) = (0, 0);
    for curl in [plain, stream, plain, stream, plain, stream] {
        let (url, body) = parse(curl);
        let response =
            client().post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let target = header("x-tidegate-target").unwrap();
        retried += usize::from(target == "flaky/demo" && header("x-tidegate-attempts").unwrap() == "2");
        fell_back += usize::from(header("x-tidegate-fallback").is_some());
        assert_eq!(header("x-tidegate-fallback").is_some(), target == "steady/demo");
        assert_eq!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"), curl == stream);
    }
    assert!(retried > 0 && fell_back > 0, "{retried} {fell_back}");

    let (url, _) = parse(plain);
    let metrics = url.replace("/v1/chat/completions", "/metrics");
    let metrics = client().get(metrics).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("tidegate_retried_calls_total{target=\"flaky/demo\",kind=\"success\"}"),
        "{metrics}"
    );

    let killed = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("response ended") && log.contains("stopping"), "{log}");
    assert!(!log.contains("hello"), "{log}");
}
