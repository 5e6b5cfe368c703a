//! The admin port over real sockets, on a control plane of real parts: a SQLite store, a CA that cannot
//! be reached, and DNS in which the names themselves say what they resolve to (`right.…` points here).

mod access;
mod agreement;
mod attacks;
mod browser;
mod bulk;
mod call;
mod checks;
mod domain_page;
mod domains;
mod escaping;
mod events;
mod forms;
mod freeze;
mod harness;
mod health;
mod issuer;
mod links;
mod moved;
mod openapi;
mod operators;
mod ownership;
mod pages;
mod port;
mod repair;
mod sessions;
mod share;
mod sinks;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use linkseal_config::AdminToken;
use linkseal_config::admin::Role;
use linkseal_control::Issue;
use linkseal_dns::{CaIdentity, Kind, LookupError};
use linkseal_domain::DomainName;
use linkseal_event::{Event, EventType};
use linkseal_link::LinkKey;
use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Settings, bind};
use call::{Call, Reply};
use harness::{Dns, Harness, settings_with};

const EDGE: &str = "track.platform.example";
const VIEWER: &str = "viewer-token-0123456789";
const SUPPORT: &str = "support-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";
/// Longer than anything that succeeds takes on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn three_tokens() -> Vec<AdminToken> {
    [(Role::Viewer, VIEWER), (Role::Support, SUPPORT), (Role::Admin, ADMIN)]
        .map(|(role, token)| AdminToken {
            name: format!("{role:?}").to_lowercase(),
            role,
            tenant: None,
            token: SecretString::from(token),
        })
        .into()
}
