//! From the configuration's sections to what each part wants to know.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::admin;
use crate::config::acme::Issue;
use crate::config::admission::Policy;
use crate::config::dns::Dmarc;
use crate::config::events::{Durability, IpDetail, SinkKind};
use crate::config::{Config, Endpoint};
use crate::control::{self, AskSettings, Limit, Limits};
use crate::dns::{CheckerSettings, Dkim, DmarcWanted, Target};
use crate::edge::http;
use crate::edge::tls::acceptor;
use crate::event::{self, EventSettings, IpPrivacy, SinkSettings};
use crate::issuer::{CaSettings, Eab};
use crate::link::{LinkKey, LinkKeys};

pub(super) fn addresses(endpoints: &[Endpoint]) -> Vec<SocketAddr> {
    endpoints.iter().map(Into::into).collect()
}
