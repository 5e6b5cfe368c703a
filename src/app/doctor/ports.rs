//! The addresses to listen on, and whether a CA's challenge request arrives here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use linkseal_base::random;
use linkseal_config::Config;
use linkseal_dns::Resolver;
use linkseal_net::listener::{BindError, bind_socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Finding, Surroundings, names, wiring};

/// The time limit of one connection.
const CONNECTION: Duration = Duration::from_secs(4);
/// Ports below this one are privileged: only a user with CAP_NET_BIND_SERVICE may bind them.
const UNPRIVILEGED: u16 = 1024;
/// The longest request head or answer that is read, in bytes.
const LARGEST: u64 = 16 * 1024;

pub(super) async fn check(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let listen = &config.listen;
    let mut found = Vec::new();
    let mut free = Vec::new();
    let mut runs = false;
    for (key, endpoints) in [
        ("listen.http", &listen.http),
        ("listen.https", &listen.https),
        ("listen.admin", &listen.admin),
        ("listen.health", &listen.health),
    ] {
        for address in wiring::addresses(endpoints) {
            match bind_socket(address) {
                Ok(socket) => {
                    found.push(Finding::ok(key, format!("{address} is free")));
                    if key == "listen.http" {
                        free.push(socket);
                    }
                }
                // A privileged port is refused to this user whether it is in use or not.
                Err(error @ (BindError::InUse(_) | BindError::Forbidden(_))) => {
                    runs = runs || is_an_edge(config, address).await;
                    found.push(match runs {
                        true => Finding::ok(key, format!("{address} is in use by a running edge of this name")),
                        false => refused(key, &error),
                    });
                }
                Err(error) => found.push(refused(key, &error)),
            }
        }
    }
    found.push(super::in_time("challenges", challenges(config, around, free, runs)).await);
    found
}

/// The finding for an address that cannot be bound. A privileged port that is refused to this user says
/// nothing about the service.
fn refused(key: &str, error: &BindError) -> Finding {
    match error {
        BindError::Forbidden(address) if address.port() < UNPRIVILEGED => Finding::warning(
            key,
            format!(
                "{address} not checked: ports below {UNPRIVILEGED} are not permitted for this user; the service needs \
                 CAP_NET_BIND_SERVICE, which deploy/linkseal.service gives it, or a socket handed in by systemd"
            ),
        ),
        error => Finding::failed(key, error.to_string()),
    }
}

/// Whether the program that listens there is an edge that knows edge.name.
async fn is_an_edge(config: &Config, address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => [127, 0, 0, 1].into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let answer = get(
        SocketAddr::new(ip, address.port()),
        config.edge.name.as_str(),
        "/healthz",
    )
    .await;
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Whether a request for a challenge at edge.name arrives here, sent as a CA sends it.
async fn challenges(config: &Config, around: &Surroundings, free: Vec<TcpListener>, runs: bool) -> Finding {
    const CHECK: &str = "challenges";
    let name = config.edge.name.as_str();
    let addresses = match &config.acme.preflight_address {
        Some(address) => vec![address.get()],
        None => match addresses_of(config, around).await {
            Ok(ips) => ips
                .into_iter()
                .map(|ip| SocketAddr::new(ip, around.challenge_port))
                .collect(),
            Err(why) => return Finding::warning(CHECK, format!("not checked: {why}")),
        },
    };
    if free.is_empty() && !runs {
        return Finding::warning(
            CHECK,
            "not checked: this program cannot listen on listen.http, and no edge runs there",
        );
    }
    let word = hex::encode(random::bytes::<16>());
    let path = match runs {
        true => "/healthz".to_owned(),
        false => format!("/.well-known/acme-challenge/{word}"),
    };
    let tries = join_all(addresses.iter().map(|address| {
        let (path, word) = (path.as_str(), word.as_str());
        async move {
            let answer = get(*address, name, path).await.map_err(|e| format!("{address}: {e}"))?;
            let ours = if runs {
                answer.starts_with("HTTP/1.1 200")
            } else {
                answer.ends_with(word)
            };
            ours.then_some(())
                .ok_or_else(|| format!("{address}: the answer is another server's"))
        }
    }));
    let answering = join_all(free.iter().map(|socket| answer_with(socket, &word)));
    let tried = tokio::select! {
        tried = tries => tried,
        _ = answering, if !free.is_empty() => Vec::new(),
    };
    let missed: Vec<String> = tried.into_iter().filter_map(Result::err).collect();
    match missed.is_empty() {
        true => Finding::ok(CHECK, format!("port 80 of {name} reaches this machine")),
        false => Finding::warning(
            CHECK,
            format!(
                "port 80 of {name} cannot be reached from this machine ({}): open it in the firewall; if the public \
                 addresses cannot be reached from inside, check from outside and set acme.preflight_address",
                missed.join("; ")
            ),
        ),
    }
}

async fn addresses_of(config: &Config, around: &Surroundings) -> Result<Vec<IpAddr>, String> {
    let name = config.edge.name.as_str();
    let resolver = Resolver::new(wiring::resolver(config, &around.dns)).map_err(|e| e.to_string())?;
    match names::addresses(&resolver, name).await {
        (found, failed) if found.is_empty() => Err(names::without_address(name, failed.as_ref())),
        (found, _) => Ok(found),
    }
}

/// Sends a GET over plain HTTP and returns the whole answer.
async fn get(address: SocketAddr, host: &str, path: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(CONNECTION, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
    }
}

/// Answers every request with `word` while the check runs.
async fn answer_with(socket: &TcpListener, word: &str) {
    loop {
        let Ok((mut stream, _)) = socket.accept().await else {
            continue;
        };
        let exchange = async {
            let mut head: Vec<u8> = Vec::new();
            let mut buffer = [0; 1024];
            while !head.windows(4).any(|w| w == b"\r\n\r\n") && (head.len() as u64) < LARGEST {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    break;
                }
                head.extend(buffer.iter().take(read));
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{word}",
                word.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        };
        timeout(CONNECTION, exchange).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Outcome;

    #[test]
    fn a_privileged_port_that_this_user_may_not_bind_is_a_warning() {
        for (error, outcome) in [
            (BindError::Forbidden(([127, 0, 0, 1], 443).into()), Outcome::Warning),
            (BindError::Forbidden(([127, 0, 0, 1], 9180).into()), Outcome::Failed),
            (BindError::InUse(([127, 0, 0, 1], 443).into()), Outcome::Failed),
        ] {
            let found = refused("listen.https", &error);
            assert_eq!(found.outcome, outcome, "{found:?}");
        }
        let found = refused("listen.https", &BindError::Forbidden(([127, 0, 0, 1], 443).into()));
        assert!(found.message.contains("CAP_NET_BIND_SERVICE"), "{}", found.message);
    }
}
