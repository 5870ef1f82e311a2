//! Proxies in front of the service: which of them are trusted, and how they pass on the client address.
//!
//! The address counts only if the connection comes from a trusted proxy, and only in the way that the operator has
//! selected: clients could forge a header that the proxy does not set.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The trusted proxies, and how they pass on the client address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Their addresses. Default: none.
    pub trusted: Vec<Network>,
    /// How they pass on the client address.
    pub client_address_source: ClientAddressSource,
}

/// How a proxy passes on the client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAddressSource {
    /// In the header `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// In the header `Forwarded` (RFC 7239).
    Forwarded,
    /// Before the first byte of the connection, with the PROXY protocol, version 1 or 2.
    ProxyProtocol,
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(64).collect());
        let (address, bits) = match text.trim().split_once('/') {
            None => (text.trim(), None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// True for an address in this network.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let begins_alike = |one: u128, other: u128, length: u8| {
            // Shifts out the host part; with a prefix of length 0, there is nothing to compare.
            let rest = u32::from(length - self.bits);
            one.checked_shr(rest) == other.checked_shr(rest)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => begins_alike(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => begins_alike(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// Maximum number of proxies of a request that are considered; anything beyond them was added by an untrusted party.
const HOPS_MAX: usize = 32;

impl Proxies {
    /// True for the address of a trusted proxy.
    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// True if a connection from this address starts with a header of the PROXY protocol.
    pub(crate) fn uses_proxy_protocol(&self, peer: IpAddr) -> bool {
        self.client_address_source == ClientAddressSource::ProxyProtocol && self.is_trusted(peer)
    }

    /// The client address of a request from `peer`: the last address that is not that of a trusted proxy.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.is_trusted(peer) {
            return peer;
        }
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.client_address_source {
            ClientAddressSource::XForwardedFor => ("x-forwarded-for", address_of),
            ClientAddressSource::Forwarded => ("forwarded", address_of_forwarded),
            // It has been read already.
            ClientAddressSource::ProxyProtocol => return peer,
        };
        let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut nearest = peer;
        for hop in hops.take(HOPS_MAX) {
            // If a trusted proxy does not know the address, it is unknown, and preceding addresses are untrusted.
            let Some(address) = read(hop) else { break };
            nearest = address;
            if !self.is_trusted(address) {
                break;
            }
        }
        nearest
    }
}

/// An address as written by proxies: with or without port, brackets and quotes.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let inside = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    let without_port = || inside.rsplit_once(':').and_then(|(address, _)| address.parse::<Ipv4Addr>().ok());
    let address = inside.parse().ok().or_else(|| without_port().map(IpAddr::V4))?;
    Some(IpAddr::to_canonical(&address))
}

/// The address in the `for=` of one element of `Forwarded`.
fn address_of_forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address_of(value)
}

/// The signature of version 2 of the PROXY protocol.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, including the line break. Unit: bytes. Source: the protocol.
const LINE_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is read. Unit: bytes. Addresses and extensions take some hundred bytes.
const BLOCK_BYTES_MAX: usize = 4 << 10;

/// Reads the PROXY protocol header of a connection, and nothing beyond it: the address of the client, if it contains
/// one.
pub(crate) async fn read_proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin == *SIGNATURE { second_version(stream).await } else { first_version(stream, &begin).await }
}

async fn first_version(stream: &mut (impl AsyncRead + Unpin), begin: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut line = begin.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(no_proxy_header());
    }
    // Byte by byte, because the bytes after the line belong to the client.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(no_proxy_header());
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).map_err(|_| no_proxy_header())?;
    let mut words = text.split_ascii_whitespace().skip(1);
    match words.next() {
        Some("TCP4" | "TCP6") => {
            let address = words.next().and_then(|word| word.parse().ok()).ok_or_else(no_proxy_header)?;
            Ok(Some(IpAddr::to_canonical(&address)))
        }
        Some("UNKNOWN") => Ok(None),
        _ => Err(no_proxy_header()),
    }
}

