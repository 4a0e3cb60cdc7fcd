//! Whether a `Host` header names the operations listener.

use std::net::{IpAddr, SocketAddr};

/// A name of `--ops-hosts`: with a port it must be that port, without one any will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsHost {
    name: String,
    port: Option<u16>,
}

impl OpsHost {
    /// Reads `name` or `name:port`; an IPv6 address stands in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = split(text)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        (!name.is_empty() && name.chars().all(allowed)).then(|| Self { name: name.to_ascii_lowercase(), port })
    }
}

/// Whether `host` names a listener bound to `bound` that was reached at `local`, or is one of `more`.
pub(super) fn names(host: &str, bound: SocketAddr, local: SocketAddr, more: &[OpsHost]) -> bool {
    let Some((name, port)) = split(host) else { return false };
    if more.iter().any(|known| known.name.eq_ignore_ascii_case(name) && known.port.is_none_or(|p| Some(p) == port)) {
        return true;
    }
    if port.unwrap_or(80) != bound.port() {
        return false;
    }
    let everywhere = bound.ip().is_unspecified();
    let loopback = everywhere || bound.ip().is_loopback();
    if name.eq_ignore_ascii_case("localhost") {
        return loopback;
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let Ok(address) = bare.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    // An address in the header cannot be an attacker's name; it only has to be one of ours.
    address == bound.ip().to_canonical() || address == local.ip().to_canonical() || loopback && address.is_loopback()
}

fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let behind_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[behind_brackets..].split_once(':') {
        Some((_, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !port.is_empty() => {
            Some((&text[..text.len() - port.len() - 1], Some(port.parse().ok()?)))
        }
        Some(_) => None,
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str, bound: &str, local: &str) -> bool {
        let more: Vec<_> = ["ops.example", "Queue:9003"].iter().map(|n| OpsHost::parse(n).unwrap()).collect();
        names(host, bound.parse().unwrap(), local.parse().unwrap(), &more)
    }

    #[test]
    fn the_address_and_loopback_names_with_the_port() {
        for host in ["127.0.0.1:9003", "localhost:9003", "LOCALHOST:9003", "[::1]:9003", "127.0.0.2:9003"] {
            assert!(named(host, "127.0.0.1:9003", "127.0.0.1:9003"), "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:9002",
            "localhost",
            "evil.example:9003",
            "10.0.0.5:9003",
            "",
            ":9003",
            "localhost:x",
            "localhost:",
            "127.0.0.1:9003:1",
        ] {
            assert!(!named(host, "127.0.0.1:9003", "127.0.0.1:9003"), "{host}");
        }
    }

    #[test]
    fn a_listener_everywhere_answers_to_where_it_was_reached() {
        assert!(named("10.0.0.5:9003", "0.0.0.0:9003", "10.0.0.5:9003"));
        assert!(!named("10.0.0.6:9003", "0.0.0.0:9003", "10.0.0.5:9003"));
        assert!(named("localhost:9003", "0.0.0.0:9003", "127.0.0.1:9003"));
        assert!(named("10.0.0.5:9003", "[::]:9003", "[::ffff:10.0.0.5]:9003"));
        assert!(!named("localhost:9003", "10.0.0.5:9003", "10.0.0.5:9003"));
        assert!(named("10.0.0.5", "10.0.0.5:80", "10.0.0.5:80"), "port 80 need not be named");
    }

    #[test]
    fn other_names_are_given() {
        assert!(named("ops.example", "127.0.0.1:9003", "127.0.0.1:9003"));
        assert!(named("OPS.example:1234", "127.0.0.1:9003", "127.0.0.1:9003"));
        assert!(named("queue:9003", "127.0.0.1:9003", "127.0.0.1:9003"));
        assert!(!named("queue:9004", "127.0.0.1:9003", "127.0.0.1:9003"));
        assert!(!named("xops.example", "127.0.0.1:9003", "127.0.0.1:9003"));
        for bad in ["", "a b", "a:99999", "http://a", "a/b"] {
            assert_eq!(OpsHost::parse(bad), None, "{bad}");
        }
    }
}
