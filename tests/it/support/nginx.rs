//! nginx as the back end behind an upstream rule.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use linkseal_peers::ports::free_port;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::until;

/// A running nginx, which logs how it parsed every request. Stopped on drop.
pub(crate) struct Nginx {
    process: Child,
    dir: TempDir,
    pub(crate) address: SocketAddr,
}

/// One request as nginx parsed it.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Logged {
    pub(crate) request: String,
    /// The target as it was sent.
    pub(crate) uri: String,
    pub(crate) host: String,
    pub(crate) length: String,
    pub(crate) agent: String,
    pub(crate) forwarded_for: String,
    pub(crate) forwarded_proto: String,
    pub(crate) forwarded_host: String,
    pub(crate) forwarded: String,
    /// nginx's number of the connection.
    pub(crate) connection: u64,
    /// Number of the request on that connection, from 1.
    pub(crate) requests: u64,
    pub(crate) status: u16,
}

/// Answers every path and method; `/big` is larger than any buffer on the way.
const CONFIG: &str = r#"
daemon off; user root; worker_processes 1; pid nginx.pid; error_log error.log info;
events { worker_connections 256; }
http {
  log_format all escape=json '{"request":"$request","uri":"$request_uri","host":"$http_host",'
    '"length":"$http_content_length","agent":"$http_user_agent","forwarded_for":"$http_x_forwarded_for",'
    '"forwarded_proto":"$http_x_forwarded_proto","forwarded_host":"$http_x_forwarded_host",'
    '"forwarded":"$http_forwarded","connection":$connection,"requests":$connection_requests,"status":$status}';
  access_log access.log all;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  default_type text/plain; merge_slashes off; keepalive_requests 100000;
  server {
    listen PORT default_server;
    location = /big { root .; }
    # Proxying to itself makes nginx read the body before it answers.
    location / { proxy_pass http://PORT; proxy_set_header Host inner; }
  }
  server { listen PORT; server_name inner; access_log off; return 200 "nginx\n"; }
}
"#;

impl Nginx {
    pub(crate) async fn start() -> Self {
        Self::start_at(free_port()).await
    }

    /// Starts nginx on a given address, such as that of a stopped one.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = CONFIG.replace("PORT", &address.to_string());
        fs::write(dir.path().join("nginx.conf"), config).expect("written");
        fs::write(dir.path().join("big"), vec![b'x'; 8 << 20]).expect("written");
        let process = Command::new(program())
            .arg("-p")
            .arg(dir.path())
            .args(["-c", "nginx.conf", "-e", "stderr.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("nginx: {e}; run tests/run.sh, which installs it"));
        let nginx = Self { process, dir, address };
        until("nginx answers", async || TcpStream::connect(address).await.ok()).await;
        nginx
    }

    pub(crate) fn logged(&self) -> Vec<Logged> {
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        let lines = text.lines().map(|line| {
            // nginx 1.22 does not escape bytes above ASCII; no test sends any.
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
        });
        lines.collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master process stops its workers on SIGTERM, but not when it is killed.
        let pid = self.process.id().to_string();
        drop(Command::new("kill").args(["-TERM", &pid]).status());
        drop(self.process.wait());
    }
}

/// Debian installs it outside the PATH of ordinary users.
fn program() -> &'static Path {
    let usual = Path::new("/usr/sbin/nginx");
    if usual.exists() { usual } else { Path::new("nginx") }
}
