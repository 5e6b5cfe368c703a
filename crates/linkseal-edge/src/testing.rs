//! Shared by the tests of the data plane: an edge on loopback that echoes, and real clients.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_domain::DomainName;
use linkseal_domain::admission::{Admission, Admitted, ClientNetwork};
use linkseal_domain::cert::cache::{CertificateRequest, Certificates};
use linkseal_domain::cert::certificate::{Certificate, Leaf};
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::record::{DomainRecord, Origin};
use linkseal_domain::registry::Registry;
use linkseal_domain::ssl::{CertificateInfo, Reason};
use linkseal_net::listener::bind;
use linkseal_net::proxy_protocol::Balancers;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, default_provider};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connection::{Connections, ServeHttp};
use super::cores::Cores;
use super::limits::Limits;
use super::tls::acceptor::{Acceptor, Parts, Settings};
use super::waitable::Waitable;
use super::{Connection, Listener, metrics, tls};

/// Longer than anything should take, however busy the machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);
/// The edge's own name.
pub(crate) const EDGE: &str = "track.platform.example";

/// An edge on loopback that echoes what it reads.
pub(crate) struct TestEdge {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) certificates: Certificates,
    pub(crate) requests: mpsc::Receiver<CertificateRequest>,
    pub(crate) failures: HandshakeFailures,
    pub(crate) admission: Arc<StubAdmission>,
    pub(crate) arrivals: mpsc::Receiver<Connection>,
    pub(crate) connections: Connections<Echo>,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) limits: Limits,
    pub(crate) cores: Cores,
    /// Of the clients.
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    made: Mutex<Vec<CertificateDer<'static>>>,
}

/// What differs between tests.
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) balancers: Vec<&'static str>,
    pub(crate) handshake_wait: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) tickets: TicketKeys,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::new(10_000),
            balancers: Vec::new(),
            handshake_wait: PATIENT,
            handshake_timeout: PATIENT,
            tickets: TicketKeys::new(),
        }
    }
}

impl TestEdge {
    /// Runs on two cores until it is dropped.
    pub(crate) fn start(options: Options) -> Self {
        let (certificates, requests) = Certificates::new(100, 10_000);
        let admission = Arc::new(StubAdmission::default());
        let (registry, clock, tasks) = (Registry::new(), Clock::system(), Tasks::new());
        let cores = Cores::start_some(2).unwrap();
        let (counted, failures) = (prometheus::Registry::new(), HandshakeFailures::default());
        let parts = Parts {
            registry: registry.clone(),
            certificates: certificates.clone(),
            admission: admission.clone(),
            tickets: options.tickets,
            failures: failures.clone(),
            clock: clock.clone(),
            metrics: tls::metrics::Metrics::register(&counted),
        };
        let settings = Settings {
            edge_name: name(EDGE),
            handshake_wait: options.handshake_wait,
            handshake_timeout: options.handshake_timeout,
        };
        let (seen, arrivals) = mpsc::channel(10_000);
        let connections = Connections::new(
            options.limits.clone(),
            Balancers::new(options.balancers.iter().map(|b| b.parse().unwrap()).collect()),
            Acceptor::new(parts, settings).unwrap(),
            Echo { seen },
            metrics::Metrics::register(&counted),
            cores.set().clone(),
        );
        let [http, https] = [Listener::Http, Listener::Https].map(|kind| {
            let bound = bind(kind, "127.0.0.1:0".parse().unwrap()).unwrap();
            let address = bound.local_addr();
            connections.listen(bound).unwrap();
            address
        });
        let (limits, made) = (options.limits, Mutex::default());
        Self {
            http,
            https,
            registry,
            certificates,
            requests,
            failures,
            admission,
            arrivals,
            connections,
            metrics: counted,
            limits,
            cores,
            tasks,
            clock,
            made,
        }
    }

    /// Registers a domain after `change`.
    pub(crate) fn register(&self, text: &str, change: impl FnOnce(&mut DomainRecord)) {
        let mut record = DomainRecord::new(name(text), None, Origin::Registered, self.clock.now());
        change(&mut record);
        self.registry.put(&record);
    }

