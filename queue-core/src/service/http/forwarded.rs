//! Who is behind the proxies: `Forwarded` (RFC 7239) or `X-Forwarded-For` and `-Proto`, believed
//! only as far as trusted proxies vouch for it.
//!
//! The walk starts at the peer of the connection and goes from the right through the list; it stops
//! at the first address that is no trusted proxy. What stands left of that anybody may have written.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Hops that are looked at, at most.
const HOPS_MAX: usize = 32;

/// The networks whose word counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// What is known of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address, as far as it can be known.
    pub ip: IpAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

struct Hop {
    address: Option<IpAddr>,
    tls: Option<bool>,
}

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Reads a network, or an address for a network of one.
    pub fn parse(text: &str) -> Option<IpNet> {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came from `peer` with these headers.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut client = Client { ip: peer.to_canonical(), tls: false };
        if self.0.is_empty() || !self.trusts(peer) {
            return client;
        }
        let hops = if headers.contains_key(FORWARDED) { forwarded(headers) } else { x_forwarded(headers) };
        for hop in hops.into_iter().take(HOPS_MAX) {
            client.tls = hop.tls.unwrap_or(false);
            match hop.address {
                Some(address) => client.ip = address,
                // Hidden or broken: the proxy that said so is the last one that is known.
                None => break,
            }
            if !self.trusts(client.ip) {
                break;
            }
        }
        client
    }
}

/// The hops of `Forwarded`, nearest first.
fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let mut hops = Vec::new();
    for element in list(headers, &FORWARDED) {
        let mut hop = Hop { address: None, tls: None };
        for pair in element.split(';') {
            let Some((key, value)) = pair.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            if key.eq_ignore_ascii_case("for") {
                hop.address = address(value);
            } else if key.eq_ignore_ascii_case("proto") {
                hop.tls = Some(value.eq_ignore_ascii_case("https"));
            }
        }
        hops.push(hop);
    }
    hops
}

/// The hops of `X-Forwarded-For`, nearest first. `X-Forwarded-Proto` goes with them one by one when
/// both lists are as long, else its last value, which the nearest proxy wrote, counts for all.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let protos: Vec<bool> = list(headers, &X_FORWARDED_PROTO).map(|p| p.eq_ignore_ascii_case("https")).collect();
    let addresses: Vec<_> = list(headers, &X_FORWARDED_FOR).map(address).collect();
    if addresses.is_empty() {
        return protos.first().map(|tls| Hop { address: None, tls: Some(*tls) }).into_iter().collect();
    }
    let same = protos.len() == addresses.len();
    let tls = |i: usize| protos.get(if same { i } else { 0 }).copied();
    addresses.iter().enumerate().map(|(i, address)| Hop { address: *address, tls: tls(i) }).collect()
}

/// The elements of a list header, all its lines taken together, the last one first.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(',')).map(str::trim).filter(|element| !element.is_empty())
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(HeaderName, &str)]) -> (String, bool) {
        let trusted = TrustedProxies::new(
            ["10.0.0.0/8", "fd00::/8", "127.0.0.1"].map(|n| TrustedProxies::parse(n).unwrap()).into(),
        );
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        let client = trusted.client(peer.parse().unwrap(), &headers);
        (client.ip.to_string(), client.tls)
    }

    #[test]
    fn strangers_are_not_believed() {
        let spoof =
            [(X_FORWARDED_FOR, "1.2.3.4"), (X_FORWARDED_PROTO, "https"), (FORWARDED, "for=1.2.3.4;proto=https")];
        assert_eq!(client("192.0.2.9", &spoof), ("192.0.2.9".into(), false));
        assert_eq!(client("::ffff:192.0.2.9", &spoof), ("192.0.2.9".into(), false));
    }

    #[test]
    fn the_walk_stops_at_the_first_address_that_is_no_proxy() {
        let lines =
            [(X_FORWARDED_FOR, "6.6.6.6, 198.51.100.7"), (X_FORWARDED_FOR, "10.1.1.1"), (X_FORWARDED_PROTO, "https")];
        assert_eq!(client("10.0.0.1", &lines), ("198.51.100.7".into(), true));
        let lines = [(FORWARDED, "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https, for=10.1.1.1;proto=http")];
        assert_eq!(client("127.0.0.1", &lines), ("2001:db8::1".into(), true));
    }

    #[test]
    fn a_chain_of_proxies_alone_gives_its_first() {
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, "10.0.0.3, 10.0.0.2")]), ("10.0.0.3".into(), false));
        assert_eq!(client("10.0.0.1", &[]), ("10.0.0.1".into(), false));
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_PROTO, "https")]), ("10.0.0.1".into(), true));
    }

    #[test]
    fn hidden_and_broken_hops_end_the_walk() {
        assert_eq!(
            client("10.0.0.1", &[(FORWARDED, "for=1.1.1.1, for=_hidden;proto=https")]),
            ("10.0.0.1".into(), true)
        );
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, "1.1.1.1, nonsense")]), ("10.0.0.1".into(), false));
    }

    #[test]
    fn a_browsers_own_proto_does_not_count() {
        let lines = [(X_FORWARDED_FOR, "198.51.100.7"), (X_FORWARDED_PROTO, "https, http")];
        assert_eq!(client("10.0.0.1", &lines), ("198.51.100.7".into(), false));
    }

    #[test]
    fn forwarded_wins_over_its_older_sisters() {
        let lines = [(FORWARDED, "for=198.51.100.1"), (X_FORWARDED_FOR, "198.51.100.2")];
        assert_eq!(client("10.0.0.1", &lines).0, "198.51.100.1");
    }
}
