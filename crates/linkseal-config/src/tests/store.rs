//! `[store]` in a whole configuration: what PostgreSQL needs, and what is for it only.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;

use super::*;

/// The last lines of a configuration with PostgreSQL that has no warnings; the first is line 5, the URL in line 6.
const FLEET: &str = "[store]\nurl = \"postgres://linkseal@db.internal/linkseal\"\nkey_file = \"linkseal.key\"\n";
/// Keeps the warning of the host name away.
const NODE: (&str, &str) = ("LINKSEAL_EDGE__NODE", "edge-1");

fn warnings(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let config = load(&format!("{SHORTEST}{text}"), variables).unwrap();
    let warnings = config.warnings.iter().map(Problem::to_string);
    warnings.filter(|w| !w.contains("is empty")).collect()
}

#[test]
fn a_fleet_is_accepted_with_the_documented_defaults() {
    let config = load(&format!("{SHORTEST}{FLEET}"), &[NODE]).unwrap();
    let url = config.store.postgres().unwrap();
    assert_eq!(url.to_string(), "postgres://linkseal@db.internal/linkseal");
    assert_eq!(*url.tls(), crate::store::PostgresTls::VerifyFull { roots: None });
    assert_eq!(config.store.connections, 10);
    assert_eq!(config.store.copy_dir, Path::new("dir/copy"));
    assert_eq!(config.store.key_path(), ("dir/linkseal.key".into(), false));
    assert!(config.secrets.store.password.is_none() && config.secrets.store.trust.is_empty());
    assert_eq!(warnings(FLEET, &[NODE]), Vec::<String>::new());
}

#[test]
fn what_a_fleet_lacks_is_reported() {
    let table: &[(&str, &str)] = &[
        (
            "[store]\nurl = \"postgres://u@h/db\"\n",
            "dir/linkseal.toml:5: store.key_file: is missing; with PostgreSQL every node needs the same sealing key: generate it once with `openssl rand -hex 32 > linkseal.key`, and copy the file to every node",
        ),
        (
            "[store]\nurl = \"postgres://u:SECRET@h/db\"\nkey_file = \"k\"\n",
            "dir/linkseal.toml:6: store.url: contains a password, which everyone who can read the configuration would learn: put it into a file and name the file in store.password_file",
        ),
        (
            "[store]\nurl = \"postgres://h/db\"\nkey_file = \"k\"\n",
            "dir/linkseal.toml:6: store.url: names no user: write it before the host, as in linkseal@db.internal",
        ),
        (
            "[store]\nurl = \"postgres://u@h/db?options=-cx\"\nkey_file = \"k\"\n",
            "dir/linkseal.toml:6: store.url: has the parameter options, which is not supported; allowed are sslmode, sslrootcert and target_session_attrs",
        ),
        (
            "[store]\nurl = \"postgres://u@h/db?sslrootcert=none.pem\"\nkey_file = \"k\"\n",
            "dir/linkseal.toml:6: store.url: dir/none.pem cannot be read (No such file or directory (os error 2)); it must contain certificates in PEM form (sslrootcert)",
        ),
        (
            "[store]\nurl = \"postgres://u@h/db\"\nkey_file = \"k\"\npassword_file = \"none\"\n",
            "dir/linkseal.toml:8: store.password_file: dir/none cannot be read (No such file or directory (os error 2)); it must contain the password of store.url's user in one line",
        ),
        (
            "[store]\nurl = \"postgres://u@h/db\"\nkey_file = \"k\"\nconnections = 3\ncopy_dir = \"events/copy\"\n",
            "dir/linkseal.toml:8: store.connections: must be a whole number from 4 to 64\n\
             dir/linkseal.toml:9: store.copy_dir: must not be events.dir or below it, where the journal keeps its own files",
        ),
        (
            "[store]\nconnections = 65\n",
            "dir/linkseal.toml:6: store.connections: must be a whole number from 4 to 64",
        ),
    ];
    for (wrong, said) in table {
        let error = load(&format!("{SHORTEST}{wrong}"), &[]).unwrap_err();
        assert_eq!(error, *said, "for\n{wrong}");
    }
}

