use std::io::ErrorKind;

use tokio_postgres::{Client, NoTls};

use super::*;
use crate::postgres::{Database, Server};
use crate::wait::until;

/// How long nothing arrives where nothing may.
const SILENCE: Duration = Duration::from_millis(100);

/// A server that answers with what it gets; its tasks end with the set.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    (address, tasks)
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
}

async fn receive(stream: &mut TcpStream, text: &str) {
    let mut received = vec![0; text.len()];
    stream.read_exact(&mut received).await.expect("received");
    assert_eq!(received, text.as_bytes());
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(SILENCE, stream.read_u8()).await.is_err()
}

async fn assert_reset(stream: &mut TcpStream) {
    let error = stream.read_u8().await.expect_err("nothing to read");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn connect(cutter: &Cutter) -> TcpStream {
    TcpStream::connect(cutter.addr()).await.expect("connected")
}

#[tokio::test]
async fn what_passes_arrives_and_so_do_both_ends() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    let mut client = connect(&cutter).await;
    let text = "x".repeat(1 << 20);
    let (mut from, mut to) = client.split();
    let mut received = String::new();
    let sent = async {
        to.write_all(text.as_bytes()).await.expect("sent");
        to.shutdown().await
    };
    let (sent, read) = tokio::join!(sent, from.read_to_string(&mut received));
    sent.and(read.map(drop)).expect("a clean end");
    assert!(received == text);
    let accepted = 1;
    assert_eq!(
        cutter.counts(),
        Counts {
            accepted,
            ..Counts::default()
        }
    );
}

#[tokio::test]
async fn a_closed_port_refuses_new_connections_only_and_opens_again() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    let mut client = connect(&cutter).await;
    send(&mut client, "before").await;
    receive(&mut client, "before").await;
    cutter.set(Mode::Refuse).await;
    let refused = TcpStream::connect(cutter.addr()).await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    send(&mut client, "during").await;
    receive(&mut client, "during").await;
    cutter.set(Mode::Pass).await;
    let mut client = connect(&cutter).await;
    send(&mut client, "after").await;
    receive(&mut client, "after").await;
}

#[tokio::test]
async fn resets_reach_new_and_open_connections() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    let mut one = connect(&cutter).await;
    send(&mut one, "one").await;
    receive(&mut one, "one").await;
    cutter.break_all().await;
    assert_reset(&mut one).await;

    let mut other = connect(&cutter).await;
    send(&mut other, "other").await;
    receive(&mut other, "other").await;
    cutter.set(Mode::Reset).await;
    assert_reset(&mut other).await;
    assert_reset(&mut connect(&cutter).await).await;
    assert_eq!(cutter.counts().reset, 3);
}

#[tokio::test]
async fn what_is_held_arrives_afterwards() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    // The end of a connection would be held too.
    let mut clients = Vec::new();
    for way in [Way::ToServer, Way::ToClient, Way::Both] {
        let mut client = connect(&cutter).await;
        let held = cutter.counts().held;
        cutter.set(Mode::Hold(way)).await;
        send(&mut client, "held").await;
        assert!(is_silent(&mut client).await);
        assert_eq!(cutter.counts().held, held + 1);
        cutter.set(Mode::Pass).await;
        receive(&mut client, "held").await;
        clients.push(client);
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_a_number_of_bytes() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    let mut client = connect(&cutter).await;
    send(&mut client, "before").await;
    receive(&mut client, "before").await;
    cutter.set(Mode::CutAfter(Way::ToClient, 4)).await;
    send(&mut client, "abc").await;
    receive(&mut client, "abc").await;
    send(&mut client, "def").await;
    // The last byte may be lost with the connection.
    let mut last = Vec::new();
    let error = client.read_to_end(&mut last).await.expect_err("a cut");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(b"d".starts_with(&last), "{last:?}");
    assert_eq!(cutter.counts().cut, 1);
}

#[tokio::test]
async fn a_delay_is_added_both_ways() {
    let (address, _tasks) = echo().await;
    let cutter = Cutter::start(address).await;
    cutter.set(Mode::Delay(SILENCE)).await;
    let mut client = connect(&cutter).await;
    let begun = std::time::Instant::now();
    send(&mut client, "late").await;
    receive(&mut client, "late").await;
    assert!(begun.elapsed() >= 2 * SILENCE);
    assert_eq!(cutter.counts().delayed, 2);
}

/// A session through the cutter, whose transaction has one row to commit.
async fn transaction(cutter: &Cutter, database: &Database, n: u32, tasks: &mut JoinSet<()>) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url_at(cutter.addr()), NoTls)
        .await
        .expect("connected");
    tasks.spawn(async move { drop(connection.await) });
    let statements = format!("begin; insert into t values ({n})");
    client.batch_execute(&statements).await.expect("executed");
    client
}

#[tokio::test]
async fn a_commit_is_lost_or_its_answer_is() {
    let server = Server::shared().await;
    let database = server.database().await;
    database.sql("create table t (n bigint)").await;
    let cutter = Cutter::start(server.address()).await;
    let mut tasks = JoinSet::new();
    let rows = async |n: u32| {
        let query = format!("select from t where n = {n}");
        database.rows(&query).await.len()
    };
    let idle = async || {
        let open = "select from pg_stat_activity where datname = current_database() and state <> 'idle' \
                    and pid <> pg_backend_pid()";
        until("no transaction is open", async || {
            database.rows(open).await.is_empty().then_some(())
        })
        .await;
    };

    cutter.set(Mode::OnCommit(CommitFault::Lost, 1)).await;
    let client = transaction(&cutter, &database, 1, &mut tasks).await;
    assert!(client.batch_execute("COMMIT").await.is_err());
    idle().await;
    assert_eq!(rows(1).await, 0);

    cutter.set(Mode::OnCommit(CommitFault::AnswerCut, 1)).await;
    let client = transaction(&cutter, &database, 2, &mut tasks).await;
    assert!(client.batch_execute("COMMIT").await.is_err());
    assert_eq!(rows(2).await, 1);

    cutter.set(Mode::OnCommit(CommitFault::AnswerSwallowed, 1)).await;
    let client = transaction(&cutter, &database, 3, &mut tasks).await;
    let answer = client.batch_execute("COMMIT");
    assert!(tokio::time::timeout(SILENCE, answer).await.is_err());
    until("the transaction commits", async || (rows(3).await == 1).then_some(())).await;

    // Each fault is for one COMMIT.
    let client = transaction(&cutter, &database, 4, &mut tasks).await;
    client.batch_execute("COMMIT").await.expect("committed");
    assert_eq!(cutter.counts().commits, 3);
}
