use std::num::NonZeroU16;

use proptest::prelude::*;

use super::*;

fn postgres(text: &str) -> PostgresUrl {
    match text.parse() {
        Ok(url) => url,
        Err(error) => panic!("{text} {error}"),
    }
}

fn refused(text: &str) -> PostgresUrlError {
    match text.parse::<PostgresUrl>() {
        Ok(url) => panic!("{text} was accepted as {url:?}"),
        Err(error) => error,
    }
}

fn host(address: PostgresAddress, port: u16) -> PostgresHost {
    PostgresHost {
        address,
        port: NonZeroU16::new(port).unwrap(),
    }
}

fn name(name: &str, port: u16) -> PostgresHost {
    host(PostgresAddress::Name(name.to_owned()), port)
}

fn verified(roots: Option<&str>) -> PostgresTls {
    PostgresTls::VerifyFull {
        roots: roots.map(PathBuf::from),
    }
}

#[test]
fn only_paths_and_urls_without_a_password_are_accepted() {
    assert_eq!("sqlite:/var/x.db".parse(), Ok(StoreUrl::Sqlite("/var/x.db".into())));
    assert_eq!("sqlite:///var/x.db".parse(), Ok(StoreUrl::Sqlite("/var/x.db".into())));
    assert!(matches!("postgres://u@h/db".parse(), Ok(StoreUrl::Postgres(_))));
    assert_eq!(
        "postgres://u:secret@h/db".parse::<StoreUrl>(),
        Err(PostgresUrlError::Password.into())
    );
    for bad in [
        "",
        "sqlite:",
        "sqlite::memory:",
        "sqlite://x/y",
        "mysql://h/db",
        "postgres:u@h/db",
        "linkseal.db",
    ] {
        assert_eq!(bad.parse::<StoreUrl>(), Err(StoreUrlError::Unknown), "{bad}");
    }
}

#[test]
fn the_default_key_file_is_beside_the_store() {
    let store = Store {
        url: StoreUrl::Sqlite("/var/lib/linkseal/linkseal.db".into()),
        ..Store::default()
    };
    assert_eq!(store.key_path(), ("/var/lib/linkseal/linkseal.key".into(), true));
}

#[test]
fn several_servers_of_each_form_are_read() {
    let url = postgres("postgresql://us%40er@DB.internal:5433,192.0.2.7,[2001:db8::7]:6432,[::1]/my%2Fdb");
    assert_eq!((url.user(), url.database()), ("us@er", "my/db"));
    let ip = |text: &str, port| host(PostgresAddress::Ip(text.parse().unwrap()), port);
    assert_eq!(
        url.hosts(),
        [
            name("db.internal", 5433),
            ip("192.0.2.7", 5432),
            ip("2001:db8::7", 6432),
            ip("::1", 5432)
        ]
    );
    assert_eq!(
        url.to_string(),
        "postgres://us%40er@db.internal:5433,192.0.2.7,[2001:db8::7]:6432,[::1]/my%2Fdb"
    );
    let socket = postgres("postgres://u@%2frun%2Fpostgresql:6432/db");
    assert_eq!(
        socket.hosts(),
        [host(PostgresAddress::Socket("/run/postgresql".into()), 6432)]
    );
    assert_eq!(socket.to_string(), "postgres://u@%2Frun%2Fpostgresql:6432/db");
}

#[test]
fn connections_have_verified_tls_unless_they_stay_on_this_machine_or_it_is_disabled() {
    let table = [
        ("u@db/d", verified(None)),
        ("u@127.0.0.1/d", PostgresTls::Disabled),
        ("u@[::1],localhost,%2Frun/d", PostgresTls::Disabled),
        ("u@[::ffff:127.0.0.2]/d", PostgresTls::Disabled),
        ("u@localhost,db/d", verified(None)),
        ("u@10.0.0.1/d", verified(None)),
        ("u@localhost.example/d", verified(None)),
        ("u@db/d?sslmode=disable", PostgresTls::Disabled),
        ("u@localhost/d?sslmode=verify-full", verified(None)),
        ("u@localhost/d?sslrootcert=ca%20x.pem", verified(Some("ca x.pem"))),
        (
            "u@db/d?target_session_attrs=read-write&sslrootcert=/ca&sslmode=verify-full&",
            verified(Some("/ca")),
        ),
    ];
    for (text, tls) in table {
        let url = postgres(&format!("postgres://{text}"));
        assert_eq!(*url.tls(), tls, "{text}");
        assert_eq!(postgres(&url.to_string()), url, "{text}");
    }
}

