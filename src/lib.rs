//! linkseal: the thing a customer's tracking CNAME points at. It terminates TLS for names it has
//! never seen in its configuration, obtains their certificates by ACME HTTP-01, answers open, click
//! and unsubscribe URLs, writes every event down before it answers, and tells, per domain, whether
//! HTTPS works and what to change if it does not.
//!
//! # Life of a connection
//! [`edge::listener`] accepts → [`edge::limits`] gives a permit → [`edge::proxy_protocol`] reads the
//! balancer's header → [`edge::tls`] reads the ClientHello and its name → [`domain::registry`], else
//! [`domain::admission`], says whether the name is served → [`cert::cache`] has the certificate, or
//! asks the control plane for it → handshake → [`edge::http`] serves HTTP/1.1 or HTTP/2: the router
//! decides, [`link`] verifies, [`event`] writes down, and the reply goes out.
//!
//! # Life of a certificate
//! [`control`] owns it: a domain is registered or admitted → [`dns`] is looked at → its order waits
//! in a queue by priority → [`issuer`] makes it, resumably → the sealed result goes into the
//! [`store`] → it is served. [`domain::ssl`] says what state that is, and how it changes.
//!
//! # Map
//! | room | decides or serves |
//! |---|---|
//! | [`edge`] | the data plane: connections, from memory |
//! | [`control`], [`issuer`], [`dns`], [`admin`] | the control plane: domains, durable before visible |
//! | [`event`] | the event plane: journal first, then delivery |
//! | [`domain`], [`cert`], [`link`] | what the planes share: names, states, certificates, tokens |
//! | [`store`] | everything durable |
//! | [`config`], [`cli`], [`app`], [`telemetry`] | what is around them |
//! | `devca` | an ACME CA in process, for the demo and the tests |
//! | `simulate` | months of a fleet in virtual time, by the rules of [`control`] |
//!
//! Data runs one way: the data plane imports nothing of the control plane; they meet in snapshots
//! that the control plane fills, and in two queues that the data plane writes.

pub mod app;
pub mod cli;
mod descriptors;
mod simulate;
pub mod telemetry;
