//! The configuration as a whole: what is taken, what is refused and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::paths::Paths;

/// A whole configuration in as few words as possible.
const LEAST: &str = "[edge]\nname = \"track.platform.internal\"\n[acme]\naccept_terms = true\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    Config::parse(Path::new("dir/linkseal.toml"), text, &variables).map_err(|e| e.to_string())
}

#[test]
fn the_least_gives_the_defaults() {
    let config = load(LEAST, &[]).unwrap();
    let mut wanted = Config::new("track.platform.internal".parse().unwrap());
    wanted.acme.accept_terms = true;
    wanted.resolve(&Paths { base: Path::new("dir") });
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        serde_json::to_value(&wanted).unwrap()
    );
    assert_eq!(config.store.sqlite_path(), Some(Path::new("dir/linkseal.db")));
    assert_eq!(config.listen.http[0].to_string(), "[::]:80");
    assert_eq!(config.authorities().len(), 1);
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_is_allowed() {
    // Text before (two lines), the lines that are wrong from line 5 on, what is said.
    let table: &[(&str, &str)] = &[
        (
            "[edgy]\n",
            "dir/linkseal.toml:5: edgy: unknown key; did you mean edge? Allowed here: listen, edge, admission, acme, store, links, events, upstream, dns, admin, pages, log",
        ),
        (
            "[log]\nlevle = \"info\"\n",
            "dir/linkseal.toml:6: log.levle: unknown key; did you mean level? Allowed here: format, level",
        ),
        (
            "[log]\nlevel = \"loud\"\n",
            "dir/linkseal.toml:6: log.level: must be a level (off, error, warn, info, debug, trace), or more such as \"info,linkseal_issuer=debug\", not string \"loud\"",
        ),
        (
            "[log]\nformat = \"xml\"\n",
            "dir/linkseal.toml:6: log.format: must be one of \"text\", \"json\", not \"xml\"",
        ),
        (
            "[listen]\nhttp = \"[::]:80\"\n",
            "dir/linkseal.toml:6: listen.http: must be an array: [ … ], not string \"[::]:80\"",
        ),
        (
            "[listen]\nhttp = [\n  \"[::]:80\",\n  \"80\",\n]\n",
            "dir/linkseal.toml:8: listen.http[1]: must be an IP address with a port, such as \"[::]:443\" or \"192.0.2.53:53\", not string \"80\"",
        ),
        (
            "[listen]\nhttps = []\n",
            "dir/linkseal.toml:6: listen.https: needs at least one address, such as \"[::]:443\"",
        ),
        (
            "[listen]\nhttps = [\"[::]:80\"]\n",
            "dir/linkseal.toml:6: listen.https[0]: [::]:80 is already used by listen.http[0]; addresses must be unique",
        ),
        (
            "[listen]\nadmin = [\"0.0.0.0:9180\"]\n",
            "dir/linkseal.toml:6: listen.admin[0]: 0.0.0.0:9180 is not on loopback: add admin.tokens, or listen on 127.0.0.1 or [::1]",
        ),
        (
            "[listen]\nproxy_protocol_from = [\"10.0.0.0/40\"]\n",
            "dir/linkseal.toml:6: listen.proxy_protocol_from[0]: must be a network in CIDR notation such as \"10.0.0.0/8\" or \"2001:db8::/32\", with no bits set behind the prefix, not string \"10.0.0.0/40\"",
        ),
        (
            "[listen]\nproxy_protocol_from = [\"::/0\"]\n",
            "dir/linkseal.toml:6: listen.proxy_protocol_from[0]: ::/0 is the whole Internet: every client could claim any address; use your load balancers' networks",
        ),
        (
            "[listen]\nhealth = [\"127.0.0.1:9180\"]\n",
            "dir/linkseal.toml:6: listen.health[0]: 127.0.0.1:9180 is already used by listen.admin[0]; addresses must be unique",
        ),
        (
            "[admin]\ntrusted_proxies = [\"0.0.0.0/0\"]\n",
            "dir/linkseal.toml:6: admin.trusted_proxies[0]: 0.0.0.0/0 is the whole Internet: every client could claim any address; use your proxies' networks",
        ),
        (
            "[admission.cname]\nlookups = \"0/1m\"\n",
            "dir/linkseal.toml:6: admission.cname.lookups: must be a limit such as \"300/3h\" (a count and a time, both above zero), not string \"0/1m\"",
        ),
        (
            "[admission]\npolicy = \"ask\"\n",
            "dir/linkseal.toml:5: admission.ask: is missing; the policy \"ask\" needs it, such as { url = \"http://127.0.0.1:3000/allow\" }",
        ),
        (
            "[admission]\nask = { timeout = \"2s\" }\n",
            "dir/linkseal.toml:6: admission.ask.url: is missing and has no default",
        ),
        (
            "[admission]\nask = { url = \"ftp://x\" }\n",
            "dir/linkseal.toml:6: admission.ask.url: must be an http or https URL with a host and without user:password@, not string \"ftp://x\"",
        ),
        (
            "[store]\nurl = \"mysql://db\"\n",
            "dir/linkseal.toml:6: store.url: must be \"sqlite:PATH\", not string \"mysql://db\"",
        ),
        (
            "[store]\nurl = \"postgres://u@h/db\"\n",
            "dir/linkseal.toml:6: store.url: PostgreSQL is planned but not available in this version; use \"sqlite:PATH\"",
        ),
        (
            "[links]\nprefix = \"/e/\"\n",
            "dir/linkseal.toml:6: links.prefix: must be empty, or a path such as \"/e\" that starts with / and has none at its end (not below /.well-known), not string \"/e/\"",
        ),
        (
            "[links]\nmax_age = \"0s\"\n",
            "dir/linkseal.toml:6: links.max_age: must be longer than zero: no link would ever work",
        ),
        (
            "[links]\nkeys = [{ id = 256, secret_file = \"k\" }]\n",
            "dir/linkseal.toml:6: links.keys[0].id: must be a whole number from 0 to 255, not integer `256`",
        ),
        (
            "[links]\nkeys = [{ id = 1, secret_file = \"none\" }]\n",
            "dir/linkseal.toml:6: links.keys[0].secret_file: dir/none cannot be read (No such file or directory (os error 2)); it must contain 64 hexadecimal digits (32 bytes), as `linkseal link keygen` creates them",
        ),
        (
            "[events]\nkeep = 72\n",
            "dir/linkseal.toml:6: events.keep: must be a duration such as \"10s\", \"5m\", \"72h\" or \"7d\", not integer `72`",
        ),
        (
            "[events]\nmax_bytes = \"10 gigs\"\n",
            "dir/linkseal.toml:6: events.max_bytes: must be a size such as \"10GiB\" (units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), not string \"10 gigs\"",
        ),
        (
            "[events]\nmax_bytes = \"1MiB\"\n",
            "dir/linkseal.toml:6: events.max_bytes: must be at least 64MiB",
        ),
        (
            "[[events.sink]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"https://p.example\"\n",
            "dir/linkseal.toml:5: events.sink[0].secret_files: is missing; kind \"webhook\" signs its requests with the secrets in these files",
        ),
        (
            "[[events.sink]]\nname = \"a\"\nkind = \"file\"\n",
            "dir/linkseal.toml:5: events.sink[0].path: is missing; kind \"file\" needs it, such as \"events/%Y-%m-%d.ndjson\"",
        ),
        (
            "[[events.sink]]\nname = \"a\"\nkind = \"file\"\npath = \"e/%j\"\n",
            "dir/linkseal.toml:8: events.sink[0].path: may contain only %Y, %m, %d, %H, %M after a %",
        ),
        (
            "[[events.sink]]\nname = \"a\"\nkind = \"file\"\npath = \"e\"\nbatch = 5\n",
            "dir/linkseal.toml:9: events.sink[0].batch: is for kind webhook, not for kind \"file\"",
        ),
        (
            "[[upstream]]\nprefix = \"track\"\nto = \"http://h\"\n",
            "dir/linkseal.toml:6: upstream[0].prefix: must be a path such as \"/track/\" that starts with / and has no ? or #, not string \"track\"",
        ),
        (
            "[[upstream]]\nprefix = \"/\"\nto = \"http://h/base\"\n",
            "dir/linkseal.toml:7: upstream[0].to: must end after host and port: paths are forwarded as clients send them",
        ),
        (
            "[[upstream]]\nprefix = \"/\"\nto = \"http://h\"\nidle_timeout = \"0s\"\n",
            "dir/linkseal.toml:8: upstream[0].idle_timeout: must be above 0s and at most 1h",
        ),
        (
            "[[upstream]]\nprefix = \"/\"\nto = \"https://h\"\nca_file = \"none.pem\"\n",
            "dir/linkseal.toml:8: upstream[0].ca_file: dir/none.pem cannot be read (No such file or directory (os error 2)); it must contain certificates in PEM form",
        ),
        (
            "[[upstream]]\nprefix = \"/\"\nto = \"http://h\"\n[[upstream]]\nprefix = \"/\"\nto = \"http://i\"\n",
            "dir/linkseal.toml:9: upstream[1].prefix: an earlier rule already has host \"*\" and prefix \"/\"",
        ),
        (
            "[dns]\nresolvers = [\"9.9.9.9\"]\n",
            "dir/linkseal.toml:6: dns.resolvers[0]: must be an IP address with a port, such as \"[::]:443\" or \"192.0.2.53:53\", not string \"9.9.9.9\"",
        ),
        (
            "[admin]\ntokens = [{ name = \"ops\", role = \"root\", secret_file = \"t\" }]\n",
            "dir/linkseal.toml:6: admin.tokens[0].role: must be one of \"viewer\", \"support\", \"admin\", not \"root\"",
        ),
        (
            "[admin]\nplain = \"yes\"\n",
            "dir/linkseal.toml:6: admin.plain: must be true or false, not string \"yes\"",
        ),
        (
            "[pages]\naccent = \"blue\"\nembed = [\"https://a.example/x\"]\n",
            "dir/linkseal.toml:6: pages.accent: must be a colour such as \"#1d4ed8\", not string \"blue\"\n\
             dir/linkseal.toml:7: pages.embed[0]: must be scheme, host and port, such as \"https://app.platform.example\", without a path, not string \"https://a.example/x\"",
        ),
        (
            "[acme]\n",
            "dir/linkseal.toml:5: acme is defined twice in its table: keep one",
        ),
        (
            "[log]\nlevel = \"info\nformat = \"text\"\n[dns]\nrecheck = \"1d\"\n",
            "dir/linkseal.toml:6: not TOML: invalid basic string, expected `\"`",
        ),
        (
            "[log]\nlevl = \"info\"\n",
            "dir/linkseal.toml:6: log.levl: unknown key; did you mean level? Allowed here: format, level",
        ),
        (
            "[listen]\nproxy_protocol_from = [\"10.0.0.5/8\"]\n",
            "dir/linkseal.toml:6: listen.proxy_protocol_from[0]: must be a network in CIDR notation such as \"10.0.0.0/8\" or \"2001:db8::/32\", with no bits set behind the prefix, not string \"10.0.0.5/8\"",
        ),
        (
            "[store]\nurl = \"sqlite:linkseal.key\"\n",
            "dir/linkseal.toml:6: store.url: store and sealing key would be one file; give the store a name that ends in .db",
        ),
        (
            "x = = 1\n",
            "dir/linkseal.toml:5: not TOML: extra `=`, expected nothing\ndir/linkseal.toml:5: not TOML: unexpected key or value, expected newline, `#`",
        ),
    ];
    for (wrong, said) in table {
        let error = load(&format!("{LEAST}{wrong}"), &[]).unwrap_err();
        assert_eq!(error, *said, "for\n{wrong}");
    }
}