#[test]
fn each_mistake_has_its_own_error() {
    use PostgresUrlError as E;
    let parameter = |name: &str| E::Parameter(name.to_owned());
    let bad_host = |text: &str| E::Host(text.to_owned());
    let table = [
        ("u:p@h/d", E::Password),
        ("u:@h/d", E::Password),
        ("u:p@ss@h/d", E::Password),
        ("u:p/ss@h/d", E::Password),
        ("u:p?ss@h/d", E::Password),
        ("u:p#ss@h/d", E::Password),
        ("u@h/d?password=p", E::Password),
        ("u@h/d?passfile=p", E::Password),
        ("u@x@h/d", E::Unescaped),
        ("u@h/d@e", E::Unescaped),
        ("u@h/d#e", E::Unescaped),
        ("u/x@h/d", E::Unescaped),
        ("h/d", E::User),
        ("@h/d", E::User),
        ("", E::User),
        ("u@h", E::Database),
        ("u@h/", E::Database),
        ("u@h?sslmode=disable", E::Database),
        ("u@h/d/", E::Database),
        ("u%@h/d", E::Encoding),
        ("u%4@h/d", E::Encoding),
        ("u@h/%ff", E::Encoding),
        ("u@h/d%00", E::Encoding),
        ("u@h/d\n", E::Encoding),
        ("u@%2Frun%00/d", E::Encoding),
        ("u@/d", bad_host("")),
        ("u@a,/d", bad_host("")),
        ("u@h:/d", bad_host("h:")),
        ("u@h:0/d", bad_host("h:0")),
        ("u@h:65536/d", bad_host("h:65536")),
        ("u@h:+5/d", bad_host("h:+5")),
        ("u@2001:db8::1/d", bad_host("2001:db8::1")),
        ("u@[2001:db8::1/d", bad_host("[2001:db8::1")),
        ("u@[::1]5/d", bad_host("[::1]5")),
        ("u@[h]/d", bad_host("[h]")),
        ("u@1.2.3.256/d", bad_host("1.2.3.256")),
        ("u@a..b/d", bad_host("a..b")),
        ("u@a b/d", bad_host("a b")),
        ("u@h/d?sslmode", E::NoValue),
        ("u@h/d?sslrootcert=", E::NoValue),
        ("u@h/d?sslmode=disable&sslmode=disable", E::Twice("sslmode")),
        ("u@h/d?sslrootcert=a&sslrootcert=a", E::Twice("sslrootcert")),
        ("u@h/d?options=-c", parameter("options")),
        ("u@h/d?connect_timeout=5", parameter("connect_timeout")),
        ("u@h/d?Secret123=5", parameter("…")),
        ("u@h/d?host=/run", E::HostParameter("host")),
        ("u@h/d?sslmode=on", E::SslMode),
        ("u@h/d?sslmode=disable&sslrootcert=a", E::UnusedRoots),
        ("u@%2Frun/d?sslmode=verify-full", E::SocketTls),
        ("u@%2Frun,db/d", E::SocketTls),
        ("u@h/d?target_session_attrs=any", E::SessionAttrs),
    ];
    for (text, error) in table {
        assert_eq!(refused(&format!("postgres://{text}")), error, "{text}");
    }
    for mode in ["allow", "prefer", "require", "verify-ca"] {
        let error = refused(&format!("postgres://u@h/d?sslmode={mode}")).to_string();
        assert!(error.starts_with(&format!("has sslmode={mode}, ")), "{error}");
        assert!(error.contains("allowed are sslmode=verify-full"), "{error}");
    }
}

