use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use linkseal_base::shutdown::Tasks;
use linkseal_config::ListenAddr;
use linkseal_config::events::SinkKind;
use linkseal_devca::{DevCa, DevCaConfig};
use tokio::net::TcpListener;

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    tasks: Tasks,
    ca: DevCa,
    http: u16,
}

impl Lab {
    async fn start() -> Self {
        let tasks = Tasks::new();
        let ca = DevCa::start(DevCaConfig::new(Clock::system()), &tasks).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.root_pem()).unwrap();
        linkseal_domain::cert::sealed::write_private(&dir.path().join("link-1.key"), "07".repeat(32).as_bytes())
            .unwrap();
        let http = free().await;
        Self { dir, tasks, ca, http }
    }

    /// Everything is on loopback: names in localhost need no resolver.
    fn config(&self, more: &str) -> Config {
        let text = format!(
            r#"
            [listen]
            http = ["127.0.0.1:{}"]
            https = ["127.0.0.1:0"]
            admin = ["127.0.0.1:0"]
            [edge]
            name = "track.localhost"
            max_connections = 100
            [acme]
            directory = "{}"
            accept_terms = true
            contact = ["mailto:ops@platform.test"]
            {more}
            [store]
            url = "sqlite:linkseal.db"
            [links]
            keys = [{{ id = 1, secret_file = "link-1.key" }}]
            [events]
            dir = "events"
            [[events.sink]]
            name = "archive"
            kind = "file"
            path = "archive/%Y.ndjson"
            "#,
            self.http,
            self.ca.directory_url(),
        );
        let file = self.dir.path().join("linkseal.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&file).unwrap()
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            dns: ResolverSettings {
                resolvers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))],
                ..ResolverSettings::default()
            },
            challenge_port: self.http,
            ..Surroundings::default()
        }
    }
}

async fn free() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap().port()
}

fn outcome<'f>(findings: &'f [Finding], check: &str) -> (Outcome, &'f str) {
    let mut of = findings.iter().filter(|f| f.check.starts_with(check));
    let found = of.next().unwrap_or_else(|| panic!("{check}: {findings:?}"));
    (found.outcome, &found.message)
}

#[tokio::test]
async fn a_correct_setup_passes_and_failures_say_what_to_do() {
    let lab = Lab::start().await;
    let mut config = lab.config("ca_file = \"ca.pem\"");
    let good = examine(&config, &lab.around()).await;
    let not_ok: Vec<_> = good.iter().filter(|f| f.outcome != Outcome::Ok).collect();
    assert!(not_ok.iter().all(|f| f.check == "challenges"), "{not_ok:?}");
    for check in [
        "listen.http",
        "store.key_file",
        "edge.name",
        "acme.directory",
        "clock",
        "dns.resolvers",
    ] {
        assert_eq!(outcome(&good, check).0, Outcome::Ok, "{check}: {good:?}");
    }
    // Nothing listens on IPv6; the request over IPv4 arrives.
    let (_, message) = outcome(&good, "challenges");
    assert!(!message.contains("127.0.0.1:"), "{message}");

    // Another program uses the port.
    let taken = TcpListener::bind(("127.0.0.1", lab.http)).await.unwrap();
    config.listen.https = vec![ListenAddr::from(taken.local_addr().unwrap())];
    let untrusted = lab.config("");
    let bad = examine(&untrusted, &lab.around()).await;
    for (check, says) in [
        ("listen.http", "in use by another process"),
        ("acme.directory", "acme.ca_file"),
    ] {
        let (outcome, message) = outcome(&bad, check);
        assert_eq!(outcome, Outcome::Failed, "{bad:?}");
        assert!(message.contains(says), "{message}");
    }
    lab.tasks.stop();
}

#[tokio::test]
async fn a_clock_that_differs_from_the_cas_is_reported() {
    let lab = Lab::start().await;
    let config = lab.config("ca_file = \"ca.pem\"");
    for (ahead, expected) in [(0, Outcome::Ok), (120, Outcome::Warning), (7_200, Outcome::Failed)] {
        let around = lab.around();
        around.clock.advance(Duration::from_secs(ahead));
        let found = examine(&config, &around).await;
        assert_eq!(outcome(&found, "clock").0, expected, "{found:?}");
    }
    lab.tasks.stop();
}

