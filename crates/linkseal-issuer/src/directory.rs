//! Fetches a CA's directory outside of any order, for `linkseal doctor`: is it reachable and trusted, how do
//! CAA records name the CA, and what is its time?

use linkseal_base::clock::{Clock, Timestamp};
use rustls::pki_types::CertificateDer;

use super::client::Directory;
use super::http::{Http, tls_config};

/// A CA as its directory describes it.
#[derive(Clone, Debug)]
pub struct DirectoryInfo {
    /// Its issuer domain names in CAA records; empty if the directory has none.
    pub caa_identities: Vec<String>,
    /// Its current time, if the answer had a `Date`.
    pub now: Option<Timestamp>,
}

/// Fetches a CA's directory; the error says what to do. `trust` is in addition to the public roots.
pub async fn fetch_directory(
    url: &str,
    trust: &[CertificateDer<'static>],
    clock: Clock,
) -> Result<DirectoryInfo, String> {
    let tls = tls_config(trust).map_err(|e| format!("acme.ca_file: {e}"))?;
    let http = Http::new(tls, clock);
    let answer = http.get(url).await.map_err(|e| e.to_string())?;
    let directory: Directory = serde_json::from_slice(&answer.body)
        .map_err(|e| format!("the answer is not an ACME directory ({e}): check the URL"))?;
    Ok(DirectoryInfo {
        caa_identities: directory.meta.caa_identities,
        now: http.now(),
    })
}