#[test]
fn what_must_be_given_is_asked_for() {
    assert_eq!(
        load("", &[]).unwrap_err(),
        "dir/linkseal.toml: edge.name: is missing and has no default\n\
         dir/linkseal.toml: acme.accept_terms: must be true: read the terms of service that \
         https://acme-v02.api.letsencrypt.org/directory names and agree to them, or set acme.issue = \"off\" to serve existing certificates only"
    );
    assert!(load("[edge]\nname = \"a.example\"\n[acme]\nissue = \"off\"\n", &[]).is_ok());
    let error = load("[edge]\nname = \"localhost\"\n[acme]\naccept_terms = true\n[[acme.fallback]]\ndirectory = \"http://ca.example\"\n", &[]).unwrap_err();
    assert_eq!(
        error,
        "dir/linkseal.toml:2: edge.name: `localhost`: the name has only one label; give a full host name such as links.customer.example\n\
         dir/linkseal.toml:5: acme.fallback[0].accept_terms: must be true: read the terms of service that http://ca.example names and agree to them\n\
         dir/linkseal.toml:6: acme.fallback[0].directory: must be https (RFC 8555 §6.1), also for a CA on this machine"
    );
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_lines() {
    let text = "[edge]\nname = \"*.a.example\"\nnmae = 1\ndrain = 5\n[listen]\nhttp = [\"a\", \"[::]:80\", \"b\"]\n[upstream]\n[acme]\n";
    let error = load(text, &[("LINKSEAL_LOG__FORMAT", "xml")]).unwrap_err();
    let places: Vec<_> = error.lines().filter_map(|l| l.split(": ").nth(1)).collect();
    assert_eq!(
        places,
        [
            "edge.name",
            "edge.nmae",
            "edge.drain",
            "listen.http[0]",
            "listen.http[2]",
            "upstream",
            "acme.accept_terms",
            "log.format"
        ],
        "{error}"
    );
}

#[test]
fn the_environment_overrides() {
    let config = load(
        LEAST,
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
fn a_bad_variable_is_named() {
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
    let text = format!("{LEAST}[listen]\nhttp = [\"[::]:80\"]\n");
    for (name, value, said) in table {
        assert_eq!(load(&text, &[(name, value)]).unwrap_err(), *said);
    }
}

/// A directory with the files that the example names.
fn example_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("linkseal.toml"), EXAMPLE).unwrap();
    let key = dir.path().join("link-1.key");
    fs::write(&key, "0f".repeat(32) + "\n").unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

/// What the example leaves to its reader: the names are no one's, the terms not agreed to.
fn filled_in() -> Vec<Variable> {
    [
        ("LINKSEAL_ACME__ACCEPT_TERMS", "true"),
        ("LINKSEAL_ACME__CONTACT", "[\"mailto:ops@platform.internal\"]"),
        ("LINKSEAL_EDGE__NAME", "track.platform.internal"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[test]
fn the_example_loads_once_the_terms_are_accepted_and_shows_the_defaults() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let unchanged = Config::load_with(&file, &[]).unwrap_err().to_string();
    for left in [
        "edge.name: is an example name",
        "acme.contact[0]: is an example address",
        "acme.accept_terms: must be true",
    ] {
        assert!(unchanged.contains(left), "{unchanged}");
    }
    let config = Config::load_with(&file, &filled_in()).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.secrets.link_keys[0].secret.as_slice(), [0x0f; 32]);

    let mut defaults = Config::new("track.platform.internal".parse().unwrap());
    defaults.resolve(&Paths { base: dir.path() });
    let (mut shown, mut code) = (
        serde_json::to_value(&config).unwrap(),
        serde_json::to_value(&defaults).unwrap(),
    );
    // What the example shows beyond the defaults.
    for pointer in ["/acme/contact", "/acme/accept_terms", "/links/keys", "/events/sink"] {
        *shown.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
        *code.pointer_mut(pointer).unwrap() = serde_json::Value::Null;
    }
    assert_eq!(shown, code);
}

#[test]
fn what_the_example_comments_out_can_be_read_too() {
    let text: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key)
                if key.starts_with('[')
                    || key
                        .split(" = ")
                        .next()
                        .is_some_and(|k| k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
                        && key.contains(" = ") =>
            {
                key
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(text.contains("\n[[upstream]]"), "{text}");
    // All can be read; only what names missing files or comes later is left to say.
    let filled_in = filled_in();
    let filled_in: Vec<_> = filled_in.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let error = load(&text, &filled_in).unwrap_err();
    for line in error.lines() {
        assert!(
            line.contains("cannot be read") || line.contains("not available in this build yet"),
            "{line}"
        );
    }
}

#[test]
fn secrets_are_read_and_open_files_are_warned_of() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let token = dir.path().join("ops.token");
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let tokens = |value: &str| ("LINKSEAL_ADMIN__TOKENS".to_owned(), value.to_owned());
    let good = tokens("[{ name = \"ops\", role = \"support\", secret_file = \"ops.token\" }]");
    let config = Config::load_with(&file, &[filled_in(), vec![good.clone()]].concat()).unwrap();
    use secrecy::ExposeSecret;
    assert_eq!(
        config.secrets.admin_tokens[0].token.expose_secret(),
        "0123456789abcdef0123"
    );
    assert_eq!(config.secrets.admin_tokens[0].role, admin::Role::Support);
    let warning = config.warnings.first().unwrap().to_string();
    assert_eq!(
        warning,
        format!(
            "environment variable LINKSEAL_ADMIN__TOKENS: admin.tokens[0].secret_file: {} is accessible beyond its owner and group (mode 644); `chmod 640` it",
            token.display()
        )
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"));

    fs::write(&token, "short").unwrap();
    let error = Config::load_with(&file, &[filled_in(), vec![good.clone()]].concat())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("must contain a token of at least 16 visible ASCII characters; it contains 5 characters"),
        "{error}"
    );
    assert!(!error.contains("short"));
    // The way a service's files are usually kept: root's, and its group may read them.
    fs::write(&token, "0123456789abcdef0123\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let config = Config::load_with(&file, &[filled_in(), vec![good]].concat()).unwrap();
    assert_eq!(config.warnings, []);
}

#[test]
fn a_reload_tells_what_needs_a_restart_and_keeps_it() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let text = EXAMPLE
        .replace("accept_terms = false", "accept_terms = true")
        .replace("platform.example", "platform.internal");
    fs::write(&file, &text).unwrap();
    let old = Config::load_with(&file, &filled_in()).unwrap();
    assert_eq!(changes_needing_restart(&old, &old), Vec::<&str>::new());

    let changed = text
        .replace("[\"[::]:80\"]", "[\"[::]:8080\"]")
        .replace("linkseal.db", "other.db")
        .replace("# node = \"edge-1\"", "node = \"edge-x\"")
        .replace("dir = \"events\"", "dir = \"elsewhere\"")
        .replace("drain = \"30s\"", "drain = \"31s\"");
    fs::write(&file, changed).unwrap();
    let reloaded = reload(&old, &file).unwrap();
    assert_eq!(
        reloaded.needs_restart,
        ["listen.http", "store.url", "edge.node", "events.dir"]
    );
    assert_eq!(reloaded.config.listen, old.listen);
    assert_eq!(reloaded.config.edge.drain, ConfigDuration::secs(31));
    assert_eq!(changes_needing_restart(&old, &reloaded.config), Vec::<&str>::new());

    fs::write(&file, "edge = 5").unwrap();
    assert!(reload(&old, &file).is_err());
}

#[test]
fn the_schema_describes_every_key() {
    let schema = Config::schema();
    let text = schema.to_string();
    fn keys(table: &toml::Table, all: &mut Vec<String>) {
        for (key, value) in table {
            all.push(key.clone());
            match value {
                toml::Value::Table(table) => keys(table, all),
                toml::Value::Array(array) => array
                    .iter()
                    .filter_map(toml::Value::as_table)
                    .for_each(|t| keys(t, all)),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    keys(&EXAMPLE.parse().unwrap(), &mut all);
    for key in all {
        assert!(text.contains(&format!("\"{key}\":")), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["edge"]));
    assert_eq!(
        schema.pointer("/$defs/Edge/properties/drain/default"),
        Some(&"30s".into())
    );
    assert_eq!(schema.pointer("/$defs/Edge/properties/node/default"), None);
    for (name, section) in schema["$defs"].as_object().unwrap() {
        for (key, property) in section["properties"].as_object().into_iter().flatten() {
            assert!(property.get("description").is_some(), "{name}.{key} has no description");
        }
    }
}

/// The old spelling of every renamed key, a value, and the new spelling.
const RENAMED: [(&str, &str, &str); 6] = [
    ("edge.probe", "12h", "edge.probe_interval"),
    ("admission.keep_rejected", "7", "admission.rejected_capacity"),
    ("admission.cname.new_names", "5/1m", "admission.cname.admission_rate"),
    (
        "admission.cname.lookups_at_once",
        "3",
        "admission.cname.max_concurrent_lookups",
    ),
    ("admission.cname.refused_for", "2m", "admission.cname.negative_ttl"),
    ("dns.recheck", "48h", "dns.recheck_interval"),
];

fn variable(key: &str) -> String {
    format!("LINKSEAL_{}", key.replace('.', "__").to_ascii_uppercase())
}

fn value_of(config: &Config, key: &str) -> String {
    let json = serde_json::to_value(config).unwrap();
    let value = json.pointer(&format!("/{}", key.replace('.', "/"))).unwrap();
    value.to_string().trim_matches('"').to_owned()
}

/// As [`LEAST`], with a key of any section.
fn with_key(key: &str, value: &str) -> String {
    let value = value
        .parse::<u32>()
        .map_or_else(|_| format!("\"{value}\""), |n| n.to_string());
    match key.strip_prefix("edge.") {
        Some(key) => LEAST.replace("[acme]", &format!("{key} = {value}\n[acme]")),
        None => {
            let (section, key) = key.rsplit_once('.').unwrap();
            format!("{LEAST}[{section}]\n{key} = {value}\n")
        }
    }
}

#[test]
fn a_renamed_key_works_with_a_warning_in_file_and_environment() {
    for (old, value, new) in RENAMED {
        let file = load(&with_key(old, value), &[]).unwrap();
        let environment = load(LEAST, &[(&variable(old), value)]).unwrap();
        for (config, place) in [
            (file, "dir/linkseal.toml:"),
            (environment, "environment variable LINKSEAL_"),
        ] {
            assert_eq!(value_of(&config, new), value, "{old}");
            let warning = config.warnings.iter().map(Problem::to_string);
            let warning = warning.filter(|w| w.contains(&format!("{old}: was renamed to {new}")));
            let warning: Vec<_> = warning.collect();
            assert_eq!(warning.len(), 1, "{:?}", config.warnings);
            assert!(warning[0].starts_with(place), "{warning:?}");
        }
        // The environment overrides the file under the same name, old or new.
        let both = load(&with_key(old, "1"), &[(&variable(old), value)]);
        assert_eq!(value_of(&both.unwrap(), new), value, "{old}");
    }
}

#[test]
fn the_old_and_the_new_name_of_a_key_exclude_each_other() {
    for (old, value, new) in RENAMED {
        let message = format!("{old}: is the old name of {new}, which is set too; remove {old}");
        for (file, set) in [(old, new), (new, old)] {
            let error = load(&with_key(file, value), &[(&variable(set), value)]).unwrap_err();
            assert!(error.contains(&message), "{error}");
        }
    }
    let both = LEAST.replace("[acme]", "probe = \"1h\"\nprobe_interval = \"1h\"\n[acme]");
    let error = load(&both, &[]).unwrap_err();
    assert!(
        error.contains("dir/linkseal.toml:3: edge.probe: is the old name"),
        "{error}"
    );
}

#[test]
fn an_external_account_key_is_read_in_both_base64_alphabets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eab.key");
    let key = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let eab = format!("{LEAST}eab = {{ key_id = \"id\", hmac_key_file = {file:?} }}\n");
        let config = load(&eab, &[]).ok()?;
        let key = config.authorities()[0].eab?.1.to_vec();
        Some(key)
    };
    assert_eq!(key("-_8"), Some(vec![0xfb, 0xff]));
    assert_eq!(key("-_8=\n"), Some(vec![0xfb, 0xff]));
    assert_eq!(key("+/8="), Some(vec![0xfb, 0xff]));
    assert_eq!(key(""), None);
    assert_eq!(key("not base64!"), None);
}