#[test]
fn a_relative_path_of_the_root_certificates_starts_from_the_configuration() {
    let mut store = Store {
        url: "postgres://u@db/d?sslrootcert=ca.pem".parse().unwrap(),
        ..Store::default()
    };
    let base = Path::new("/etc/linkseal");
    store.resolve(&Paths { base });
    assert_eq!(*store.postgres().unwrap().tls(), verified(Some("/etc/linkseal/ca.pem")));
    assert_eq!(
        store.url.to_string(),
        "postgres://u@db/d?sslrootcert=%2Fetc%2Flinkseal%2Fca.pem"
    );
    assert_eq!(store.copy_dir, base.join("copy"));
}

/// A text of the parts of URLs, in any order: many are accepted, and most are nearly right.
fn nearly_a_url() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z0-9.:_-]{1,8}",
        2 => "%[0-9a-fA-F]{2}",
        2 => prop::sample::select(vec!["@", "/", "?", "&", "=", ",", "[", "]", ":", "#", "%"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["[::1]", "localhost", "%2Frun", "sslmode=disable", "sslrootcert=", "é"])
            .prop_map(str::to_owned),
    ];
    let any = prop::collection::vec(part.clone(), 0..12).prop_map(|parts| parts.concat());
    let text = "([a-zA-Z0-9._~é-]|%[2-7][0-9A-E]|%C3%A9){1,6}";
    let host = prop_oneof![
        4 => "[a-zA-Z0-9][a-z0-9.-]{0,5}(:[1-9][0-9]{0,3})?",
        1 => "[0-9]{1,3}(\\.[0-9]{1,3}){3}(:[1-9][0-9]{0,3})?",
        1 => "\\[[0-9a-f]{1,4}::[0-9a-f]{1,4}\\](:[1-9][0-9]{0,3})?",
        1 => "%2[fF](run|%[2-7][0-9A-E]|%FF)(:[1-9][0-9]{0,3})?",
        2 => Just("localhost".to_owned()),
    ];
    let (user, host, database) = (text, prop::collection::vec(host, 1..3), text);
    let query = prop::sample::select(vec![
        "",
        "?",
        "?sslmode=disable",
        "?sslmode=verify-full",
        "?sslrootcert=%ff%20x",
        "?sslmode=verify-full&sslrootcert=a/b",
    ]);
    let formed = (user, host, database, query)
        .prop_map(|(user, hosts, database, query)| format!("{user}@{}/{database}{query}", hosts.join(",")));
    prop_oneof![any, formed].prop_map(|rest| format!("postgres://{rest}"))
}

/// A password that occurs in no message.
const PASSWORD: &str = "hu7NTER2x";

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}", rest in "[ -~\u{0}-\u{ff}]{0,80}") {
        drop(text.parse::<StoreUrl>());
        drop(format!("postgres://{rest}").parse::<StoreUrl>());
    }

    #[test]
    fn an_accepted_url_is_shown_as_a_text_of_the_same_value(text in nearly_a_url()) {
        if let Ok(url) = text.parse::<PostgresUrl>() {
            let shown = url.to_string();
            prop_assert_eq!(shown.parse::<PostgresUrl>(), Ok(url), "{}", shown);
        }
    }

    #[test]
    fn a_password_is_refused_and_never_shown(
        around in "[ -~]{0,6}",
        host in "[a-z]{1,5}",
        query in "(\\?sslmode=disable)?",
    ) {
        for text in [
            format!("postgres://user:{around}{PASSWORD}@{host}/db{query}"),
            format!("postgres://user:{PASSWORD}{around}@{host}/db{query}"),
            format!("postgres://user@{host}/db?password={PASSWORD}{around}"),
            format!("postgres://user@{host}/db?{around}{PASSWORD}"),
        ] {
            let error = text.parse::<StoreUrl>();
            prop_assert!(error.is_err(), "{}", text);
            let shown = error.map_err(|error| format!("{error} {error:?}")).unwrap_err();
            prop_assert!(!shown.contains(PASSWORD), "{}: {}", text, shown);
        }
    }
}

/// The property of accepted URLs means nothing if the texts are all refused.
#[test]
fn enough_of_the_texts_tried_are_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let texts = nearly_a_url();
    let accepted = (0..1000)
        .filter(|_| {
            let text = texts.new_tree(&mut runner).unwrap().current();
            text.parse::<PostgresUrl>().is_ok()
        })
        .count();
    assert!(accepted > 100, "{accepted} of 1000");
}
