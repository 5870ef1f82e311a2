//! Presigned links: an address that proves by itself that its holder may download a page file, for an hour.

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runlog_store::PageFile;
use sha2::Sha256;

use crate::settings::ServerSettings;

/// What may stand in a path as it is.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs links and checks them.
pub(crate) struct Links {
    key: Vec<u8>,
}

/// Why a link is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its hour is over.
    Expired,
    /// It is not one that was signed here.
    Altered,
}

impl Links {
    pub(crate) fn new(key: Vec<u8>) -> Self {
        Self { key }
    }

    /// The link to a file, accepted until `expires` (seconds since 1970).
    pub(crate) fn sign(&self, base: &str, file: &PageFile, expires: i64) -> String {
        let signature = hex(&self.mac(&file.key, &file.file_name, expires).finalize().into_bytes());
        let name = utf8_percent_encode(&file.file_name, PATH_SEGMENT);
        format!("{base}/runlog/v1/downloads/{}/{name}?expires={expires}&signature={signature}", file.key)
    }

    /// Checks what a link says against its signature, in constant time.
    pub(crate) fn check(
        &self,
        file: &PageFile,
        expires: Option<&str>,
        signature: Option<&str>,
        now: i64,
    ) -> Result<(), Refusal> {
        let expires: i64 = expires.and_then(|text| text.parse().ok()).ok_or(Refusal::Altered)?;
        let signature = signature.and_then(unhex).ok_or(Refusal::Altered)?;
        let mac = self.mac(&file.key, &file.file_name, expires);
        mac.verify_slice(&signature).map_err(|_| Refusal::Altered)?;
        if expires <= now { Err(Refusal::Expired) } else { Ok(()) }
    }

    fn mac(&self, key: &str, file_name: &str, expires: i64) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this cannot fail.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("a key of any length");
        // A slash cannot stand in a key or a number, so that no two links have the same text.
        mac.update(format!("GET/{key}/{expires}/{file_name}").as_bytes());
        mac
    }
}

/// The address that links begin with.
pub(crate) fn base_url(settings: &ServerSettings, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    settings.public_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    digits.map(|pair| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> PageFile {
        PageFile { key: "abc".to_owned(), file_name: name.to_owned() }
    }

    fn parts(link: &str) -> (&str, &str) {
        let (_, query) = link.split_once("?expires=").unwrap();
        query.split_once("&signature=").unwrap()
    }

    #[test]
    fn a_link_is_accepted_until_it_expires_and_never_altered() {
        let links = Links::new(vec![7; 32]);
        let link = links.sign("http://h", &file("a b.log"), 100);
        assert!(link.starts_with("http://h/runlog/v1/downloads/abc/a%20b.log?"), "{link}");
        let (expires, signature) = parts(&link);
        let check = |name: &str, expires: &str, signature: &str, now| {
            links.check(&file(name), Some(expires), Some(signature), now)
        };
        assert_eq!(check("a b.log", expires, signature, 99), Ok(()));
        assert_eq!(check("a b.log", expires, signature, 100), Err(Refusal::Expired));
        assert_eq!(check("a b.log", "101", signature, 99), Err(Refusal::Altered));
        assert_eq!(check("b.log", expires, signature, 99), Err(Refusal::Altered));
        assert_eq!(check("a b.log", expires, &signature[1..], 99), Err(Refusal::Altered));
        assert_eq!(links.check(&file("a b.log"), None, None, 99), Err(Refusal::Altered));
    }
}
