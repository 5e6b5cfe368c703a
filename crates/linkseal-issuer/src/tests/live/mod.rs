//! The whole issuer over TLS against the CA in process.

mod accounts;
mod certificates;
mod failures;
mod floods;
mod resuming;

use std::net::Ipv4Addr;

use linkseal_base::shutdown::Tasks;
use linkseal_devca::{DevCa, DevCaConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A CA, a web server that every name leads to, and what an issuer needs.
struct Live {
    clock: Clock,
    ca: DevCa,
    store: SharedStore,
    sealer: Arc<Sealer>,
    key: Arc<AccountKey>,
    tasks: Tasks,
}

impl Live {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut DevCaConfig)) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let store: SharedStore = Arc::new(MemoryStore::default());
        let sealer = Arc::new(Sealer::new(&Zeroizing::new([7; KEY_LEN])));
        let key = AccountKey::load_or_create(&store, &sealer).await.unwrap();
        let mut config = DevCaConfig::new(clock.clone());
        config.http_port = answer_challenges(&tasks, key.thumbprint().to_owned()).await;
        change(&mut config);
        let ca = DevCa::start(config, &tasks).await.unwrap();
        Self {
            clock,
            ca,
            store,
            sealer,
            key,
            tasks,
        }
    }

    fn settings(&self) -> CaSettings {
        CaSettings {
            directory: self.ca.directory_url(),
            contact: vec!["mailto:ops@platform.example".into()],
            trust: vec![CertificateDer::from_pem_slice(self.ca.root_pem().as_bytes()).unwrap()],
            eab: None,
            profile: None,
        }
    }

    /// A new issuer on the same store, as after a restart.
    fn issuer(&self) -> Issuer {
        self.issuer_of(self.settings())
    }

    fn issuer_of(&self, settings: CaSettings) -> Issuer {
        let (store, sealer, clock) = (self.store.clone(), self.sealer.clone(), self.clock.clone());
        let metrics = Metrics::register(&Registry::new()).unwrap();
        Issuer::new(settings, self.key.clone(), store, sealer, clock, metrics).unwrap()
    }
}

/// The one thing the data plane does for an order.
async fn answer_challenges(tasks: &Tasks, thumbprint: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = tasks.clone();
    tasks.spawn_until_stop(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let thumbprint = thumbprint.clone();
            connections.spawn_until_stop(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split_whitespace().nth(1).unwrap_or_default();
                let body = format!("{}.{thumbprint}", path.rsplit('/').next().unwrap_or_default());
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    port
}

fn job_of(name: &str) -> Job {
    Job {
        name: DomainName::parse(name).unwrap(),
        replaces: None,
        resumes: false,
        fence: FENCE,
    }
}

async fn issue(issuer: &Issuer, name: &str) -> Result<Issued, IssueError> {
    issuer.issue(&job_of(name), &|_| {}).await
}

async fn failure(issuer: &Issuer, name: &str) -> (Failure, bool) {
    match issue(issuer, name).await {
        Err(IssueError::Failed { failure, resumable, .. }) => (failure, resumable),
        other => panic!("{other:?}"),
    }
}

/// What the control plane's transition does to the order of a name: it is no more.
fn spent_order(live: &Live) -> OrderRecord {
    OrderRecord {
        name: DomainName::parse("links.customer.example").unwrap(),
        ca: live.ca.directory_url(),
        url: None,
        sealed_key: Vec::new(),
        step: OrderStep::Creating,
        created: live.clock.now(),
    }
}
