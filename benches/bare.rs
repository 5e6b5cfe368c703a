//! A bare hyper and tokio-rustls server, the baseline for linkseal's cost.
//!
//! `cargo bench --bench bare -- --listen 127.0.0.1:0 --http 127.0.0.1:0 --cert chain.pem --key key.pem`
//! serves the 43-byte GIF at any path and a 302 below `/c/`, and prints its addresses. Without `--listen`
//! the program exits at once, so that `cargo bench` does not hang.

#![allow(
    clippy::disallowed_methods,
    reason = "the baseline uses nothing of linkseal, not even its task tracker"
)]

use std::{convert::Infallible, error::Error, sync::Arc};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GIF: &[u8; 43] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Where all clicks lead in `peers/run.sh`.
const DESTINATION: &str = "https://example.com/welcome?utm_source=demo";

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1).cloned();
    let Some(listen) = option("--listen") else {
        println!("usage: bare --listen ADDR [--http ADDR] --cert CHAIN.pem --key KEY.pem [--threads N, default 1]");
        return Ok(());
    };
    let threads: usize = option("--threads").map_or(Ok(1), |n| n.parse())?;
    let mut runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let (cert, key) = option("--cert")
        .zip(option("--key"))
        .ok_or("--cert and --key are required")?;
    let tls = TlsAcceptor::from(Arc::new(config(&cert, &key)?));
    runtime.block_on(async move {
        if let Some(address) = option("--http") {
            let http = TcpListener::bind(address).await?;
            println!("http {}", http.local_addr()?);
            tokio::spawn(accept(http, None));
        }
        let https = TcpListener::bind(listen).await?;
        println!("https {}", https.local_addr()?);
        accept(https, Some(tls)).await
    })
}

/// The defaults of rustls, with its own tickets.
fn config(cert: &str, key: &str) -> Fallible<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) -> Fallible<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return serve(stream, false).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(stream, h2).await;
            }
        });
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, h2: bool) {
    let (io, service) = (TokioIo::new(io), service_fn(answer));
    // Errors of a client's connection do not matter here.
    let _ = match h2 {
        true => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        }
        false => http1::Builder::new().serve_connection(io, service).await,
    };
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(GIF)));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if request.uri().path().starts_with("/c/") {
        headers.insert(LOCATION, HeaderValue::from_static(DESTINATION));
        *response.status_mut() = http::StatusCode::FOUND;
        *response.body_mut() = Full::default();
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/gif"));
    }
    Ok(response)
}