#[test]
fn a_fleet_is_warned_of_host_names_and_of_connections_without_tls() {
    let said = warnings(FLEET, &[]);
    assert!(
        matches!(&said[..], [one] if one.starts_with("dir/linkseal.toml:1: edge.node: is this machine's host name, \"")
            && one.ends_with("\"; with PostgreSQL it must be unique per node: set it on each")),
        "{said:?}"
    );
    let open = |hosts: &str| {
        let url = format!("postgres://u@{hosts}/d?sslmode=disable");
        warnings(FLEET, &[NODE, ("LINKSEAL_STORE__URL", &url)])
    };
    for safe in [
        "10.0.0.1,[fd00::1]:6432",
        "localhost",
        "%2Frun%2Fpostgresql",
        "127.0.0.1",
    ] {
        assert_eq!(open(safe), Vec::<String>::new(), "{safe}");
    }
    let warning = |host: &str| {
        format!(
            "environment variable LINKSEAL_STORE__URL: store.url: connects to {host} without TLS: its passwords and data can be read and changed on the network between; use sslmode=verify-full unless that network is private"
        )
    };
    assert_eq!(
        open("8.8.8.8:6432,10.0.0.1,db.internal"),
        [warning("8.8.8.8:6432"), warning("db.internal")]
    );
}

#[test]
fn what_is_for_postgresql_only_is_warned_of_with_the_embedded_store() {
    let text = "[store]\npassword_file = \"none\"\nconnections = 10\ncopy_dir = \"copy\"\n";
    assert_eq!(
        warnings(text, &[]),
        [
            "dir/linkseal.toml:6: store.password_file: has no effect: the embedded store has no password",
            "dir/linkseal.toml:7: store.connections: has no effect: the embedded store has no server to connect to",
            "dir/linkseal.toml:8: store.copy_dir: has no effect: the embedded store is on this node already",
        ]
    );
}

#[test]
fn the_environment_overrides_the_store() {
    let config = load(
        SHORTEST,
        &[
            NODE,
            ("LINKSEAL_STORE__URL", "postgres://u@a,b:6432/d"),
            ("LINKSEAL_STORE__KEY_FILE", "/k"),
            ("LINKSEAL_STORE__CONNECTIONS", "20"),
            ("LINKSEAL_STORE__COPY_DIR", "/c"),
        ],
    )
    .unwrap();
    assert_eq!(config.store.postgres().unwrap().hosts().len(), 2);
    assert_eq!(config.store.connections, 20);
    assert_eq!(config.store.copy_dir, Path::new("/c"));
    let error = load(SHORTEST, &[("LINKSEAL_STORE__URL", "postgres://u:SECRET@h/d")]).unwrap_err();
    assert!(
        error.starts_with("environment variable LINKSEAL_STORE__URL: store.url: contains a password")
            && !error.contains("SECRET"),
        "{error}"
    );
}

#[test]
fn the_password_is_read_without_the_end_of_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.password");
    let with_password = |password: &str, mode| {
        fs::write(&file, password).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        load(&format!("{SHORTEST}{FLEET}password_file = {file:?}\n"), &[NODE])
    };
    for (written, password) in [
        ("SEC RET", "SEC RET"),
        (" SECRET \n", " SECRET "),
        ("SECRET\r\n", "SECRET"),
        ("SÉCRET", "SÉCRET"),
    ] {
        let config = with_password(written, 0o600).unwrap();
        let read = config.secrets.store.password.as_ref().unwrap();
        assert_eq!(read.expose_secret(), password);
        assert!(config.warnings.iter().all(|w| w.key != "store.password_file"));
        assert!(!format!("{config:?}").contains(password));
    }
    for bad in ["", "\n", "SECRET\nx\n"] {
        let error = with_password(bad, 0o600).unwrap_err();
        assert!(
            error.contains(":8: store.password_file: ")
                && error.contains("must contain the password of store.url's user in one line; it contains ")
                && !error.contains("SECRET"),
            "{error}"
        );
    }
    let config = with_password("p", 0o644).unwrap();
    let warning = config.warnings.iter().find(|w| w.key == "store.password_file").unwrap();
    assert!(warning.message.ends_with("(mode 644); `chmod 640` it"), "{warning}");
}
