//! Scenario files: those that are built in are valid, and every mistake is reported by its key.

use tidegate_drill::scenario::{BUILT_IN, Scenario, built_in};

/// A scenario with these lines in it, and in its callers, its provider and its fault.
fn with(root: &str, callers: &str, provider: &str, fault: &str) -> String {
    format!(
        "title = \"t\"\nduration = \"1m\"\n{root}\n[[callers]]\nper_minute = 60\n{callers}\n[[providers]]\nname = \"one\"\n\
         {provider}\n[[providers.faults]]\nkind = \"error\"\n{fault}\n"
    )
}

fn error(text: &str) -> String {
    Scenario::parse("test", text).expect_err(text).to_string()
}

#[test]
fn the_built_in_scenarios_are_valid_and_are_all_files() {
    assert_eq!(built_in().unwrap().len(), 25);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap();
    assert_eq!(files.count(), BUILT_IN.len());
}

#[test]
fn every_documented_key_is_accepted() {
    let callers = "tenant = \"a\"\narrivals = \"bursts\"\nburst = 3\nfrom = \"1s\"\nto = \"50s\"\npatience = \"9s\"\nleave = 0.1\n\
                   leave_after = \"2s\"\nprompt_tokens = 30\noutput_tokens = [3, 9]\nmax_tokens = 10\nstreams = 1.0";
    let provider = "group = \"both\"\ndialect = \"mistral\"\nfirst_token = [\"1s\", \"2s\"]\nslow = 0.5\nslow_first_token = \"3s\"\npace = \"1ms\"\n\
                    capacity = 5\nrequests_per_minute = 50\ntokens_per_minute = 5000\ncontext_tokens = 100";
    let fault = "from = \"1s\"\nto = \"2s\"\nshare = 0.5\nstatus = 529\nretry_after = \"3s\"";
    let text = with("seed = 7", callers, provider, fault);
    let more = "[[providers.faults]]\nkind = \"stall\"\nafter_tokens = 3\npings = \"1s\"\n\
                [[providers.faults]]\nkind = \"slow\"\nfactor = 3\n[[providers.faults]]\nkind = \"capacity\"\ncapacity = 3\n";
    let member = "[[providers]]\nname = \"two\"\ngroup = \"both\"\ncontext_tokens = 100\n";
    let scenario = Scenario::parse("test", &format!("{text}{more}{member}")).unwrap();
    assert_eq!((scenario.seed, scenario.providers[0].faults.len()), (7, 4));
    for kind in ["reset", "hang", "cut", "error_event", "empty", "quota_exhausted", "stale"] {
        let more = format!("[[providers.faults]]\nkind = \"{kind}\"\n");
        Scenario::parse("test", &format!("{text}{more}{member}")).unwrap();
    }
}

