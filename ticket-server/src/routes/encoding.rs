//! Whether a client takes a compressed answer (RFC 9110, section 12.5.3).

use http::{HeaderMap, header::ACCEPT_ENCODING};

/// Whether `gzip` is accepted, and not less than the plain form.
pub fn wants_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut rest) = (None, None, None);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = match parts.next() {
            None => 1_000,
            Some(weight) => weight_of(weight).unwrap_or(0),
        };
        let known = match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            name if name.eq_ignore_ascii_case("identity") => &mut identity,
            "*" => &mut rest,
            _ => continue,
        };
        *known = (*known).max(Some(weight));
    }
    let gzip = gzip.or(rest).unwrap_or(0);
    // The plain form needs not be named: then anything that is accepted is better.
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// `q=0.5` in thousandths.
fn weight_of(text: &str) -> Option<u32> {
    let number = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if !matches!(whole, "0" | "1") || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = part.bytes().zip([100, 10, 1]).map(|(digit, of)| u32::from(digit - b'0') * of).sum::<u32>();
    Some((if whole == "1" { 1_000 } else { 0 } + thousandths).min(1_000))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_clients_wish_is_read() {
        let wants = |value: &'static str| {
            wants_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        let good = [
            "gzip",
            "GZIP",
            "x-gzip",
            "br, gzip;q=0.5",
            "*",
            "gzip;q=1.000, identity;q=0.5",
            "*;q=0.1",
            "gzip ; q=0.2",
        ];
        for good in good {
            assert!(wants(good), "{good}");
        }
        let bad = ["", "br", "gzip;q=0", "gzip;q=0.000", "identity, gzip;q=0.5", "*;q=0", "gzip;q=0, *", "gzip;q=x"];
        for bad in bad {
            assert!(!wants(bad), "{bad}");
        }
        assert!(!wants_gzip(&HeaderMap::new()));
    }
}
