use std::cell::{Cell, RefCell};

use linkseal_base::shutdown::Tasks;
use tokio::sync::mpsc;

use super::*;

fn any(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = bind(Listener::Https, any("127.0.0.1:0")).unwrap();
    assert_ne!(first.local_addr().port(), 0);
    let error = bind(Listener::Https, first.local_addr()).unwrap_err();
    assert!(matches!(error, BindError::InUse(a) if a == first.local_addr()));
    assert!(error.to_string().contains(&first.local_addr().to_string()));
    let error = bind(Listener::Http, any("192.0.2.1:0")).unwrap_err();
    assert!(matches!(error, BindError::NotOurs(_)), "{error}");
}

#[tokio::test]
async fn one_listener_accepts_ipv4_and_ipv6_and_reports_both_ends() {
    let bound = bind(Listener::Http, any("[::]:0")).unwrap();
    let port = bound.local_addr().port();
    let (tasks, (sender, mut accepted)) = (Tasks::new(), mpsc::channel(2));
    tasks.spawn(only(bound).run(tasks.token().clone(), move |a| sender.try_send(a).unwrap()));
    for host in ["127.0.0.1", "[::1]"] {
        let to = any(&format!("{host}:{port}"));
        let client = TcpStream::connect(to).await.unwrap();
        let got = accepted.recv().await.unwrap();
        assert_eq!((got.local, got.peer), (to, client.local_addr().unwrap()));
        assert_eq!(got.listener, Listener::Http);
        assert!(got.stream.nodelay().unwrap(), "inherited from the listener");
    }
    tasks.stop();
    assert!(tasks.wait(Duration::from_secs(30)).await);
    TcpStream::connect(any(&format!("127.0.0.1:{port}"))).await.unwrap_err();
}

#[tokio::test]
async fn connections_queued_when_a_listener_stops_are_served() {
    let bound = bind(Listener::Http, any("127.0.0.1:0")).unwrap();
    let address = bound.local_addr();
    // Connected by the kernel; no task has run since then.
    let clients: Vec<_> = (0..20)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let stop = CancellationToken::new();
    stop.cancel();
    let mut served = Vec::new();
    only(bound).run(stop, |accepted| served.push(accepted)).await;
    let peers: Vec<_> = served.iter().map(|a| a.peer).collect();
    let made: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
    assert_eq!(peers, made);
    assert!(served.iter().all(|a| a.stream.nodelay().unwrap()));
    std::net::TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn a_listening_socket_can_be_handed_in() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(inherit(Listener::Https, socket).unwrap().local_addr(), address);
}

#[tokio::test]
async fn an_inherited_socket_refuses_no_connection_across_a_restart() {
    // The copy that a parent such as systemd keeps open.
    let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let other = any("127.0.0.1:0");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let inherited = Inherited::new(vec![kept.try_clone().unwrap()]);
        let bound = inherited.bind(Listener::Http, address).unwrap();
        assert!(inherited.left().is_empty());
        let elsewhere = inherited.bind(Listener::Https, other).unwrap();
        assert_ne!(elsewhere.local_addr(), address, "another address is bound");
        let (tasks, (sender, mut accepted)) = (Tasks::new(), mpsc::channel(8));
        tasks.spawn(only(bound).run(tasks.token().clone(), move |a| sender.try_send(a).unwrap()));
        // Connections that came while nothing ran were queued, and are served.
        for client in waiting.drain(..) {
            let client: TcpStream = client;
            assert_eq!(accepted.recv().await.unwrap().peer, client.local_addr().unwrap());
        }
        let client = TcpStream::connect(address).await.unwrap();
        assert_eq!(accepted.recv().await.unwrap().peer, client.local_addr().unwrap());
        tasks.stop();
        assert!(tasks.wait(Duration::from_secs(30)).await);
        // Nothing accepts now, but no connection is refused.
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(Inherited::new(vec![kept]).left(), [address]);
    assert!(is_same(any("[::]:80"), any("0.0.0.0:80")));
    assert!(!is_same(any("127.0.0.1:80"), any("0.0.0.0:80")) && !is_same(any("[::]:80"), any("[::]:443")));
}

#[tokio::test]
async fn accepting_survives_a_lack_of_descriptors() {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ECONNABORTED: i32 = 103;
    let fails = RefCell::new(vec![EMFILE, ECONNABORTED, ENFILE]);
    let accepted = Cell::new(false);
    let started = Instant::now();
    let accept = || async {
        let failure = fails.borrow_mut().pop();
        match failure {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None if accepted.get() => std::future::pending().await,
            None => Ok(()),
        }
    };
    let done = CancellationToken::new();
    let each = |()| {
        accepted.set(true);
        done.cancel();
    };
    tokio::select! {
        () = accept_all(any("127.0.0.1:80"), accept, each) => unreachable!("it never ends"),
        () = done.cancelled() => {}
    }
    assert!(fails.borrow().is_empty());
    assert!(
        started.elapsed() >= 2 * REST,
        "a lack of descriptors causes a pause, an aborted connection does not"
    );
}

/// For one runtime.
fn only(bound: Bound) -> Shared {
    bound.share(1).unwrap().pop().unwrap()
}
