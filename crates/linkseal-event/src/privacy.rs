//! What of a client an event may keep: decided once, when the event is written. Verdicts are made
//! from all that was sent, and are kept whatever is not.

use std::io::Write;
use std::net::IpAddr;
use std::str::FromStr;

/// What of clients is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// How much of its address.
    pub ip: IpPrivacy,
    /// Whether its `User-Agent`.
    pub user_agent: bool,
    /// Whether its `Referer`.
    pub referer: bool,
    /// Whether a wish not to be tracked (`DNT: 1`, `Sec-GPC: 1`) is honoured: of such a client
    /// neither address nor `User-Agent` nor `Referer` is kept. The event is.
    pub honour_opt_out: bool,
}

impl Privacy {
    /// What is kept of a client that did or did not ask not to be tracked.
    pub fn of(self, opted_out: bool) -> Self {
        if self.honour_opt_out && opted_out {
            Self {
                ip: IpPrivacy::None,
                user_agent: false,
                referer: false,
                ..self
            }
        } else {
            self
        }
    }
}

impl Default for Privacy {
    /// As without a configuration: networks instead of addresses.
    fn default() -> Self {
        Self {
            ip: IpPrivacy::default(),
            user_agent: true,
            referer: true,
            honour_opt_out: false,
        }
    }
}

impl From<IpPrivacy> for Privacy {
    /// Everything but that of addresses.
    fn from(ip: IpPrivacy) -> Self {
        Self { ip, ..Self::default() }
    }
}

/// How much of a client's address an event keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IpPrivacy {
    /// All of it.
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6 (what one household or site gets at most).
    #[default]
    Truncated,
    /// Nothing.
    None,
}

impl FromStr for IpPrivacy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "truncated" => Ok(Self::Truncated),
            "none" => Ok(Self::None),
            other => Err(format!("`{other}` is not one of full, truncated, none")),
        }
    }
}

impl IpPrivacy {
    /// Whether anything is kept.
    pub fn keeps(self) -> bool {
        self != Self::None
    }

    /// Writes what is kept of an address as text; IPv4 mapped into IPv6 is IPv4.
    pub fn write(self, ip: IpAddr, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = match (self, ip.to_canonical()) {
            (Self::None, _) => Ok(()),
            (Self::Full, ip) => write!(out, "{ip}"),
            (Self::Truncated, IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                for octet in [a, b, c] {
                    super::json::decimal(out, u64::from(octet));
                    out.push(b'.');
                }
                out.write_all(b"0/24")
            }
            (Self::Truncated, IpAddr::V6(ip)) => {
                let kept = u128::from(ip) & (u128::MAX << 80);
                write!(out, "{}/48", std::net::Ipv6Addr::from(kept))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_as_asked() {
        let text = |mode: IpPrivacy, ip: &str| {
            let mut out = Vec::new();
            mode.write(ip.parse().unwrap(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(IpPrivacy::Full, "203.0.113.77"), "203.0.113.77");
        assert_eq!(text(IpPrivacy::Truncated, "203.0.113.77"), "203.0.113.0/24");
        assert_eq!(text(IpPrivacy::Truncated, "::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(text(IpPrivacy::Truncated, "2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
        assert_eq!(text(IpPrivacy::Full, "2001:db8::1"), "2001:db8::1");
        assert_eq!(text(IpPrivacy::None, "203.0.113.77"), "");
    }
}
