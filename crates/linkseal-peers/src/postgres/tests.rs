use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

async fn number(database: &Database, query: &str) -> i64 {
    let rows = database.rows(query).await;
    let value = rows[0][0].as_deref().expect("a value");
    value.parse().unwrap_or_else(|e| panic!("{e}: {value}"))
}

#[tokio::test]
async fn tests_share_a_server_and_have_a_database_each() {
    let server = Server::shared().await;
    let (one, other) = tokio::join!(server.database(), server.database());
    one.sql("create table t (n bigint, s text); insert into t values (7, null)")
        .await;
    assert_eq!(one.rows("select n, s from t").await, [[Some("7".to_owned()), None]]);
    assert!(other.connect().await.simple_query("select from t").await.is_err());
    // The owner of the database has no other rights.
    let (client, connection) = tokio_postgres::connect(&one.url(), tokio_postgres::NoTls)
        .await
        .expect("connected");
    let refused = async move { client.batch_execute("create role other").await };
    let (refused, _) = tokio::join!(refused, connection);
    assert_eq!(refused.expect_err("refused").code().expect("a code").code(), "42501");

    let name = one.name().to_owned();
    drop(one);
    let present = format!("select from pg_database where datname = '{name}'");
    until("the database is dropped", async || {
        server.rows(&present).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_was_committed() {
    let mut server = Server::start(Options {
        durable: true,
        ..Options::default()
    })
    .await;
    let database = server.database().await;
    database
        .sql("create table t (n bigint); insert into t values (1)")
        .await;
    let open = database.connect().await;
    open.batch_execute("begin; insert into t values (2)")
        .await
        .expect("executed");
    server.kill().await;
    assert!(open.batch_execute("commit").await.is_err());
    assert!(server.try_rows("select 1").await.is_err());
    server.start_again().await;
    assert_eq!(number(&database, "select sum(n) from t").await, 1);
    server.stop(Stop::Fast).await;
    server.start_again().await;
    assert_eq!(number(&database, "select sum(n) from t").await, 1);
}

#[tokio::test]
async fn a_synchronous_standby_holds_commits_back_and_is_promoted() {
    let primary = Server::start(Options::default()).await;
    let database = primary.database().await;
    database.sql("create table t (n bigint)").await;
    let mut standby = primary.standby().await;
    primary
        .config(&[("synchronous_standby_names", &format!("ANY 1 ({})", standby.name()))])
        .await;
    database.sql("insert into t values (1)").await;

    standby.stop(Stop::Immediate).await;
    let waiting = database.connect().await;
    let commit = waiting.batch_execute("insert into t values (2)");
    let limit = Duration::from_millis(300);
    assert!(
        tokio::time::timeout(limit, commit).await.is_err(),
        "committed without the standby"
    );
    standby.start_again().await;
    let waits = "select from pg_stat_activity where wait_event = 'SyncRep'";
    until("the commit ends", async || {
        primary.rows(waits).await.is_empty().then_some(())
    })
    .await;

    drop(primary);
    standby.promote().await;
    let answer = standby
        .access
        .rows(OWNER, database.name(), "select sum(n) from t")
        .await;
    assert_eq!(answer.expect("rows"), [[Some("3".to_owned())]]);
}

#[tokio::test]
async fn the_clock_of_a_running_server_is_set() {
    let server = Server::start(Options {
        clock: true,
        ..Options::default()
    })
    .await;
    let database = server.database().await;
    let session = database.connect().await;
    let offset = async || {
        let here = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        let rows = session
            .simple_query("select extract(epoch from clock_timestamp())")
            .await
            .expect("a row");
        let there = rows.iter().find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<f64>().ok(),
            _ => None,
        });
        there.expect("a time") - here
    };
    assert!(offset().await.abs() < 60.0);
    for seconds in [3600, -3600, 0] {
        server.set_clock(seconds);
        assert!((offset().await - seconds as f64).abs() < 60.0, "{seconds}");
    }
}

#[tokio::test]
async fn with_tls_a_password_is_required_and_no_clear_text_is_spoken() {
    for key in [Key::P256, Key::P384] {
        let names = &["127.0.0.1"];
        let server = Server::start(Options {
            tls: Some(Tls { key, names }),
            ..Options::default()
        })
        .await;
        let database = server.database().await;
        let clear = database.url().split('?').next().expect("a URL").to_owned() + "?sslmode=disable";
        assert!(tokio_postgres::connect(&clear, tokio_postgres::NoTls).await.is_err());
        // libpq verifies the chain and the name as linkseal does.
        let psql = |url: &str| {
            let mut psql = Command::new(Path::new(PROGRAMS).join("psql"));
            psql.args([url, "-Atc", "select ssl from pg_stat_ssl where pid = pg_backend_pid()"]);
            psql.output().expect("psql")
        };
        let good = psql(&database.url());
        assert_eq!(String::from_utf8_lossy(&good.stdout), "t\n", "{good:?}");
        assert!(!psql(&database.url().replace(PASSWORD, "wrong")).status.success());
        assert!(
            !psql(&database.url().replace("@127.0.0.1", "@localhost"))
                .status
                .success()
        );
    }
}

/// Not a test: the process that [`a_server_ends_with_its_test_process`] kills.
#[tokio::test]
#[ignore = "only for another test"]
async fn runs_until_it_is_killed() {
    let server = Server::shared().await;
    let process = server.process.as_ref().expect("it runs");
    println!(
        "\nserver {} {}",
        process.id().as_raw_nonzero(),
        server.home.path().display()
    );
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_ends_with_its_test_process() {
    let mut tests = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "postgres::tests::runs_until_it_is_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program");
    let output = BufReader::new(tests.stdout.take().expect("piped"));
    let line = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("server ").map(str::to_owned));
    let line = line.expect("a server");
    let (pid, home) = line.split_once(' ').expect("two values");
    let server = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    assert!(is_running(server));
    tests.kill().expect("killed");
    tests.wait().expect("waited for");
    until("the server ends", async || (!is_running(server)).then_some(())).await;
    let root = Path::new(home).parent().expect("a parent");
    until("its data is removed", async || (!root.exists()).then_some(())).await;
}
