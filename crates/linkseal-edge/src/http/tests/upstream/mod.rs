//! Upstream rules, against back ends that record every byte they get.

mod failures;
mod limits;
mod passing;
mod smuggling;
mod tls;

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::net::{TcpListener, TcpStream};

use super::super::upstream::{Http2, Metrics as UpstreamMetrics, Origin, RuleSettings, Upstreams};
use super::*;

/// Longer than anything should take, however busy the machine.
const PATIENT: Duration = Duration::from_secs(30);
/// An empty response.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a back end does with a request.
enum Act {
    Say(Vec<u8>),
    /// Answers and closes.
    SayAndClose(Vec<u8>),
    /// Closes without an answer.
    Close,
    Silence,
}

impl Act {
    fn ok() -> Self {
        Self::Say(OK.to_vec())
    }
}

/// A back end on loopback.
struct BackEnd {
    address: SocketAddr,
    /// The requests received, per connection.
    seen: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
}

impl BackEnd {
    /// One that answers everything with [`OK`].
    async fn start() -> Self {
        Self::with(|_, _| Act::ok()).await
    }

    /// One that acts by the number of the connection and of the request on it.
    async fn with(act: impl Fn(usize, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (all, act) = (Arc::clone(&seen), Arc::new(act));
        Tasks::new().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let number = {
                    let mut all: std::sync::MutexGuard<'_, Vec<Vec<Vec<u8>>>> = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let (all, act) = (Arc::clone(&all), Arc::clone(&act));
                Tasks::new().spawn(async move { answer(socket, number, &all, &*act).await });
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// All requests received.
    fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .flatten()
            .map(|r| String::from_utf8_lossy(r).into_owned())
            .collect()
    }
}

async fn answer(
    mut socket: TcpStream,
    number: usize,
    all: &Mutex<Vec<Vec<Vec<u8>>>>,
    act: &(impl Fn(usize, usize) -> Act + Sync),
) {
    let mut buffer = Vec::new();
    for request in 0.. {
        let length = loop {
            if let Some(length) = whole(&buffer) {
                break length;
            }
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                if !buffer.is_empty() {
                    all.lock().unwrap()[number].push(buffer);
                }
                return;
            }
        };
        let rest = buffer.split_off(length);
        all.lock().unwrap()[number].push(std::mem::replace(&mut buffer, rest));
        match act(number, request) {
            Act::Say(bytes) => drop(socket.write_all(&bytes).await),
            Act::SayAndClose(bytes) => return drop(socket.write_all(&bytes).await),
            Act::Close => return,
            Act::Silence => {}
        }
    }
}

/// The length of the first request in a buffer, read as strictly as by any server. `None` if it is incomplete.
fn whole(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        let end = buffer[head..].windows(5).position(|w| w == b"0\r\n\r\n")?;
        return Some(head + end + 5);
    }
    let length = text
        .split("\r\ncontent-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}

/// A rule for all hosts.
pub(super) fn rule(prefix: &str, to: &str) -> RuleSettings {
    RuleSettings {
        host: None,
        prefix: prefix.to_owned(),
        origin: Origin {
            to: to.parse().unwrap(),
            trust: Vec::new(),
            http2: Http2::Auto,
            connect_timeout: PATIENT,
            max_concurrent: 64,
            max_per_network: 64,
        },
        response_timeout: PATIENT,
        idle_timeout: PATIENT,
        max_body: 64 * 1024,
        events: false,
    }
}

/// An edge with these rules, and their metrics.
fn edge_with(rules: Vec<RuleSettings>) -> (Edge, prometheus::Registry) {
    let registry = prometheus::Registry::new();
    let metrics = UpstreamMetrics::register(&registry).unwrap();
    let upstreams = Upstreams::new(rules, &Upstreams::default(), &metrics, &Tasks::new()).unwrap();
    (Edge::with(|s| s.upstreams = upstreams, |_| {}), registry)
}

fn edge(rule: RuleSettings) -> Edge {
    edge_with(vec![rule]).0
}

/// How often a result was counted.
fn counted(registry: &prometheus::Registry, result: &str) -> u64 {
    let families = registry.gather();
    let all = families.iter().flat_map(|f| f.get_metric());
    let of = all.filter(|m| m.get_label().iter().any(|l| l.value() == result));
    of.map(|m| m.get_counter().get_value() as u64).sum()
}

/// Sends bytes to the edge and reads until it closes.
async fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut io = edge.connect(BOTH[0]);
    io.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENT, io.read_to_end(&mut answer))
        .await
        .expect("the edge closes")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits for a condition.
async fn until(mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENT, look).await.expect("it comes to hold");
}