    /// Makes a certificate that the clients of this edge trust.
    pub(crate) fn certificate(&self, text: &str) -> Arc<Certificate> {
        let made = rcgen::generate_simple_self_signed([text.to_owned()]).unwrap();
        self.made.lock().unwrap().push(made.cert.der().clone());
        Arc::new(Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der()).unwrap())
    }

    /// Registers a domain whose certificate is in memory.
    pub(crate) fn issued(&self, text: &str) {
        let certificate = self.certificate(text);
        self.register(text, |record| {
            record.ssl.certificate = Some(certificate_info(&certificate));
            record.ssl.reason = Reason::Ok;
        });
        self.certificates.put(name(text), certificate);
    }

    /// A client's configuration that trusts every certificate made so far.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_with(&[&TLS13, &TLS12], DEFAULT_KX_GROUPS)
    }

    /// One that offers these versions and groups.
    pub(crate) fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        groups: &[&'static dyn SupportedKxGroup],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for der in self.made.lock().unwrap().iter() {
            roots.add(der.clone()).unwrap();
        }
        let provider = CryptoProvider {
            kx_groups: groups.to_vec(),
            ..default_provider()
        };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Makes a session and exchanges a message, so that a ticket sent after the handshake is read too.
    pub(crate) async fn connect(&self, to: &str, client: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::clone(client));
        let socket = TcpStream::connect(self.https).await.unwrap();
        let mut io = connector
            .connect(ServerName::try_from(to.to_owned()).unwrap(), socket)
            .await
            .unwrap();
        echoed(&mut io).await;
        io
    }

    /// The next connection that reached HTTP.
    pub(crate) async fn arrival(&mut self) -> Connection {
        tokio::time::timeout(PATIENT, self.arrivals.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The next certificate that a handshake asks for.
    pub(crate) async fn request(&mut self) -> CertificateRequest {
        tokio::time::timeout(PATIENT, self.requests.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// The sum of a counter or gauge over the series with a label's value; over all series if that is empty.
    pub(crate) fn metric(&self, metric: &str, label: &str) -> f64 {
        let families = self.metrics.gather();
        let family = families
            .iter()
            .find(|f| f.name() == metric)
            .unwrap_or_else(|| panic!("{metric}"));
        let values = family
            .get_metric()
            .iter()
            .filter(|m| label.is_empty() || m.get_label().iter().any(|l| l.value() == label));
        values
            .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
            .sum()
    }

    /// Waits until a metric has a value: some are counted just after the client has its answer.
    pub(crate) async fn until_counted(&self, metric: &str, label: &str, value: f64) {
        until(|| self.metric(metric, label) == value).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn until_idle(&self) {
        until(|| self.limits.open() == 0).await;
    }
}

/// Waits for a condition.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENT, look).await.unwrap();
}

pub(crate) fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// As the control plane stores it.
pub(crate) fn certificate_info(certificate: &Certificate) -> CertificateInfo {
    let leaf = Leaf::of(&certificate.key.cert).unwrap();
    CertificateInfo {
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        obtained: None,
        issuer: leaf.issuer,
        serial: leaf.serial,
        sans: leaf.sans,
        ca: "https://ca.example/".into(),
        ari_id: None,
        renew_at: leaf.not_after,
        ari_check_at: None,
    }
}

/// Sends four bytes and waits for the echo.
pub(crate) async fn echoed(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut word = [0; 4];
    io.write_all(b"word").await.unwrap();
    io.flush().await.unwrap();
    tokio::time::timeout(PATIENT, io.read_exact(&mut word))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&word, b"word");
}

/// A client's first flight; `None`: without SNI.
pub(crate) fn client_hello(client: &ClientConfig, sni: Option<&str>) -> Vec<u8> {
    let mut config = client.clone();
    config.enable_sni = sni.is_some();
    let to = ServerName::try_from(sni.unwrap_or(EDGE).to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), to).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Sends bytes on a new connection and returns everything that comes back. A reset is an error.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENT, socket.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

/// Reports the connection, then echoes until the client ends it or it drains.
pub(crate) struct Echo {
    seen: mpsc::Sender<Connection>,
}

impl ServeHttp for Echo {
    fn serve<IO: Waitable>(
        &self,
        io: IO,
        connection: Connection,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + use<IO> + 'static {
        self.seen.try_send(connection).unwrap();
        async move {
            let (mut from, mut to) = tokio::io::split(io);
            tokio::select! {
                _ = tokio::io::copy(&mut from, &mut to) => {}
                () = drain.cancelled() => {}
            }
            let _ = to.shutdown().await;
        }
    }
}

/// Answers as the test says, and counts the calls.
#[derive(Default)]
pub(crate) struct StubAdmission {
    pub(crate) answer: Mutex<Option<Admitted>>,
    pub(crate) asked: AtomicUsize,
}

impl StubAdmission {
    /// What it answers from now on; at first `No`.
    pub(crate) fn answers(&self, answer: Admitted) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Admission for StubAdmission {
    async fn admit(&self, _: &DomainName, _: ClientNetwork) -> Admitted {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answer.lock().unwrap().clone().unwrap_or(Admitted::No)
    }
}
