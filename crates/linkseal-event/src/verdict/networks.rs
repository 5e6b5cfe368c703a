//! The operator's list of networks: `events.networks_file`, one network per line.
//!
//! ```text
//! # network          class     label
//! 203.0.113.0/24     scanner   example-gateway
//! 2001:db8::/32      proxy     example-relay
//! ```
//! A network is an address or a CIDR block; the class is one of proxy, unknown, prefetch, scanner;
//! the label appears in events as `client.network`. Of nested networks the smallest counts. See
//! `examples/networks.txt`.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use super::class::Class;
use super::signal::Signal;

/// Largest file, in bytes: several hundred thousand networks. A larger one is a mistake, such as the
/// path of another file.
const MAX_FILE: u64 = 32 << 20;
/// Longest label, in bytes: it is repeated in every event from its network.
const MAX_LABEL: usize = 64;

/// A list of networks, indexed by address.
#[derive(Debug, Default)]
pub struct Networks {
    /// Sorted. Each entry holds from its address up to the next: an index into `known`, if any.
    ranges: Vec<(u128, Option<u32>)>,
    known: Vec<Network>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) class: Class,
    pub(super) label: Arc<str>,
}

/// Why a list of networks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    /// The file cannot be read.
    #[error("events.networks_file {path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is too large.
    #[error("events.networks_file {path}: a list of networks has at most 32 MiB")]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
    },
    /// A line is invalid.
    #[error("events.networks_file {path}, line {line}: {problem}")]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

impl NetworksError {
    /// The message without the configuration key, for places that name the key themselves.
    pub fn without_key(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("events.networks_file ").unwrap_or(&text).to_owned()
    }
}

impl Networks {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or a line is invalid; the message names the line and what is allowed.
    pub fn read(path: &Path) -> Result<Self, NetworksError> {
        let file = |source| NetworksError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|f| f.take(MAX_FILE + 1).read_to_string(&mut text))
            .map_err(file)?;
        if read as u64 > MAX_FILE {
            return Err(NetworksError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text).map_err(|(line, problem)| NetworksError::Line {
            path: path.to_owned(),
            line,
            problem,
        })
    }

    /// The number of networks.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Parses the lines of a file; the error has the line number.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut all = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                all.push(parse_line(line).map_err(|problem| (i + 1, problem))?);
            }
        }
        Ok(Self::of(all))
    }

    fn of(mut all: Vec<(IpNet, Network)>) -> Self {
        // A network sorts after those that contain it; if it is listed twice, the last entry counts.
        all.sort_by_key(|(net, _)| bounds(net));
        all.reverse();
        all.dedup_by_key(|(net, _)| bounds(net));
        all.reverse();
        let mut networks = Self::default();
        // The networks that contain the current address, each with its last address.
        let mut around: Vec<(u128, u32)> = Vec::new();
        for (i, (net, network)) in (0u32..).zip(all) {
            let (first, size) = bounds(&net);
            let last = first + !size;
            networks.end_networks(&mut around, Some(first));
            around.push((last, i));
            networks.begin_range(first, Some(i));
            networks.known.push(network);
        }
        networks.end_networks(&mut around, None);
        networks
    }

    /// Ends the networks that end before an address, or all.
    fn end_networks(&mut self, around: &mut Vec<(u128, u32)>, before: Option<u128>) {
        while let Some((last, _)) = around.pop_if(|(last, _)| before.is_none_or(|b| *last < b)) {
            // Nothing follows the end of the address space.
            if let Some(next) = last.checked_add(1) {
                self.begin_range(next, around.last().map(|(_, i)| *i));
            }
        }
    }

    fn begin_range(&mut self, at: u128, network: Option<u32>) {
        match self.ranges.last_mut() {
            Some((last, known)) if *last == at => *known = network,
            _ => self.ranges.push((at, network)),
        }
    }

    /// The smallest network that contains an address.
    pub(super) fn find(&self, ip: IpAddr) -> Option<&Network> {
        let ip = number(ip);
        let place = self.ranges.partition_point(|(first, _)| *first <= ip).checked_sub(1)?;
        let (_, known) = self.ranges.get(place)?;
        self.known.get((*known)? as usize)
    }
}

impl Network {
    pub(super) fn signal(&self) -> Signal {
        match self.class {
            Class::Scanner => Signal::NetworkScanner,
            Class::Prefetch => Signal::NetworkPrefetch,
            Class::Proxy => Signal::NetworkProxy,
            Class::Human | Class::Unknown => Signal::NetworkUnknown,
        }
    }
}

