//! The real binary as a process: started, signalled, killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::client::{Answer, Web};
use super::until;

const BINARY: &str = env!("CARGO_BIN_EXE_linkseal");

/// A running `linkseal serve` that logs JSON. Killed on drop.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    web: Web,
}

/// Runs the binary and waits for it to exit.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary")
}

/// As [`run`], with a token for the admin API.
pub(crate) fn run_with_token(token: &str, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("LINKSEAL_ADMIN_TOKEN", token);
    command.output().expect("the binary")
}

/// As [`run`], with a limit of open files.
pub(crate) fn run_with_open_files(limit: u32, arguments: &[&str]) -> Output {
    let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, BINARY])
        .args(arguments)
        .stdin(Stdio::null());
    command.output().expect("the binary")
}

pub(crate) fn spawn(arguments: &[&str]) -> Child {
    command(arguments).spawn().expect("the binary")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    /// Starts the binary and waits until it listens.
    pub(crate) async fn serve(config: &Path) -> Self {
        Self::serve_with(config, |_| {}).await
    }

    /// As [`Self::serve`], after a change to the command.
    pub(crate) async fn serve_with(config: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(&["serve", "--config", config.to_str().expect("UTF-8")]);
        change(&mut command);
        Self::listening(command.spawn().expect("the binary")).await
    }

    async fn listening(mut child: Child) -> Self {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("not poisoned").push(line);
            }
        });
        let address = async |kind: &str| {
            until(&format!("the {kind} port is open"), async || {
                let lines = log.lock().expect("not poisoned").clone();
                let listens = |line: &Value| line["message"] == "listening" && line["listener"] == kind;
                let line = lines
                    .iter()
                    .filter_map(|l| serde_json::from_str(l).ok())
                    .find(listens)?;
                line["address"].as_str()?.parse().ok()
            })
            .await
        };
        let (http, https, admin) = (address("http").await, address("https").await, address("admin").await);
        Self {
            child,
            http,
            https,
            admin,
            web: Web::plain(),
            log,
        }
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let url = format!("http://{}{path}", self.admin);
        let body = body.map(|b| b.to_string());
        self.web
            .call(method, &url, body, &[])
            .await
            .expect("the admin API answers")
    }

    pub(crate) async fn register(&self, name: &str) {
        let answer = self.admin("POST", "/v1/domains", Some(json!({ "name": name }))).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// A domain as the admin API shows it.
    pub(crate) async fn domain(&self, name: &str) -> Value {
        let answer = self.admin("GET", &format!("/v1/domains/{name}"), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until a domain is in this state.
    pub(crate) async fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), async || {
            let domain = self.domain(name).await;
            (domain["ssl"]["state"] == state).then_some(domain)
        })
        .await
    }

    /// Waits until the log contains `text`.
    pub(crate) async fn until_logged(&self, text: &str) {
        until(text, async || self.log().contains(text).then_some(())).await;
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(status.expect("kill").success());
    }

    /// Sends SIGKILL and waits.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Waits until the process exits.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the process ends", async || self.child.try_wait().expect("a child")).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killing fails when the process has exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