#[tokio::test]
async fn a_missing_resolver_and_an_unreachable_sink_fail() {
    let lab = Lab::start().await;
    let mut config = lab.config("ca_file = \"ca.pem\"");
    config.edge.name = "track.platform.test".parse().unwrap();
    let mut sink = config.events.sink.first().unwrap().clone();
    (sink.kind, sink.path) = (SinkKind::Webhook, None);
    sink.url = Some(
        format!("http://127.0.0.1:{}/hook?key=QUERYSECRET", free().await)
            .parse()
            .unwrap(),
    );
    config.events.sink = vec![sink];
    let found = examine(&config, &lab.around()).await;
    for check in ["edge.name", "events.sink"] {
        assert_eq!(outcome(&found, check).0, Outcome::Failed, "{found:?}");
    }
    // Nothing is known about the name's records.
    for check in ["edge.name", "challenges"] {
        let message = outcome(&found, check).1;
        assert!(message.contains("cannot be looked up"), "{message}");
        assert!(message.contains("check dns.resolvers"), "{message}");
        assert!(!message.contains("create A"), "{message}");
    }
    let (_, message) = outcome(&found, "events.sink archive");
    assert!(message.contains("/hook: "), "{message}");
    assert!(!message.contains("QUERYSECRET"), "{message}");
    lab.tasks.stop();
}

#[tokio::test]
async fn a_store_that_the_start_refuses_fails() {
    let lab = Lab::start().await;
    let config = lab.config("ca_file = \"ca.pem\"");
    let at = |name: &str| lab.dir.path().join(name);
    std::fs::write(at("linkseal.key"), "07".repeat(32)).unwrap();
    let lost = offline(&config);
    assert_eq!(outcome(&lost, "store.url").0, Outcome::Ok, "this user can write there");
    let failed: Vec<_> = lost.iter().filter(|f| f.outcome == Outcome::Failed).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].message.contains("is missing, but"), "{failed:?}");
    std::fs::write(at("linkseal.db"), "x".repeat(4096)).unwrap();
    let damaged = offline(&config);
    let failed: Vec<_> = damaged.iter().filter(|f| f.outcome == Outcome::Failed).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].check, "store.url");
    assert!(failed[0].message.contains("damaged"), "{failed:?}");
    lab.tasks.stop();
}

#[test]
fn a_key_that_does_not_fit_the_store_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key): (PathBuf, PathBuf) = (dir.path().join("a.db"), dir.path().join("a.key"));
    assert_eq!(sealing_key(&store, (&key, true), None).outcome, Outcome::Ok);
    assert_eq!(sealing_key(&store, (&key, false), None).outcome, Outcome::Failed);
    std::fs::write(&store, "").unwrap();
    let missing = sealing_key(&store, (&key, true), None);
    assert_eq!(missing.outcome, Outcome::Failed, "{missing:?}");
    assert!(
        missing.message.contains("put the store's own key there"),
        "{}",
        missing.message
    );
}

#[tokio::test]
async fn the_database_of_a_fleet_is_examined() {
    let lab = Lab::start().await;
    let database = linkseal_peers::postgres::Server::shared().await.database().await;
    let key = lab.dir.path().join("seal.key");
    linkseal_domain::cert::sealed::write_private(&key, "08".repeat(32).as_bytes()).unwrap();
    let mut config = lab.config("ca_file = \"ca.pem\"");
    config.store.key_file = Some(key);
    config.store.url = database.url().parse().unwrap();
    // `config check` has findings whose names begin alike.
    let of_store = |found: &[Finding]| found.iter().find(|f| f.check == STORE).unwrap().clone();
    let found = examine(&config, &lab.around()).await;
    assert_eq!(of_store(&found).outcome, Outcome::Ok, "{found:?}");
    assert!(
        outcome(&found, KEY_FILE).1.contains("the first start makes its schema"),
        "{found:?}"
    );

    let settings = crate::app::fleet::postgres(&config, config.store.postgres().unwrap()).unwrap();
    let store = linkseal_store::postgres::PostgresStore::open(&settings, None)
        .await
        .unwrap();
    let other = lab.dir.path().join("other.key");
    linkseal_domain::cert::sealed::write_private(&other, "09".repeat(32).as_bytes()).unwrap();
    let sealer = Sealer::from_file(&other, false).unwrap();
    let sealed = sealer.seal("acme_account_key", b"secret");
    linkseal_store::SecretStore::secret_or_insert(&store, "acme_account_key", &sealed)
        .await
        .unwrap();
    let found = examine(&config, &lab.around()).await;
    let (outcome_of_key, message) = outcome(&found, KEY_FILE);
    assert_eq!(outcome_of_key, Outcome::Failed, "{message}");
    config.store.key_file = Some(other);
    let found = examine(&config, &lab.around()).await;
    assert_eq!(outcome(&found, KEY_FILE).1, "opens the database's secrets");

    config.store.url = format!("postgres://linkseal@127.0.0.1:{}/db", free().await)
        .parse()
        .unwrap();
    let found = examine(&config, &lab.around()).await;
    let store = of_store(&found);
    assert_eq!(store.outcome, Outcome::Failed);
    assert!(store.message.contains("cannot be reached"), "{}", store.message);
}