/// Lines of the root, of the callers, of the provider and of the fault, and the error.
type FileMistake = ([&'static str; 4], &'static str);

#[test]
fn a_mistake_is_reported_by_its_key() {
    let mistakes: &[FileMistake] = &[
        (["sed = 1", "", "", ""], "line 3, column 1: unknown key `sed`, did you mean `seed`?"),
        (
            ["seed = \"a\"", "", "", ""],
            "seed: expected a whole number from 0 to 9223372036854775807, found \"a\"",
        ),
        (["", "patiense = \"1s\"", "", ""], "callers[0]: unknown key `patiense`, did you mean `patience`?"),
        (["", "patience = true", "", ""], "callers[0].patience: "),
        (
            ["", "patience = \"18446744073709551615s 1000ms\"", "", ""],
            "callers[0].patience: expected a duration such as",
        ),
        (["", "patience = \"0s\"", "", ""], "callers[0].patience: expected at least 1ms, found 0s"),
        (["", "patience = \"2h\"", "", ""], "callers[0].patience: expected at most 1h, found 2h"),
        (["", "from = \"2m\"", "", ""], "callers[0].from: expected at most 1m, found 2m"),
        (["", "to = \"9years\"", "", ""], "callers[0].to: expected at most 1m, found 9years"),
        (["", "leave_after = \"9days\"", "", ""], "callers[0].leave_after: expected at most 1day"),
        (["", "prompt_tokens = 4294967295", "", ""], "callers[0].prompt_tokens: expected at most 1000000"),
        (["", "output_tokens = 4294967295", "", ""], "callers[0].output_tokens: expected at most 100000"),
        (["", "", "first_token = \"9years\"", ""], "providers[0].first_token: expected at most 1day"),
        (
            ["", "", "slow_first_token = \"9years\"", ""],
            "providers[0].slow_first_token: expected at most 1day",
        ),
        (["", "", "pace = \"9years\"", ""], "providers[0].pace: expected at most 1day, found 9years"),
        (
            ["", "", "requests_per_minute = 4294967295", ""],
            "providers[0].requests_per_minute: expected at most 1",
        ),
        (["", "", "", "from = \"2m\""], "providers[0].faults[0].from: expected at most 1m, found 2m"),
        (["", "", "", "to = \"9years\""], "providers[0].faults[0].to: expected at most 1day, found 9years"),
        (
            ["", "", "", "retry_after = \"9years\""],
            "providers[0].faults[0].retry_after: expected at most 1day",
        ),
        (
            ["", "", "", "[[providers.faults]]\nkind = \"stall\"\npings = \"1ms\""],
            "providers[0].faults[1].pings: expected at least 100ms, found 1ms",
        ),
        (["", "leave = 1.5", "", ""], "callers[0].leave: expected from 0 to 1, found 1.5"),
        (["", "streams = -1.0", "", ""], "callers[0].streams: expected from 0 to 1, found -1"),
        (
            ["", "arrivals = \"poison\"", "", ""],
            "callers[0].arrivals: unknown value `poison`, did you mean `poisson`?",
        ),
        (
            ["", "burst = 3", "", ""],
            "callers[0].burst: does not apply to arrivals = \"poisson\", expected \"bursts\" or \"once\"",
        ),
        (
            ["", "arrivals = \"once\"", "", ""],
            "callers[0].per_minute: does not apply to arrivals = \"once\", expected `burst` in its place",
        ),
        (
            ["", "arrivals = \"bursts\"\nburst = 4294967295", "", ""],
            "callers[0].burst: expected at most 10000, found 4294967295",
        ),
        (["", "arrivals = \"bursts\"\nburst = 0", "", ""], "callers[0].burst: expected at least 1, found 0"),
        (
            ["", "prompt_tokens = [9, 3]", "", ""],
            "callers[0].prompt_tokens: expected the lower bound first, found 9 and 3",
        ),
        (
            ["", "prompt_tokens = [1, 2, 3]", "", ""],
            "callers[0].prompt_tokens: expected one value or two, found 3",
        ),
        (["", "prompt_tokens = \"many\"", "", ""], "callers[0].prompt_tokens: "),
        (["", "output_tokens = 0", "", ""], "callers[0].output_tokens: expected at least 1, found 0"),
        (["", "max_tokens = 5", "", ""], "callers[0].max_tokens: expected at least 60, found 5"),
        (
            ["", "leave_after = [\"3s\", \"1s\"]", "", ""],
            "callers[0].leave_after: expected the lower bound first",
        ),
        (["", "from = \"30s\"\nto = \"20s\"", "", ""], "callers[0].to: expected at least 30s, found 20s"),
        (
            ["", "tenant = \"a b\"", "", ""],
            "callers[0].tenant: expected a name of visible ASCII characters, found \"a b\"",
        ),
        (["", "", "capasity = 3", ""], "providers[0]: unknown key `capasity`, did you mean `capacity`?"),
        (["", "", "capacity = 0", ""], "providers[0].capacity: expected at least 1, found 0"),
        (
            ["", "", "requests_per_minute = 0", ""],
            "providers[0].requests_per_minute: expected at least 1, found 0",
        ),
        (["", "", "tokens_per_minute = -1", ""], "providers[0].tokens_per_minute: "),
        (["", "", "context_tokens = 0", ""], "providers[0].context_tokens: expected at least 1, found 0"),
        (["", "", "slow = 2", ""], "providers[0].slow: expected from 0 to 1, found 2"),
        (["", "", "pace = \"fast\"", ""], "providers[0].pace: "),
        (
            ["", "", "first_token = [\"2s\", \"1s\"]", ""],
            "providers[0].first_token: expected the lower bound first",
        ),
        (["", "", "dialect = \"gemini\"", ""], "providers[0].dialect: unknown value, expected one of"),
        (
            ["", "", "dialect = \"anthropic\"\nrequests_per_minute = 5", ""],
            "providers[0].requests_per_minute: does not apply to dialect = \"anthropic\"",
        ),
        (["", "", "[[providers]]\nname = \"one\"", ""], "providers[1].name: `one` exists already"),
        (["", "", "[[providers]]\nname = \"One\"", ""], "providers[1].name: expected lower-case letters"),
        (
            ["", "", "[[providers]]\nname = \"two\"\ndialect = \"anthropic\"", ""],
            "providers[1].dialect: expected \"anthropic\" for all providers of a scenario, or for none",
        ),
        (["", "", "grup = \"a\"", ""], "providers[0]: unknown key `grup`, did you mean `group`?"),
        (
            ["", "", "group = \"A\"", ""],
            "providers[0].group: expected lower-case letters, digits and hyphens",
        ),
        (["", "", "group = \"a\"", ""], "providers[0].group: `a` has no other member"),
        (
            ["", "", "group = \"one\"\n[[providers]]\nname = \"two\"\ngroup = \"one\"", ""],
            "providers[0].group: `one` is the name of a provider",
        ),
        (
            [
                "",
                "",
                "group = \"a\"\n[[providers]]\nname = \"two\"\n[[providers]]\nname = \"three\"\ngroup = \"a\"",
                "",
            ],
            "providers[2].group: expected the members of `a` one after the other",
        ),
        (
            ["", "", "group = \"a\"\ncontext_tokens = 9\n[[providers]]\nname = \"two\"\ngroup = \"a\"", ""],
            "providers[1].context_tokens: expected that of the other members of `a`, 9, found none",
        ),
        (["", "", "", "shares = 0.1"], "providers[0].faults[0]: unknown key `shares`, did you mean `share`?"),
        (["", "", "", "share = 1.1"], "providers[0].faults[0].share: expected from 0 to 1, found 1.1"),
        (["", "", "", "status = 200"], "providers[0].faults[0].status: expected from 400 to 599, found 200"),
        (
            ["", "", "", "factor = 3"],
            "providers[0].faults[0].factor: does not apply to kind = \"error\", expected \"slow\"",
        ),
        (["", "", "", "pings = \"1s\""], "providers[0].faults[0].pings: does not apply to kind = \"error\""),
        (["", "", "", "retry_after = -1"], "providers[0].faults[0].retry_after: "),
        (
            ["", "", "", "from = \"9s\"\nto = \"3s\""],
            "providers[0].faults[0].to: expected at least 9s, found 3s",
        ),
        (
            ["", "", "", "[[providers.faults]]\nkind = \"slow\"\nfactor = 0.5"],
            "providers[0].faults[1].factor: expected from 1 to 1000, found 0.5",
        ),
        (
            ["", "", "", "[[providers.faults]]\nkind = \"outage\""],
            "providers[0].faults[1].kind: unknown value, did you mean `stale`?",
        ),
        (["", "", "", "[[providers.faults]]\nshare = 0.5"], "providers[0].faults[1]: missing key `kind`"),
    ];
    for ([root, callers, provider, fault], expected) in mistakes {
        let error = error(&with(root, callers, provider, fault));
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        assert!(error.starts_with("line "), "{error}");
    }
}

#[test]
fn names_and_titles_are_short_and_printable() {
    let text = with("", "", "", "");
    let long = "x".repeat(65);
    for (from, to, expected) in [
        ("title = \"t\"".to_owned(), "title = \"a\\u0007\"".to_owned(), "title: expected one line of text"),
        (
            "name = \"one\"".to_owned(),
            format!("name = \"{long}\""),
            "providers[0].name: expected at most 64 characters",
        ),
        (
            "per_minute = 60".to_owned(),
            format!("per_minute = 60\ntenant = \"{long}\""),
            "callers[0].tenant: expected at most 64",
        ),
        (
            "per_minute = 60".to_owned(),
            "arrivals = \"once\"\nburst = 100000\nprompt_tokens = 100000".to_owned(),
            "callers[0].prompt_tokens: expected at most 100000000 tokens in the prompts of all calls, found 10000000000",
        ),
        (
            "per_minute = 60".to_owned(),
            "per_minute = 6000\noutput_tokens = 10000".to_owned(),
            "callers[0].output_tokens: expected at most 10000000 tokens in the answers of all calls, found 60000000",
        ),
    ] {
        let error = error(&text.replace(&from, &to));
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    for (text, expected) in [
        ("", "title"),
        ("title = \"t\"", "duration"),
        ("title = \"t\"\nduration = \"1m\"", "callers: expected at least one"),
        ("title = \"t\"\nduration = \"1m\"\n[[callers]]\nper_minute = 1", "providers: expected at least one"),
        ("title = \"t\"\nduration = \"25h\"", "duration: expected at most 1day, found 1day 1h"),
        ("title = \"t\"\nduration = \"1m\"\n[[callers]]", "callers[0].per_minute: missing key `per_minute`"),
        (
            "title = \"t\"\nduration = \"1m\"\n[[callers]]\nper_minute = 0",
            "callers[0].per_minute: expected more than 0",
        ),
        (
            "title = \"t\"\nduration = \"24h\"\n[[callers]]\nper_minute = 6000",
            "callers[0].per_minute: expected at most 100000 calls of all groups, found 8640000",
        ),
        ("title = ", "line 1"),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn a_group_has_at_most_64_members() {
    let members = |count: usize| {
        let members =
            (2..=count).map(|member| format!("[[providers]]\nname = \"p{member}\"\ngroup = \"a\"\n"));
        with("", "", &format!("group = \"a\"\n{}", members.collect::<String>()), "")
    };
    Scenario::parse("test", &members(64)).unwrap();
    let error = error(&members(65));
    assert!(error.contains("providers[64].group: expected at most 64 members of `a`, found more"), "{error}");
}

/// All mistakes are reported at once.
#[test]
fn several_mistakes_are_reported_together() {
    let error = error(&with("", "leave = 2.0", "capacity = 0", "share = 7.0"));
    for key in ["callers[0].leave", "providers[0].capacity", "providers[0].faults[0].share"] {
        assert!(error.contains(key), "{error}");
    }
}

/// A value of a wrong type is reported with what its key takes, in the words of a file.
#[test]
fn a_value_of_a_wrong_type_is_reported_with_what_is_expected() {
    let mistakes: &[FileMistake] = &[
        (["seed = -1", "", "", ""], "seed: expected a whole number from 0 to 9223372036854775807, found -1"),
        (
            ["seed = 18446744073709551616", "", "", ""],
            "line 3, column 8: seed: expected a whole number from 0 to 9223372036854775807, found 1.8446744073709552e19",
        ),
        (
            ["", "prompt_tokens = [\n1, 99999999999999999999]", "", ""],
            "prompt_tokens: expected a whole number from 0 to 4294967295, found 1e20",
        ),
        (
            ["", "patience = true", "", ""],
            "callers[0].patience: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, found true",
        ),
        (["", "arrivals = 3", "", ""], "callers[0].arrivals: expected a text in quotes, found 3"),
        (
            ["", "burst = 4294967296", "", ""],
            "callers[0].burst: expected a whole number from 0 to 4294967295, found 4294967296",
        ),
        (
            ["", "prompt_tokens = 1.5", "", ""],
            "callers[0].prompt_tokens: expected a whole number from 0 to 4294967295, found 1.5",
        ),
        (["", "streams = \"half\"", "", ""], "callers[0].streams: expected a number, found \"half\""),
        (["", "tenant = [1]", "", ""], "callers[0].tenant: expected a text in quotes, found an array"),
        (
            ["", "", "", "status = 70000"],
            "providers[0].faults[0].status: expected a whole number from 0 to 65535, found 70000",
        ),
        (["", "", "dialect = {}", ""], "providers[0].dialect: expected a text in quotes, found a table"),
        (
            ["", "", "", "[[providers.faults]]\nkind = { hang = 1 }"],
            "providers[0].faults[1].kind: expected a text in quotes, found a table",
        ),
        (["", "", "", "share = true"], "providers[0].faults[0].share: expected a number, found true"),
    ];
    for ([root, callers, provider, fault], expected) in mistakes {
        let error = error(&with(root, callers, provider, fault));
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        assert!(error.starts_with("line "), "{error}");
    }
    let text = "title = \"t\"\nduration = \"1m\"\n";
    for (more, expected) in [
        ("callers = 3", "callers: expected an array of tables, found 3"),
        ("callers = [3]", "callers[0]: expected a table, found 3"),
        ("[providers]\nname = \"one\"", "providers: expected an array of tables, found a table"),
    ] {
        let error = error(&format!("{text}{more}"));
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_named() {
    let quoted = "\"a.b = c\" = 1\n\"a.b = c\" = 2\nfaults = [{ kind = \"hang\", share = 0, share=1 }]";
    let error = error(&with("title = \"u\"", "per_minute = 3", quoted, "kind = \"hang\""));
    for expected in [
        "line 3, column 1: duplicate key `title`",
        "duplicate key `per_minute`",
        "duplicate key `\"a.b = c\"`",
        "duplicate key `share`",
        "duplicate key `kind`",
    ] {
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

/// The key of a mistake of syntax is that of its line or, in an array of several lines, that before the
/// array.
#[test]
fn a_mistake_of_syntax_is_reported_near_its_key() {
    for (text, expected) in [
        ("title", "line 1, column 1: expected quotes around the text, as in `\"..\"`, near `title`"),
        ("[[callers]\n", "line 1, column 11: unclosed array table, expected `]`, near `callers`"),
        ("title = \"a = b\" c", "line 1, column 17: expected quotes around the text, as in `title = \"..\"`"),
        (
            "x = [ # y = 1\n\"z = 2\",\nWORD]",
            "line 3, column 1: expected quotes around the text, as in `\"..\"`, near `x`",
        ),
        (
            "x = '''\ny = \\'''\nz = [1,\n# 2 = 3\nWORD]",
            "line 5, column 1: expected quotes around the text, as in `\"..\"`, near `z`",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

/// The values of a message are short: a file may have a megabyte.
#[test]
fn a_long_value_is_shortened() {
    let long = "x".repeat(100_000);
    for text in [
        with("", &format!("patience = \"{long}\""), "", ""),
        with("", "", &format!("dialect = \"{long}\""), ""),
        with("", &format!("burst = {}", "9".repeat(100_000)), "", ""),
        with("", "leave = 1e300", "", ""),
    ] {
        let error = error(&text);
        assert!(error.len() < 300, "{} bytes", error.len());
    }
}

/// The work of a scenario has a bound, by the key that is too large.
#[test]
fn what_would_take_too_long_is_rejected() {
    let repeated = |text: &str, count: usize| {
        (0..count).map(|index| text.replace('#', &index.to_string())).collect::<String>()
    };
    for (text, expected) in [
        (
            with("", "", &repeated("[[providers]]\nname = \"p#\"\n", 100), ""),
            "providers: expected at most 100, found 101",
        ),
        (
            with("", "", "", &repeated("[[providers.faults]]\nkind = \"hang\"\n", 100)),
            "providers[0].faults: expected at most 100, found 101",
        ),
        (
            with("", &repeated("[[callers]]\nper_minute = 1\n", 1_000), "", ""),
            "callers: expected at most 1000, found 1001",
        ),
        (
            with(
                "",
                "[[callers]]\npatience = \"1h\"\nper_minute = 6000",
                "",
                "[[providers.faults]]\nkind = \"stall\"\npings = \"1s\"",
            ),
            "providers[0].faults[1].pings: expected at least 21s 602ms, found 1s",
        ),
    ] {
        let error = error(&text);
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
    Scenario::parse("test", &with("", &repeated("[[callers]]\nper_minute = 1\n", 999), "", "")).unwrap();
}

/// A sum is reported by the key of the group that adds most to it, and what follows from that is not
/// reported.
#[test]
fn a_sum_that_is_too_large_is_reported_at_its_largest_part() {
    let repeated =
        |text: &str, count| (0..count).map(|at| text.replace('#', &at.to_string())).collect::<String>();
    for (callers, provider, expected) in [
        (
            "[[callers]]\nper_minute = 60000\n[[callers]]\narrivals = \"once\"\nburst = 50000".to_owned(),
            String::new(),
            "line 7, column 14: callers[1].per_minute: expected at most 100000 calls of all groups, found 110060",
        ),
        (
            "[[callers]]\nper_minute = 40000\n[[callers]]\narrivals = \"once\"\nburst = 70000".to_owned(),
            String::new(),
            "line 10, column 9: callers[2].burst: expected at most 100000 calls of all groups, found 110060",
        ),
        (
            "output_tokens = 99_999\n[[callers]]\nper_minute = 50\noutput_tokens = 100_000".to_owned(),
            String::new(),
            "callers[0].output_tokens: expected at most 10000000 tokens in the answers of all calls, found 10999940",
        ),
        (
            "[[callers]]\nper_minute = 20000".to_owned(),
            repeated("[[providers]]\nname = \"p#\"\n", 49),
            "providers: expected at most 49 for 20060 calls, found 50",
        ),
    ] {
        let text = with("", &callers, &provider, "");
        let error = error(&text);
        assert!(
            error.ends_with(expected) && error.lines().count() == 1,
            "expected {expected:?} in {error:?}"
        );
    }
}
