//! The web server of every name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use linkseal_base::shutdown::Tasks;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers challenges statelessly, except for hosts with a response of their own.
pub(super) struct Web {
    pub(super) address: SocketAddr,
    pub(super) says: Arc<Mutex<Says>>,
}

#[derive(Default)]
pub(super) struct Says {
    thumbprint: String,
    /// Whole responses by Host; `{token}` stands for the token.
    by_host: HashMap<String, String>,
    /// The host and the path of each request.
    asked: Vec<(String, String)>,
}

impl Web {
    pub(super) async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, says) = (listener.local_addr().unwrap(), Arc::<Mutex<Says>>::default());
        let (shared, spawner) = (says.clone(), tasks.clone());
        tasks.spawn_until_stop(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                spawner.spawn_until_stop(serve(stream, shared.clone()));
            }
        });
        Self { address, says }
    }

    pub(super) fn answer_for(&self, thumbprint: String) {
        self.says.lock().thumbprint = thumbprint;
    }

    pub(super) fn say(&self, host: &str, response: &str) {
        self.says.lock().by_host.insert(host.into(), response.into());
    }

    pub(super) fn asked(&self) -> Vec<(String, String)> {
        self.says.lock().asked.clone()
    }
}

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, says: Arc<Mutex<Says>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap().to_owned();
    let token = path.rsplit('/').next().unwrap().to_owned();
    let response = {
        let mut says = says.lock();
        says.asked.push((host.clone(), path));
        match says.by_host.get(&host) {
            Some(said) => said
                .replace("{token}", &token)
                .replace("{thumbprint}", &says.thumbprint),
            None => ok(&format!("{token}.{}", says.thumbprint)),
        }
    };
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
