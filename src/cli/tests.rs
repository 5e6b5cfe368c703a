use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    super::parse(line.split_whitespace())
}

#[test]
fn every_documented_command_line_parses() {
    Cli::command().debug_assert();
    for line in [
        "linkseal serve --config linkseal.toml",
        "linkseal config check linkseal.toml --json",
        "linkseal config schema",
        "linkseal doctor",
        "linkseal doctor --config linkseal.toml --json",
        "linkseal config example",
        "linkseal domain add links.customer.example --tenant customer --sending-domain customer.example --json",
        "linkseal domain --admin https://edge.example:9180 --ca-file ca.pem list --state pending --tenant t --prefix links",
        "linkseal domain list --admin http://127.0.0.1:9180 --json",
        "linkseal domain show links.customer.example",
        "linkseal domain verify links.customer.example --wait",
        "linkseal domain verify links.customer.example --dry-run --json",
        "linkseal domain verify --all --dry-run",
        "linkseal domain remove links.customer.example --purge",
        "linkseal domain pause links.customer.example",
        "linkseal domain resume links.customer.example --json",
        "linkseal domain reissue links.customer.example",
        "linkseal domain timeline links.customer.example",
        "linkseal domain share links.customer.example",
        "linkseal api GET /v1/issuer",
        "linkseal api PUT /v1/issuer/freeze {} --admin http://127.0.0.1:9080",
        "linkseal link keygen --out link-1.key",
        "linkseal link open --key-file k --key-id 3 --base https://links.customer.example",
        "linkseal link click --key-file k --base https://l.example --tenant t --link 7 --url https://d.example/ --message-id 0192f3a4b5c67d8e9fa0b1c2d3e4f506",
        "linkseal link unsubscribe --key-file k --base https://l.example --list 2 --json",
        "linkseal link inspect https://l.example/c/abc --key-file k --tenant t",
        "linkseal events replay --from 2026-11-22T09:30:00Z --domain a.example --json",
        "linkseal events tail --domain a.example --admin http://127.0.0.1:9180 --json",
        "linkseal store backup copy.db --config linkseal.toml",
        "linkseal store restore copy.db",
        "linkseal simulate",
        "linkseal simulate --domains 100000 --lifetime 45d --months 6 --svg plot.svg --json",
        "linkseal simulate --days 90 --lifetime 90d,45d@60d --onboard 500 --ari off --outage 10d+6h --outage 20d+1d",
        "linkseal simulate --failing 2% --flaky 0.5% --departing 1% --order-time 20s --seed 7 --config linkseal.toml",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[cfg(feature = "devca")]
#[test]
fn the_demo_parses() {
    assert!(parse("linkseal demo").is_ok());
    assert!(parse("linkseal demo --dir /tmp/x --port-base 8080 --json").is_ok());
}

#[test]
fn wrong_usage_is_an_error_and_help_is_not() {
    for line in [
        "linkseal",
        "linkseal nonsense",
        "linkseal domain add localhost",
        "linkseal domain list --state lost",
        "linkseal domain verify",
        "linkseal domain verify --all",
        "linkseal api HEAD /v1/issuer",
        "linkseal api GET v1/issuer",
        "linkseal api PUT /v1/issuer/freeze {",
        "linkseal domain verify a.example --all --dry-run",
        "linkseal domain verify a.example --dry-run --wait",
        "linkseal issuer",
        "linkseal issuer release --domain localhost",
        "linkseal link open --base https://l.example --key-file k --message-id 5",
        "linkseal link open --base ftp://l.example --key-file k",
        "linkseal link click --base https://l.example --key-file k --url javascript:x",
        "linkseal config check",
        "linkseal simulate --domains 0",
        "linkseal simulate --months 6 --days 6",
        "linkseal simulate --lifetime 45",
        "linkseal simulate --ari perhaps",
        "linkseal simulate --outage yesterday",
    ] {
        assert!(parse(line).unwrap_err().use_stderr(), "{line}");
    }
    assert!(!parse("linkseal --help").unwrap_err().use_stderr());
    assert!(!parse("linkseal domain --help").unwrap_err().use_stderr());
}

#[test]
fn help_says_what_a_command_leaves_alone() {
    let help = |line: &str| {
        let text = parse(line).unwrap_err().to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let list = help("linkseal --help");
    for (command, short, long) in [
        (
            "doctor",
            "Check the configuration and everything it needs",
            "Nothing is changed, ordered or delivered. Run it as the service's user",
        ),
        ("api", "Call the admin API directly", "/openapi.json"),
        ("simulate", "Simulate a fleet", "nothing is sent anywhere"),
        ("serve", "Run the edge", "The configuration"),
    ] {
        assert!(list.contains(short), "{short}: {list}");
        let text = help(&format!("linkseal {command} --help"));
        assert!(text.contains(short) && text.contains(long), "{command}: {text}");
    }
    assert!(!list.contains("service's user"), "{list}");
}

#[test]
fn each_cause_is_reported_once() {
    let io = std::io::Error::other("no space");
    let error = anyhow::Error::new(io)
        .context("the store: no space")
        .context("cannot start");
    assert_eq!(
        Failure::chain(&error).to_string(),
        "linkseal: cannot start: the store: no space"
    );
    let error = anyhow::anyhow!("the account key is sealed with another key").context("the account key");
    assert_eq!(
        Failure::chain(&error).to_string(),
        "linkseal: the account key is sealed with another key"
    );
}

#[test]
fn an_invalid_argument_is_answered_with_what_is_allowed() {
    for (line, allowed) in [
        ("linkseal domain verify a.example --wait --timeout 5x", "must be"),
        ("linkseal domain --admin 127.0.0.1:9080 list", "http"),
        (
            "linkseal domain verify a.example --wait --timeout -5s",
            "must be a duration",
        ),
        ("linkseal simulate --domains -5", "from 1 to 1000000"),
        ("linkseal simulate --days many", "from 1 to 3660"),
        ("linkseal simulate --seed -1", "from 0"),
        ("linkseal simulate --failing -5%", "a share"),
        (
            "linkseal link click --base https://l.example --key-file k --url https://d.example/ --link -1",
            "from 0 to 65535",
        ),
        (
            "linkseal link open --base https://l.example --key-file k --message-id zz",
            "UUID",
        ),
        ("linkseal events erase --message zz", "UUID"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(
            error.contains(allowed) && !error.contains("not allowed here"),
            "{error}"
        );
    }
}

#[cfg(feature = "devca")]
#[test]
fn the_demo_rejects_a_base_port_too_high_for_its_other_ports() {
    let error = parse("linkseal demo --port-base 65000").unwrap_err().to_string();
    assert!(error.contains("64000"), "{error}");
}

#[test]
fn a_token_cannot_be_an_argument() {
    assert!(parse("linkseal domain --token x list").is_err());
}
