//! What an event keeps of a client, decided once, when the event is written. Verdicts are based on
//! everything the client sent, and are always kept.

use std::io::Write;
use std::net::IpAddr;

/// What events keep of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// How much of the address.
    pub ip: IpPrivacy,
    /// Whether the `User-Agent` is kept.
    pub user_agent: bool,
    /// Whether the `Referer` is kept.
    pub referer: bool,
    /// Whether requests not to be tracked (`DNT: 1`, `Sec-GPC: 1`) are honoured: the event is then
    /// written without address, `User-Agent` and `Referer`.
    pub honour_opt_out: bool,
}

impl Privacy {
    /// What is kept of a client that has or has not opted out of tracking.
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
    /// The default of the configuration: networks instead of addresses.
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
    /// The defaults, except for addresses.
    fn from(ip: IpPrivacy) -> Self {
        Self { ip, ..Self::default() }
    }
}

/// How much of a client's address an event keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IpPrivacy {
    /// All of it.
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6 (the most that one household or site gets).
    #[default]
    Truncated,
    /// Nothing.
    None,
}

impl IpPrivacy {
    /// Whether any part of the address is kept.
    pub fn keeps(self) -> bool {
        self != Self::None
    }

    /// Writes the part that is kept as text; IPv4 mapped into IPv6 is written as IPv4.
    pub fn write(self, ip: IpAddr, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = match (self, ip.to_canonical()) {
            (Self::None, _) => Ok(()),
            (Self::Full, ip) => write!(out, "{ip}"),
            (Self::Truncated, IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                for octet in [a, b, c] {
                    crate::json::decimal(out, u64::from(octet));
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
