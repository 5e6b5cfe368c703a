//! Pebble, a real ACME CA, and pebble-challtestsrv, the DNS server it queries.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linkseal_peers::ports::free_port;
use tempfile::TempDir;

use super::client::Web;
use super::until;

/// Pebble's database is a map in memory: a query that takes this long means that it is deadlocked.
const DEADLOCKED_AFTER: Duration = Duration::from_secs(10);
const DEADLOCK_POLL: Duration = Duration::from_millis(500);

/// How Pebble behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Percentage of requests refused with badNonce.
    pub(crate) reject_nonces: u32,
    /// An external account key (id, base64url) that Pebble then requires.
    pub(crate) eab: Option<(&'static str, &'static str)>,
    /// The DNS server that Pebble queries; `None` starts a pebble-challtestsrv.
    pub(crate) dns: Option<SocketAddr>,
}

/// A running Pebble, killed on drop.
pub(crate) struct Pebble {
    processes: Vec<Child>,
    dir: TempDir,
    /// The URL of the ACME directory.
    pub(crate) directory: String,
    /// The DNS server that Pebble and the edge query.
    pub(crate) dns: SocketAddr,
    /// The management API of pebble-challtestsrv; `None` with a DNS server of the test's own.
    dns_api: Option<SocketAddr>,
    acme: SocketAddr,
    management: SocketAddr,
    web: Web,
}

impl Pebble {
    /// Starts a Pebble that validates over HTTP on `http_port`. Its DNS server resolves every name
    /// to 127.0.0.1.
    pub(crate) async fn start(http_port: u16, options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("a certificate");
        fs::write(dir.path().join("cert.pem"), own.cert.pem()).expect("written");
        fs::write(dir.path().join("key.pem"), own.key_pair.serialize_pem()).expect("written");
        let (acme, management) = (free_port(), free_port());
        let keys = options
            .eab
            .map(|(id, key)| serde_json::json!({ id: key }))
            .unwrap_or_default();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": acme.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": dir.path().join("cert.pem"),
            "privateKey": dir.path().join("key.pem"),
            "httpPort": http_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.eab.is_some(),
            "externalAccountMACKeys": keys,
        }});
        fs::write(dir.path().join("pebble.json"), config.to_string()).expect("written");
        let mut processes = Vec::new();
        let (dns, dns_api) = match options.dns {
            Some(own) => (own, None),
            None => {
                let (dns, api) = (free_port(), free_port());
                processes.push(spawn(
                    Command::new("pebble-challtestsrv")
                        .args(["-dns01", &dns.to_string(), "-management", &api.to_string()])
                        .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                        .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]),
                    &dir.path().join("challtestsrv.log"),
                ));
                (dns, Some(api))
            }
        };
        processes.push(spawn(
            Command::new("pebble")
                .args(["-config".as_ref(), dir.path().join("pebble.json").as_os_str()])
                .args(["-dnsserver", &dns.to_string()])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env("PEBBLE_WFE_NONCEREJECT", options.reject_nonces.to_string()),
            &dir.path().join("pebble.log"),
        ));
        let directory = format!("https://localhost:{}/dir", acme.port());
        let web = Web::trusting(&own.cert.pem());
        let pebble = Self {
            processes,
            dir,
            directory,
            dns,
            dns_api,
            acme,
            management,
            web,
        };
        until("Pebble answers", async || {
            pebble
                .web
                .get(&format!("https://localhost:{}/roots/0", pebble.management.port()))
                .await
                .ok()
                .map(|_| ())
        })
        .await;
        if dns_api.is_some() {
            until("the DNS server answers", async || {
                pebble
                    .dns_call(
                        "add-a",
                        serde_json::json!({"host": "ready.test.", "addresses": ["127.0.0.1"]}),
                    )
                    .await
                    .ok()
            })
            .await;
        }
        pebble
    }

    /// The address of the ACME API.
    pub(crate) fn address(&self) -> SocketAddr {
        self.acme
    }

    /// The certificate of the ACME API, for `acme.ca_file`.
    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The root of the certificates that Pebble issues.
    pub(crate) async fn root(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management.port());
        self.web.get(&url).await.expect("the root").text()
    }

    /// Scripts the DNS server: `add-a`, `clear-a`, `set-cname`, `set-servfail`, …
    pub(crate) async fn dns_call(&self, call: &str, body: serde_json::Value) -> Result<(), String> {
        let api = self.dns_api.ok_or("this DNS server is scripted by the test itself")?;
        let answer = self.web.post(&format!("http://{api}/{call}"), &body).await?;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{call}: {}", answer.status))
        }
    }

    /// Waits until Pebble deadlocks. Of two concurrent newOrder calls, one may hold the lock of a new
    /// authorization and wait for the database's, while the other holds the database's and waits for
    /// that authorization's (`makeAuthorizations`, `FindValidAuthorization`, from a goroutine dump).
    /// From then on Pebble answers nothing that needs the database.
    pub(crate) async fn deadlocked(&self) {
        let url = format!("https://localhost:{}/cert-status-by-serial/00", self.management.port());
        while tokio::time::timeout(DEADLOCKED_AFTER, self.web.get(&url)).await.is_ok() {
            tokio::time::sleep(DEADLOCK_POLL).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = fs::File::create(log).expect("a log file");
    let program = command.get_program().to_owned();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; run tests/run.sh, which installs it", program.display()))
}
