//! Addresses of the Internet Protocol: `ip("10.0.0.0/8")` in filters of lines and labels.

use std::net::IpAddr;

/// Longest text of an address. Unit: bytes.
const ADDRESS_BYTES_MAX: usize = 45;

/// One address, a range of them, or those with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpFilter {
    first: IpAddr,
    last: IpAddr,
}

impl IpFilter {
    /// Reads `10.0.0.1`, `10.0.0.1-10.0.0.9` or `10.0.0.0/8`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            let is_range = first.is_ipv4() == last.is_ipv4() && first <= last;
            return is_range.then_some(Self { first, last });
        }
        let Some((address, length)) = text.split_once('/') else {
            let address = text.trim().parse().ok()?;
            return Some(Self { first: address, last: address });
        };
        let length: u32 = length.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
                let first = address.to_bits() & !hosts;
                let (first, last) = (IpAddr::V4(first.into()), IpAddr::V4((first | hosts).into()));
                (length <= 32).then_some(Self { first, last })
            }
            IpAddr::V6(address) => {
                let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
                let first = address.to_bits() & !hosts;
                let (first, last) = (IpAddr::V6(first.into()), IpAddr::V6((first | hosts).into()));
                (length <= 128).then_some(Self { first, last })
            }
        }
    }

    /// True when one of the addresses in a text fits.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
        text.split(|c: char| !is_part(c)).any(|word| self.fits_word(word))
    }

    /// Whether a word without spaces is an address that fits, perhaps with a port or a full stop after it.
    fn fits_word(&self, word: &str) -> bool {
        let word = word.trim_end_matches('.');
        let fits = |text: &str| text.len() <= ADDRESS_BYTES_MAX && text.parse().is_ok_and(|address| self.fits(address));
        if fits(word) || fits(word.strip_suffix(':').unwrap_or(word)) {
            return true;
        }
        let (before_port, after_colon) = (word.split(':').next(), word.rsplit(':').next());
        before_port.is_some_and(|text| text.contains('.') && fits(text))
            || after_colon.is_some_and(|text| text.contains('.') && fits(text))
    }

    fn fits(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ranges_and_prefixes_are_found_in_texts() {
        let is_in = |filter: &str, text: &str| IpFilter::parse(filter).unwrap().is_in(text);
        for (filter, text) in [
            ("10.0.0.1", "from 10.0.0.1:8080 to x"),
            ("10.0.0.1", "src=10.0.0.1."),
            ("10.0.0.1-10.0.0.9", "[10.0.0.5]"),
            ("10.0.0.0/8", "a 192.168.1.1 and 10.200.1.1"),
            ("0.0.0.0/0", "1.2.3.4"),
            ("2001:db8::/32", "peer 2001:db8::17 said"),
            ("::1", "[::1]:443"),
        ] {
            assert!(is_in(filter, text), "{filter} in {text}");
        }
        for (filter, text) in [
            ("10.0.0.1", "10.0.0.11 110.0.0.1 10.0.0"),
            ("10.0.0.1-10.0.0.9", "10.0.0.10"),
            ("10.0.0.0/8", "version 11.0.0.1"),
            ("::1", "10.0.0.1 ::2"),
            ("2001:db8::/32", "no address at all: face:"),
        ] {
            assert!(!is_in(filter, text), "{filter} in {text}");
        }
        for wrong in ["", "x", "10.0.0", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "::/129"] {
            assert_eq!(IpFilter::parse(wrong), None, "{wrong}");
        }
    }
}
