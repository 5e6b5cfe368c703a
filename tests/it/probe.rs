//! Probes from outside: linkseal notices when another server answers for a domain, without changing the
//! domain's state.

use std::sync::Arc;
use std::time::Duration;

use linkseal_domain::record::ProbeResult;
use linkseal_domain::ssl::{Reason, State};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::support::until;
use crate::support::world::Plan;

const HOUR: Duration = Duration::from_secs(3600);

/// What answers at the address that clients connect to.
#[derive(Clone, Copy)]
enum Front {
    /// Another server, with a certificate of its own.
    Another,
    /// The edge.
    Edge(std::net::SocketAddr),
    /// Something that does not speak TLS.
    NotTls,
}

/// A server with a certificate for another name.
fn another() -> TlsAcceptor {
    let own = rcgen::generate_simple_self_signed(["www.elsewhere.example".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(own.key_pair.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a key");
    TlsAcceptor::from(Arc::new(config))
}

async fn front(listener: TcpListener, now: watch::Receiver<Front>) {
    let acceptor = another();
    while let Ok((mut io, _)) = listener.accept().await {
        let (acceptor, now) = (acceptor.clone(), *now.borrow());
        tokio::spawn(async move {
            match now {
                Front::Another => drop(acceptor.accept(io).await),
                Front::NotTls => {}
                Front::Edge(edge) => {
                    let mut edge = TcpStream::connect(edge).await.expect("the edge");
                    drop(tokio::io::copy_bidirectional(&mut io, &mut edge).await);
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_report_another_server_without_changing_the_state() {
    let name = "links.front.test";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (switch, now) = watch::channel(Front::Another);
    tokio::spawn(front(listener, now));
    let plan = Plan::new()
        .await
        .set("edge.probe_interval", "1h")
        .set("edge.probe_address", address);
    let world = plan.set("acme.issue", "on_register").start().await;
    world.edge.register(name).await;
    world.edge.until_issued(name).await;

    let found = async |result: ProbeResult| {
        until(result.as_str(), async || {
            // Probes are spread over the interval, one domain at a time.
            world.clock.advance(HOUR);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let record = world.edge.record(name).await;
            let found = record.probe.as_ref().is_some_and(|p| p.result == result);
            found.then_some(record)
        })
        .await
    };
    let wrong = found(ProbeResult::WrongCertificate).await;
    let detail = wrong.probe.expect("a probe").detail.expect("a detail");
    assert!(detail.contains("a certificate for www.elsewhere.example"), "{detail}");
    assert_eq!((wrong.ssl.state(), wrong.ssl.reason), (State::Issued, Reason::Ok));
    switch.send_replace(Front::NotTls);
    found(ProbeResult::TlsFailed).await;
    switch.send_replace(Front::Edge(world.edge.https));
    let right = found(ProbeResult::Ok).await;
    assert_eq!(right.probe.expect("a probe").detail, None);
    let timeline = world.edge.timeline(name).await;
    let probes: Vec<_> = timeline.iter().filter(|event| event.starts_with("probe")).collect();
    assert_eq!(
        probes,
        ["probe_failed", "probe_failed", "probe_ok"],
        "an entry per change, not per probe"
    );
    assert_eq!(world.ca.name_stats(name).orders, 1);
}