fn parse_line(line: &str) -> Result<(IpNet, Network), String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(net), Some(class), Some(label), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("a line has three fields: a network, a class and a label".into());
    };
    let net = net
        .parse::<IpNet>()
        .or_else(|_| net.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{net}` is not a network; use a form such as 203.0.113.0/24 or 2001:db8::/32"))?;
    let allowed = [Class::Proxy, Class::Unknown, Class::Prefetch, Class::Scanner];
    let class = allowed
        .into_iter()
        .find(|c| c.as_str() == class)
        .ok_or_else(|| format!("`{class}` is not one of proxy, unknown, prefetch, scanner"))?;
    let fits = label.len() <= MAX_LABEL && label.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    if !fits {
        return Err(format!(
            "a label has at most {MAX_LABEL} ASCII characters, without quotes and backslashes"
        ));
    }
    let label = label.into();
    Ok((net, Network { class, label }))
}

/// The first address of a network and its mask, which is larger for nested networks.
fn bounds(net: &IpNet) -> (u128, u128) {
    let (first, bits) = match net {
        IpNet::V4(net) => (number(net.network().into()), u32::from(net.prefix_len()) + 96),
        IpNet::V6(net) => (number(net.network().into()), u32::from(net.prefix_len())),
    };
    (first, u128::MAX.checked_shl(128 - bits).unwrap_or(0))
}

/// Addresses of IPv4 are mapped into IPv6 (RFC 4291 §2.5.5.2).
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label<'n>(networks: &'n Networks, ip: &str) -> Option<&'n str> {
        networks.find(ip.parse().unwrap()).map(|n| &*n.label)
    }

    #[test]
    fn the_smallest_network_counts() {
        let text = "
            # comment
            10.0.0.0/8      scanner  all     # more
            10.1.0.0/16     proxy    branch
            10.1.2.3        unknown  one
            2001:db8::/32   prefetch six
            0.0.0.0/0       proxy    v4
        ";
        let networks = Networks::parse(text).unwrap();
        assert_eq!(networks.len(), 5);
        for (ip, expected) in [
            ("10.0.0.0", Some("all")),
            ("10.1.0.0", Some("branch")),
            ("10.1.2.2", Some("branch")),
            ("10.1.2.3", Some("one")),
            ("10.1.2.4", Some("branch")),
            ("10.2.0.0", Some("all")),
            ("11.0.0.0", Some("v4")),
            ("::ffff:10.1.2.3", Some("one")),
            ("255.255.255.255", Some("v4")),
            ("2001:db8:1::1", Some("six")),
            ("2001:db9::", None),
            ("::1", None),
        ] {
            assert_eq!(label(&networks, ip), expected, "{ip}");
        }
        assert_eq!(label(&Networks::default(), "10.0.0.1"), None);
        let all = Networks::parse("::/0 proxy all\n10.0.0.0/8 proxy first\n10.0.0.0/8 proxy last").unwrap();
        assert_eq!(label(&all, "ffff::"), Some("all"));
        assert_eq!(label(&all, "10.0.0.1"), Some("last"));
    }

    #[test]
    fn an_invalid_line_is_reported_with_what_is_allowed() {
        let said = |text: &str| Networks::parse(text).err().unwrap();
        assert_eq!(said("\n10.0.0.0/8 scanner").0, 2);
        assert!(said("10.0.0.0/40 scanner x").1.contains("is not a network"));
        assert!(
            said("10.0.0.0/8 human x")
                .1
                .contains("proxy, unknown, prefetch, scanner")
        );
        assert!(said("10.0.0.0/8 proxy a\"b").1.contains("label"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.txt");
        std::fs::write(&path, "x").unwrap();
        let error = Networks::read(&path).err().unwrap().to_string();
        assert!(error.contains("n.txt, line 1"), "{error}");
    }

    #[test]
    fn the_example_is_right() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/networks.txt");
        assert!(!Networks::read(&path).unwrap().is_empty());
    }

    proptest! {
        /// As looking through all of them finds it.
        #[test]
        fn lookup_is_longest_prefix(
            nets in proptest::collection::vec((0u32..64, 24u8..=32), 0..20),
            ips in proptest::collection::vec(0u32..80, 20),
        ) {
            // Small addresses, so that networks meet.
            let nets: Vec<IpNet> = nets.into_iter()
                .map(|(a, p)| ipnet::Ipv4Net::new((a << 2).into(), p).unwrap().trunc().into()).collect();
            let text: String = nets.iter().enumerate().map(|(i, n)| format!("{n} proxy {i}\n")).collect();
            let networks = Networks::parse(&text).unwrap();
            for ip in ips {
                let ip = IpAddr::from(std::net::Ipv4Addr::from(ip * 3));
                let expected = nets.iter().enumerate().filter(|(_, n)| n.contains(&ip))
                    .max_by_key(|(i, n)| (n.prefix_len(), *i)).map(|(i, _)| i.to_string());
                prop_assert_eq!(networks.find(ip).map(|n| n.label.to_string()), expected);
            }
        }
    }
}
