//! A look at a CA from outside of any order, for `linkseal doctor`: is its directory reached and
//! trusted, how do CAA records name it, and what time is it there?

use std::path::Path;

use linkseal_base::clock::{Clock, Timestamp};

use super::client::Directory;
use super::http::{Http, tls_config};

/// What a CA says of itself.
#[derive(Clone, Debug)]
pub struct AuthorityLook {
    /// The names by which CAA records mean it. Empty: it does not say.
    pub caa_identities: Vec<String>,
    /// The present time there. `None`: it did not say.
    pub now: Option<Timestamp>,
}

/// Reads a CA's directory. `ca_file`: further trust roots, in PEM.
///
/// # Errors
/// Why it cannot be read, and what to do.
pub async fn look_at_directory(url: &str, ca_file: Option<&Path>, clock: Clock) -> Result<AuthorityLook, String> {
    let tls = tls_config(ca_file).map_err(|e| format!("acme.ca_file: {e}"))?;
    let http = Http::new(tls, clock);
    let answer = http.get(url).await.map_err(|e| e.to_string())?;
    let directory: Directory = serde_json::from_slice(&answer.body)
        .map_err(|e| format!("the answer is no ACME directory ({e}): check the URL"))?;
    Ok(AuthorityLook {
        caa_identities: directory.meta.caa_identities,
        now: http.now(),
    })
}
