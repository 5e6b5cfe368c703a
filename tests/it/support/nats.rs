//! A real nats-server with JetStream, which a test can kill and restart on the same data.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream;
use tempfile::TempDir;

use super::until;

/// Killed on drop.
pub(crate) struct Nats {
    dir: TempDir,
    address: SocketAddr,
    process: Option<Child>,
    token: &'static str,
}

impl Nats {
    /// Starts a server that requires `token`.
    pub(crate) async fn start(token: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // nats-server does not report which port it got for port 0.
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

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts the server on the data it has stored.
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

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("waited for");
        }
    }

    /// A JetStream client, if the server answers.
    pub(crate) async fn client(&self) -> Option<jetstream::Context> {
        let options = async_nats::ConnectOptions::with_token(self.token.to_owned());
        let client = options.connect(self.url()).await.ok()?;
        let stream = jetstream::new(client);
        stream.query_account().await.ok().map(|_| stream)
    }

    /// Creates a stream that stores everything published to `subject`.
    pub(crate) async fn add_stream(&self, name: &str, subject: &str) {
        self.add_stream_up_to(name, subject, -1).await;
    }

    /// Creates a stream that refuses messages larger than `max_bytes` (-1 for no limit).
    pub(crate) async fn add_stream_up_to(&self, name: &str, subject: &str, max_bytes: i32) {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            max_message_size: max_bytes,
            ..jetstream::stream::Config::default()
        };
        let client = self.client().await.expect("nats-server answers");
        client.create_stream(config).await.expect("a stream");
    }

    /// All messages of a stream: `Nats-Msg-Id` and payload.
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

/// Where tests/run.sh installs it, or else from the PATH.
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
