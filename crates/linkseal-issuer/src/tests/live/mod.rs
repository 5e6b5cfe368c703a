//! The whole issuer, over TLS, against the CA in process.

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

/// A CA, a web server that answers challenges for every name, and what an issuer needs.
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
        let sealer = sealer();
        let key = AccountKey::load_or_create(&store, None, &sealer).await.unwrap();
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
            contact: vec!["mailto:ops@platform.example".into()],
            trust: vec![CertificateDer::from_pem_slice(self.ca.root_pem().as_bytes()).unwrap()],
            ..settings(&self.ca.directory_url())
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

/// Answers challenges, as the data plane does; returns the port.
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

async fn issue(issuer: &Issuer, name: &str) -> Result<Issued, IssueError> {
    issuer.issue(&job_of(name), &|_| {}).await
}

async fn failure(issuer: &Issuer, name: &str) -> (Failure, bool) {
    match issue(issuer, name).await {
        Err(IssueError::Failed { failure, resumable, .. }) => (failure, resumable),
        other => panic!("{other:?}"),
    }
}

/// An order that cannot be resumed: written over the last one, as the control plane's transition removes it.
fn unusable_order(live: &Live) -> OrderRecord {
    OrderRecord {
        name: DomainName::parse("links.customer.example").unwrap(),
        ca: live.ca.directory_url(),
        url: None,
        sealed_key: Vec::new(),
        step: OrderStep::Creating,
        created: live.clock.now(),
    }
}
