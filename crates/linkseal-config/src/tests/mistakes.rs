//! Errors in the file: place, key, what is wrong and what is allowed.

use std::path::Path;

use super::{Problem, SHORTEST, load};

#[test]
fn each_mistake_is_reported_with_its_place_and_what_is_allowed() {
    // The lines after SHORTEST, from line 5 on, and the error.
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
            "dir/linkseal.toml:6: store.url: must be \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\", not string \"mysql://db\"",
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
            "dir/linkseal.toml:5: events.sink[0].path: is missing; kind \"file\" needs it, such as \"archive/%Y-%m-%d.ndjson\"",
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
            "[[events.sink]]\nname = \"a.new\"\nkind = \"file\"\npath = \"a.ndjson\"\n",
            "dir/linkseal.toml:6: events.sink[0].name: \"a.new\" must not end in \".new\", which marks unfinished files",
        ),
        (
            "x = = 1\n",
            "dir/linkseal.toml:5: not TOML: extra `=`, expected nothing\ndir/linkseal.toml:5: not TOML: unexpected key or value, expected newline, `#`",
        ),
    ];
    for (wrong, said) in table {
        let error = load(&format!("{SHORTEST}{wrong}"), &[]).unwrap_err();
        assert_eq!(error, *said, "for\n{wrong}");
    }
}

#[test]
fn missing_required_keys_are_reported() {
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
fn all_mistakes_are_reported_at_once_in_the_order_of_the_lines() {
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
fn no_error_contains_the_password_or_the_query_of_a_url() {
    let sink = "[[events.sink]]\nname = \"a\"\nkind = \"webhook\"\nurl = ";
    for (text, shown) in [
        (
            "[[upstream]]\nprefix = \"/\"\nto = \"http://svc:SECRET@10.0.0.5:8080\"\n".to_owned(),
            "//…@10.0.0.5:8080",
        ),
        (
            format!("{sink}\"http://u:SECRET@hooks.example/\"\n"),
            "//…@hooks.example/",
        ),
        (
            format!("{sink}\"ftp://hooks.example/?key=SECRET\"\n"),
            "ftp://hooks.example/?…",
        ),
        (
            "[store]\nurl = \"postgres://user:SECRET@db/x\"\n".to_owned(),
            "store.password_file",
        ),
        ("[store]\nurl = \"mysql://user:SECRET@db/x\"\n".to_owned(), "//…@db/x"),
        ("[events]\nkeep = \"http://u:SECRET@h\"\n".to_owned(), "//…@h"),
        ("[events]\ndnt = \"http://u:SECRET@h\"\n".to_owned(), "//…@h"),
        (
            "[[upstream]]\nhost = \"http://u:SECRET@h\"\nprefix = \"/\"\nto = \"http://h\"\n".to_owned(),
            "//…@h",
        ),
    ] {
        let error = load(&format!("{SHORTEST}{text}"), &[]).unwrap_err();
        assert!(!error.contains("SECRET") && error.contains(shown), "{error}");
    }
    for (variable, value) in [
        ("LINKSEAL_EDGE__NAME", "http://u:SECRET@h"),
        ("LINKSEAL_LISTEN__HTTP", "http://u:SECRET@h"),
        ("LINKSEAL_ADMISSION__ASK", "{ url = \"http://u:SECRET@h\" }"),
    ] {
        let error = load(SHORTEST, &[(variable, value)]).unwrap_err();
        assert!(!error.contains("SECRET") && error.contains("…@h"), "{error}");
    }
}

#[test]
fn values_that_are_probably_a_mistake_are_warned_of() {
    let warnings = |text: &str| {
        let config = load(&format!("{SHORTEST}{text}"), &[]).unwrap();
        let warnings = config.warnings.iter().map(Problem::to_string);
        warnings.filter(|w| !w.contains("is empty")).collect::<Vec<_>>()
    };
    let sinks = |a: &str, b: &str| {
        let sink = |name, path| format!("[[events.sink]]\nname = \"{name}\"\nkind = \"file\"\npath = \"{path}\"\n");
        warnings(&format!("{}{}", sink("a", a), sink("b", b)))
    };
    assert_eq!(sinks("archive/%Y", "archive/%Y-%m"), Vec::<String>::new());
    assert_eq!(
        sinks("archive/%Y", "./archive/%Y"),
        [
            "dir/linkseal.toml:12: events.sink[1].path: is the path of the sink \"a\" too: both append to its files, rotate and delete them; give each its own"
        ]
    );
    assert_eq!(
        sinks("events/%Y", "events-of-today"),
        [
            "dir/linkseal.toml:8: events.sink[0].path: is below events.dir, where the journal keeps its own files; use a path outside, such as \"archive/%Y-%m-%d.ndjson\""
        ]
    );
    assert_eq!(
        warnings("[log]\nlevel = \"info,linkseal::issuer::order=debug,linkseal::panic=off,linkseal_edge=warn\"\n"),
        [
            "dir/linkseal.toml:6: log.level: the target linkseal::issuer was renamed to linkseal_issuer; the old name works until the next release"
        ]
    );
}

#[test]
fn a_file_that_only_the_start_reads_is_reported_with_its_line() {
    let text = format!("{SHORTEST}[events]\nnetworks_file = \"/nonexistent/networks.txt\"\n");
    let config = load(&text, &[]).unwrap();
    let unusable = config
        .unusable()
        .into_iter()
        .find(|u| u.key == "events.networks_file")
        .unwrap();
    let problem = config.problem(Path::new("dir/linkseal.toml"), unusable.key, unusable.message);
    assert_eq!(
        problem.to_string(),
        "dir/linkseal.toml:6: events.networks_file: /nonexistent/networks.txt: No such file or directory (os error 2)"
    );
}