async fn second_version(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (version_and_command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if version_and_command >> 4 != 2 || length > BLOCK_BYTES_MAX {
        return Err(no_proxy_header());
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    // The proxy itself is the client, for example for health checks.
    if version_and_command & 0xf == 0 {
        return Ok(None);
    }
    Ok(match family >> 4 {
        1 => Some(IpAddr::V4(block.first_chunk::<4>().copied().map(Ipv4Addr::from).ok_or_else(no_proxy_header)?)),
        2 => {
            let address = block.first_chunk::<16>().copied().map(Ipv6Addr::from).ok_or_else(no_proxy_header)?;
            Some(IpAddr::V6(address).to_canonical())
        }
        _ => None,
    })
}

fn no_proxy_header() -> io::Error {
    let message = "a trusted proxy opened a connection without the PROXY protocol; check its configuration";
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies(client_address_source: ClientAddressSource) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        Proxies { trusted: trusted.into(), client_address_source }
    }

    #[track_caller]
    fn check(
        client_address_source: ClientAddressSource,
        peer: &str,
        lines: &[(&'static str, &'static str)],
        expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, HeaderValue::from_static(line));
        }
        let client = proxies(client_address_source).client(peer.parse().unwrap(), &headers);
        assert_eq!(client.to_string(), expected, "{lines:?} from {peer}");
    }

    #[test]
    fn client_addresses_are_accepted_from_trusted_proxies_only() {
        let by = ClientAddressSource::XForwardedFor;
        let name = "x-forwarded-for";
        check(by, "192.0.2.1", &[(name, "198.51.100.7")], "192.0.2.1");
        check(by, "10.0.0.1", &[], "10.0.0.1");
        check(by, "10.0.0.1", &[(name, "198.51.100.7")], "198.51.100.7");
        check(by, "::ffff:10.0.0.1", &[(name, "198.51.100.7")], "198.51.100.7");
        // Addresses forged by the client precede those added by the proxies.
        check(by, "10.0.0.1", &[(name, "203.0.113.9, 198.51.100.7, 10.0.0.2")], "198.51.100.7");
        check(by, "10.0.0.1", &[(name, "203.0.113.9"), (name, "198.51.100.7,10.0.0.2")], "198.51.100.7");
        check(by, "10.0.0.1", &[(name, "203.0.113.9, nonsense, 10.0.0.2")], "10.0.0.2");
        check(by, "2001:db8::1", &[(name, "198.51.100.7:4711, [2001:db8::2]:80")], "198.51.100.7");
        // A header that this proxy does not set was sent by the client.
        check(by, "10.0.0.1", &[("forwarded", "for=203.0.113.9")], "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_in_its_forms() {
        let by = ClientAddressSource::Forwarded;
        let line = "for=203.0.113.9, For=\"[2001:dead::1]:4711\";proto=https;by=10.0.0.2, for=10.0.0.3";
        check(by, "10.0.0.1", &[("forwarded", line)], "2001:dead::1");
        check(by, "10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1");
        check(by, "10.0.0.1", &[("x-forwarded-for", "203.0.113.9")], "10.0.0.1");
    }

    #[test]
    fn networks_are_read_and_wrong_ones_named() {
        for text in ["10.0.0.0/33", "10.0.0", "::1/129", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
        let every: Network = "::/0".parse().unwrap();
        assert!(every.contains("2001:db8::1".parse().unwrap()));
        let one: Network = "192.0.2.7".parse().unwrap();
        assert!(one.contains("192.0.2.7".parse().unwrap()) && !one.contains("192.0.2.8".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_connection_is_introduced_in_both_versions_and_nothing_of_the_client_is_lost() {
        let mut v2 = SIGNATURE.to_vec();
        v2.extend([0x21, 0x11, 0, 14, 198, 51, 100, 7, 10, 0, 0, 1, 0, 1, 0, 80, 9, 9]);
        let mut local = SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        for (begin, expected) in [
            (b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n".to_vec(), Some("198.51.100.7")),
            (b"PROXY TCP6 2001:dead::1 ::1 1 2\r\n".to_vec(), Some("2001:dead::1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2, Some("198.51.100.7")),
            (local, None),
        ] {
            let whole = [begin.as_slice(), b"GET / HTTP/1.1"].concat();
            let mut stream = whole.as_slice();
            let found = read_proxy_header(&mut stream).await.unwrap();
            assert_eq!(found.map(|address| address.to_string()).as_deref(), expected);
            assert_eq!(stream, b"GET / HTTP/1.1");
        }
        for wrong in ["GET / HTTP/1.1\r\n\r\n", "PROXY TCP4 nonsense\r\n", "PROXY ", &"PROXY ".repeat(40)] {
            assert!(read_proxy_header(&mut wrong.as_bytes()).await.is_err(), "{wrong:?}");
        }
    }
}
