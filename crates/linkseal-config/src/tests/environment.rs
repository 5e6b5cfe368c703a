//! Overrides from the environment.

use super::{SHORTEST, load};

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        SHORTEST,
        &[
            ("LINKSEAL_EDGE__NAME", "other.platform.internal"),
            ("LINKSEAL_EDGE__NODE", "7"),
            ("LINKSEAL_EDGE__MAX_CONNECTIONS", "10"),
            ("LINKSEAL_LISTEN__HTTP", "[\"127.0.0.1:0\", \"[::1]:0\"]"),
            ("LINKSEAL_ADMISSION__POLICY", "ask"),
            ("LINKSEAL_ADMISSION__ASK__URL", "http://127.0.0.1:3000/"),
            ("LINKSEAL_ACME__LIMITS__FAILED_PER_NAME", "2/1h"),
            ("LINKSEAL_DNS__DKIM", "[{ selector = \"a\", cname = \"b.example\" }]"),
            ("LINKSEAL_ADMIN_TOKEN", "not a key"),
            ("LINKSEAL_SERVICE_HOST", "10.0.0.1"),
        ],
    )
    .unwrap();
    assert_eq!(
        (config.edge.name.as_str(), config.edge.node.as_str()),
        ("other.platform.internal", "7")
    );
    assert_eq!((config.edge.max_connections.get(), config.listen.http.len()), (10, 2));
    assert_eq!(config.admission.ask.unwrap().url.as_str(), "http://127.0.0.1:3000/");
    assert_eq!(config.acme.limits.failed_per_name.count, 2);
    assert_eq!(config.acme.limits.orders_per_account.count, 300);
    assert_eq!(config.dns.dkim[0].cname.as_str(), "b.example");
}

#[test]
fn an_invalid_variable_is_named() {
    let table: &[(&str, &str, &str)] = &[
        (
            "LINKSEAL_EDGE__NMAE",
            "x",
            "environment variable LINKSEAL_EDGE__NMAE: edge.nmae: unknown key; did you mean name? Allowed here: name, aliases, addresses, public_https_port, node, handshake_wait, drain_delay, drain, max_connections, max_connections_per_address, max_connections_per_network, probe_interval, probe_address",
        ),
        (
            "LINKSEAL_EDGE__DRAIN",
            "soon",
            "environment variable LINKSEAL_EDGE__DRAIN: edge.drain: must be a duration such as \"10s\", \"5m\", \"72h\" or \"7d\", not string \"soon\"",
        ),
        (
            "LINKSEAL_EDGE_NAME",
            "x",
            "environment variable LINKSEAL_EDGE_NAME: unknown; overrides are named LINKSEAL_SECTION__KEY, with two underscores between section and key",
        ),
        (
            "LINKSEAL_LISTEN__HTTP__0",
            "[::]:80",
            "environment variable LINKSEAL_LISTEN__HTTP__0: listen.http.0: an array can only be overridden as a whole",
        ),
        (
            "LINKSEAL_EDGE__HANDSHAKE_WAIT",
            "5m",
            "environment variable LINKSEAL_EDGE__HANDSHAKE_WAIT: edge.handshake_wait: must be at most 1m: no client waits longer",
        ),
    ];
    let text = format!("{SHORTEST}[listen]\nhttp = [\"[::]:80\"]\n");
    for (name, value, said) in table {
        assert_eq!(load(&text, &[(name, value)]).unwrap_err(), *said);
    }
}
