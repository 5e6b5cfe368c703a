//! A real nats-server with JetStream, which can be killed and started again on its data.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream;
use tempfile::TempDir;

use super::until;

/// The server; it ends with this value.
pub(crate) struct Nats {
    dir: TempDir,
    address: SocketAddr,
    process: Option<Child>,
    token: &'static str,
}

impl Nats {
    /// Starts one that wants a token.
    pub(crate) async fn start(token: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // It cannot tell which port it got for port 0.
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port");
        let mut nats = Self {
            dir,
            address,
            process: None,
            token,
        };
        nats.run().await;
        nats
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts it again on what it has stored.
    pub(crate) async fn run(&mut self) {
        let log = fs::File::create(self.dir.path().join("nats.log")).expect("a log file");
        let program = program();
        let child = Command::new(&program)
            .args(["--addr", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args(["--auth", self.token, "--jetstream", "--store_dir"])
            .arg(self.dir.path().join("store"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; run tests/run.sh, which installs it", program.display()));
        self.process = Some(child);
        until("nats-server answers", async || self.client().await).await;
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("waited for");
        }
    }

    /// JetStream, for looking at it. `None`: it does not answer.
    pub(crate) async fn client(&self) -> Option<jetstream::Context> {
        let options = async_nats::ConnectOptions::with_token(self.token.to_owned());
        let client = options.connect(self.url()).await.ok()?;
        let stream = jetstream::new(client);
        stream.query_account().await.ok().map(|_| stream)
    }

    /// Makes a stream that takes a subject, and keeps all of it.
    pub(crate) async fn add_stream(&self, name: &str, subject: &str) {
        self.add_stream_up_to(name, subject, -1).await;
    }

    /// Makes a stream that takes no message larger than `most` bytes (-1: any).
    pub(crate) async fn add_stream_up_to(&self, name: &str, subject: &str, most: i32) {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            max_message_size: most,
            ..jetstream::stream::Config::default()
        };
        let client = self.client().await.expect("it answers");
        client.create_stream(config).await.expect("a stream");
    }

    /// All messages of a stream: what `Nats-Msg-Id` and the payload say.
    pub(crate) async fn messages(&self, name: &str) -> Vec<(String, String)> {
        let Some(client) = self.client().await else {
            return Vec::new();
        };
        let mut stream = client.get_stream(name).await.expect("the stream");
        let last = stream.info().await.expect("its state").state.last_sequence;
        let mut messages = Vec::new();
        for number in 1..=last {
            let message = stream.get_raw_message(number).await.expect("a message");
            let id = message
                .headers
                .get("Nats-Msg-Id")
                .map(|v| v.to_string())
                .unwrap_or_default();
            messages.push((id, String::from_utf8(message.payload.to_vec()).expect("text")));
        }
        messages
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where tests/run.sh puts it, or wherever it is installed.
fn program() -> PathBuf {
    let tools = std::env::var("TEST_TOOLS").unwrap_or_else(|_| "target/tools".to_owned());
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(tools)
        .join("bin/nats-server");
    if installed.exists() {
        installed
    } else {
        "nats-server".into()
    }
}
