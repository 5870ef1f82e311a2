//! Which links may be followed. A link comes from a service and is followed from inside the user's network: it must not
//! lead to where that service could not reach by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::settings::ClientSettings;
use crate::error::{Error, ErrorKind, Result};

/// The rules, for the links of one service.
#[derive(Debug, Clone)]
pub(crate) struct LinkGuard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// The API's own scheme, host and port: where the user sends their token, downloads may come from.
    api_scheme: String,
    api_host: String,
    api_port: Option<u16>,
    allowed_hosts: Vec<String>,
    allow_private_addresses: bool,
}

impl LinkGuard {
    pub(crate) fn new(settings: &ClientSettings) -> Self {
        let lower = |host: &str| host.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        Self(Arc::new(Rules {
            api_scheme: settings.base_url.scheme().to_owned(),
            api_host: settings.base_url.host_str().unwrap_or_default().to_ascii_lowercase(),
            api_port: settings.base_url.port_or_known_default(),
            allowed_hosts: settings.download.allowed_hosts.iter().map(|host| lower(host)).collect(),
            allow_private_addresses: settings.download.allow_private_addresses,
        }))
    }

    /// Refuses a link that must not be followed; the message names its host and what to do, never its query.
    pub(crate) fn check(&self, link: &Url) -> Result<()> {
        let rules = &self.0;
        let host = link.host_str().unwrap_or_default().to_ascii_lowercase();
        let is_allowed = rules.allowed_hosts.iter().any(|allowed| host == *allowed || is_subdomain(&host, allowed));
        if host == rules.api_host && (link.scheme() == rules.api_scheme || link.scheme() == "https") {
            // Other services of the same machine are not what the user configured. An https URL on the same host as an
            // http URL is acceptable.
            let port = link.port_or_known_default();
            let is_own = port == rules.api_port || link.scheme() == "https" && port == Some(443);
            return match is_own || is_allowed {
                true => Ok(()),
                false => Err(refused(&format!(
                    "the link points to another port of the API's host, {host}:{}; if this is correct, allow it (--allow-host {host})",
                    port.unwrap_or_default()
                ))),
            };
        }
        let is_loopback = match link.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            _ => host == "localhost",
        };
        if !(link.scheme() == "https" || link.scheme() == "http" && is_loopback) {
            return Err(refused(&format!("the link to {host} is not https")));
        }
        if !is_allowed {
            return Err(refused(&format!(
                "the link points to {host}, which is neither the API's host nor an allowed one; if this is correct, allow it (--allow-host {host})"
            )));
        }
        let literal = match link.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match literal.filter(|address| !rules.allow_private_addresses && !is_public(*address)) {
            Some(address) => Err(refused(&private(&host, address))),
            None => Ok(()),
        }
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<()> {
        let rules = &self.0;
        match rules.allow_private_addresses || host.eq_ignore_ascii_case(&rules.api_host) || is_public(address) {
            true => Ok(()),
            false => Err(refused(&private(host, address))),
        }
    }
}

/// Looks up names and gives only addresses that were checked, so that none is connected to that was not.
impl Resolve for LinkGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            for address in &found {
                guard.check_address(host, address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("download refused: {message}"))
}

fn private(host: &str, address: IpAddr) -> String {
    format!("{host} has the address {address}, which is not public (allow it with --allow-private-addresses)")
}

fn is_subdomain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// True for addresses of the open internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carrier-grade NAT, protocol assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // IPv4 in disguise: mapped, compatible, NAT64 and 6to4 addresses are what they carry.
    let carried = match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = carried {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // 2000::/3 is what is given out; documentation and Teredo are inside it.
    segments[0] & 0xe000 == 0x2000 && segments[..2] != [0x2001, 0xdb8] && segments[..2] != [0x2001, 0]
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::transport::Credentials;

    fn check(api: &str, link: &str) -> std::result::Result<(), String> {
        let token = Credentials::PersonalToken(SecretString::from("t"));
        let settings = ClientSettings::new(Url::parse(api).unwrap(), token);
        LinkGuard::new(&settings).check(&Url::parse(link).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn known_storages_and_the_apis_own_host_are_followed() {
        let api = "https://api.eu.cloud.talend.com";
        for link in [
            "https://api.eu.cloud.talend.com/x",
            "https://bucket.s3.eu-central-1.amazonaws.com/x?X-Amz-Signature=s",
            "https://account.blob.core.windows.net/x",
        ] {
            assert_eq!(check(api, link), Ok(()), "{link}");
        }
        assert_eq!(check("http://runlog.intern:8480", "http://runlog.intern:8480/x"), Ok(()));
        assert_eq!(check("http://runlog.intern:8480", "https://runlog.intern/x"), Ok(()));
        assert_eq!(check("http://bucket.s3.amazonaws.com:8480", "http://bucket.s3.amazonaws.com:9000/x"), Ok(()));
    }

    /// A service could redirect its client to another service on the same machine.
    #[test]
    fn other_ports_of_the_apis_host_are_refused_unless_it_is_allowed() {
        for (api, link) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:2/x"),
            ("https://runlog.intern", "https://runlog.intern:8443/x"),
            ("http://runlog.intern:8480", "http://runlog.intern/x"),
        ] {
            let error = check(api, link).unwrap_err();
            assert!(error.contains("another port") && error.contains("--allow-host"), "{error}");
        }
    }

    #[test]
    fn other_hosts_schemes_and_lookalikes_are_refused() {
        let api = "https://api.eu.cloud.talend.com";
        for link in [
            "https://evil.example/x?secret",
            "https://evilamazonaws.com/x",
            "http://bucket.s3.amazonaws.com/x",
            "http://api.eu.cloud.talend.com/x",
            "http://127.0.0.1/x",
            "https://169.254.169.254/latest",
            "https://[::ffff:10.0.0.1]/x",
            "ftp://bucket.s3.amazonaws.com/x",
        ] {
            let error = check(api, link).unwrap_err();
            assert!(error.contains("download refused") && !error.contains("secret"), "{link}: {error}");
        }
    }

    #[test]
    fn only_the_open_internet_is_public() {
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["52.95.110.1", "2a05:d018::1", "::ffff:52.95.110.1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
