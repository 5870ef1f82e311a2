//! Signatures for reading objects of an S3 bucket, for clients without credentials.

use std::collections::BTreeMap;
use std::fmt;

use hyper::header::{HeaderName, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// Headers that are covered by the signature, so that the signed request reads exactly what they specify.
const SIGNED_HEADERS: [&str; 2] = ["range", "x-amz-checksum-mode"];

/// Headers that are set by the signature.
const REPLACED_HEADERS: [&str; 5] =
    ["authorization", "host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// The region of a bucket for which none is configured.
const DEFAULT_REGION: &str = "us-east-1";

/// The address to which clients send signed requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketLocation {
    /// The endpoint, without the bucket.
    pub endpoint: String,
    /// The region of the bucket.
    pub region: String,
    /// True if the bucket is part of the path, false if it is part of the host.
    pub is_path_style: bool,
}

/// The headers of a request.
pub type RequestHeaders = BTreeMap<String, Vec<String>>;

/// A request with its signature. It is equivalent to a credential and must not be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The URL to which to send the request.
    pub uri: String,
    /// The headers of the request: the given headers, and those of the signature.
    pub headers: RequestHeaders,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// The configured location of the bucket, determined before the bucket is opened.
pub(crate) struct S3Location {
    location: BucketLocation,
    /// The URLs of the folder of all objects, with the bucket in the path and with the bucket in the host. Each ends
    /// with a slash.
    roots: Vec<Url>,
}

/// A signer of requests for objects of a bucket.
pub(crate) struct S3Signing {
    credentials: AwsCredentialProvider,
    location: S3Location,
}

impl S3Location {
    /// Returns the configured location; `None` if requests to the bucket do not have ordinary signatures.
    pub(crate) fn of(builder: &AmazonS3Builder, bucket: &str, prefix: &Path) -> Option<Self> {
        let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
        let is_set =
            |key| value(key).is_some_and(|text| ["1", "true", "on", "yes", "y"].contains(&&*text.to_lowercase()));
        if is_set(AmazonS3ConfigKey::SkipSignature) || is_set(AmazonS3ConfigKey::S3Express) {
            return None;
        }
        let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let is_in_host = is_set(AmazonS3ConfigKey::VirtualHostedStyleRequest);
        let configured = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
        let configured = configured.unwrap_or_else(|| match is_in_host {
            true => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            false => format!("https://s3.{region}.amazonaws.com"),
        });
        let mut endpoint = Url::parse(configured.trim_end_matches('/')).ok()?;
        if is_in_host {
            let host = endpoint.host_str()?.strip_prefix(bucket)?.strip_prefix('.')?.to_owned();
            endpoint.set_host(Some(&host)).ok()?;
        }
        let base = endpoint.path().trim_end_matches('/').to_owned();
        let folder = match prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{}/", encoded(prefix)),
        };
        let mut in_path = endpoint.clone();
        in_path.set_path(&format!("{base}/{}/{folder}", encoded(bucket)));
        let mut roots = vec![in_path];
        if let Some(host) = endpoint.domain() {
            let mut in_host = endpoint.clone();
            in_host.set_host(Some(&format!("{bucket}.{host}"))).ok()?;
            in_host.set_path(&format!("{base}/{folder}"));
            roots.push(in_host);
        }
        let endpoint = endpoint.as_str().trim_end_matches('/').to_owned();
        Some(Self { location: BucketLocation { endpoint, region, is_path_style: !is_in_host }, roots })
    }

    /// Returns the URL and the key of the object to which a URL refers; `None` if the URL is not the plain URL of an
    /// object below the folder of all objects.
    fn object_at(&self, uri: &str) -> Option<(Url, String)> {
        let url = Url::parse(uri).ok()?;
        let is_plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        if !is_plain {
            return None;
        }
        let origin =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
        let key = self.roots.iter().filter(|root| origin(root) == origin(&url)).find_map(|root| {
            // Keys of objects only contain characters with a single encoding in URLs.
            let is_of_key = |char: char| char.is_ascii_alphanumeric() || "/.-".contains(char);
            let key = url.path().strip_prefix(root.path())?;
            (!key.is_empty() && key.chars().all(is_of_key)).then(|| key.to_owned())
        })?;
        Some((url, key))
    }
}

impl S3Signing {
    pub(crate) fn new(bucket: &AmazonS3, location: S3Location) -> Self {
        Self { credentials: bucket.credentials().clone(), location }
    }

    pub(crate) fn location(&self) -> &BucketLocation {
        &self.location.location
    }

    /// Returns the key of the object to which a URL refers.
    pub(crate) fn key_of(&self, uri: &str) -> Option<String> {
        self.location.object_at(uri).map(|(_, key)| key)
    }

    /// Signs a request that reads an object. Returns `None` if the request does anything else, or if its headers
    /// request anything else.
    pub(crate) async fn sign(
        &self,
        method: &str,
        uri: &str,
        headers: &RequestHeaders,
    ) -> Result<Option<SignedRequest>> {
        let method = match method {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            _ => return Ok(None),
        };
        let Some((url, _)) = self.location.object_at(uri) else { return Ok(None) };
        let Some((signed, others)) = divided(headers) else { return Ok(None) };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        let Ok(uri) = url.as_str().parse() else { return Ok(None) };
        *request.uri_mut() = uri;
        request.headers_mut().extend(signed);
        let credential = self.credentials.get_credential().await?;
        let authorizer = AwsAuthorizer::new(&credential, "s3", &self.location.location.region);
        authorizer.try_authorize(&mut request, None)?;
        let mut headers = others;
        for (name, value) in request.headers() {
            let value = value
                .to_str()
                .map_err(|error| Error::caused(ErrorKind::Invalid, "a header of the request is not text", error))?;
            headers.entry(name.as_str().to_owned()).or_default().push(value.to_owned());
        }
        Ok(Some(SignedRequest { uri: url.into(), headers }))
    }
}

/// Returns the headers to be signed, and those that are passed on unchanged; `None` if a header may have a meaning for
/// the bucket that is not known here.
fn divided(headers: &RequestHeaders) -> Option<(Vec<(HeaderName, HeaderValue)>, RequestHeaders)> {
    let (mut signed, mut others) = (Vec::new(), RequestHeaders::new());
    for (name, values) in headers {
        let name = name.to_ascii_lowercase();
        if REPLACED_HEADERS.contains(&&*name) {
            continue;
        }
        if SIGNED_HEADERS.contains(&&*name) {
            let [value] = &values[..] else { return None };
            let value = HeaderValue::from_str(value).ok().filter(|value| value.to_str().is_ok())?;
            signed.push((HeaderName::from_bytes(name.as_bytes()).ok()?, value));
        } else if name.starts_with("x-amz-") {
            return None;
        } else {
            others.entry(name).or_default().extend(values.iter().cloned());
        }
    }
    Some((signed, others))
}

/// Encodes a path for URLs of S3: all characters except unreserved characters and slashes are percent-encoded.
fn encoded(path: &str) -> PercentEncode<'_> {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(path, ENCODED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signing(options: &[(&str, &str)], prefix: &str) -> S3Signing {
        let mut builder = AmazonS3Builder::new().with_bucket_name("logs");
        for (name, value) in options.iter().chain(&[("access_key_id", "engine"), ("secret_access_key", "secret")]) {
            builder = builder.with_config(name.parse().unwrap(), *value);
        }
        let location = S3Location::of(&builder, "logs", &Path::from(prefix)).unwrap();
        S3Signing::new(&builder.build().unwrap(), location)
    }

    #[track_caller]
    fn check(signing: &S3Signing, uri: &str, expected: Option<&str>) {
        assert_eq!(signing.key_of(uri).as_deref(), expected, "{uri}");
    }

    #[test]
    fn only_plain_addresses_below_the_prefix_name_an_object() {
        let signing = signing(&[("endpoint", "http://127.0.0.1:9000"), ("allow_http", "true")], "my archive");
        check(&signing, "http://127.0.0.1:9000/logs/my%20archive/lake/a.avro", Some("lake/a.avro"));
        for uri in [
            "https://127.0.0.1:9000/logs/my%20archive/lake/a.avro",
            "http://127.0.0.1:9001/logs/my%20archive/lake/a.avro",
            "http://127.0.0.1/logs/my%20archive/lake/a.avro",
            "http://example.com/logs/my%20archive/lake/a.avro",
            "http://127.0.0.1:9000@example.com/logs/my%20archive/lake/a.avro",
            "http://user@127.0.0.1:9000/logs/my%20archive/lake/a.avro",
            "http://127.0.0.1:9000/logs/my%20archive/lake/a.avro?acl",
            "http://127.0.0.1:9000/logs/my%20archive/lake/a.avro?",
            "http://127.0.0.1:9000/logs/my%20archive/lake/a.avro?versionId=1",
            "http://127.0.0.1:9000/logs/my%20archive/lake/a.avro#x",
            "http://127.0.0.1:9000/logs/my%20archive/lake%2Fa.avro",
            "http://127.0.0.1:9000/logs/my%20archive/../lake/a.avro",
            "http://127.0.0.1:9000/logs/my%20archive/%2e%2e/other/a.avro",
            "http://127.0.0.1:9000/logs/my%20archive/",
            "http://127.0.0.1:9000/logs/my%20archive",
            "http://127.0.0.1:9000/logs/",
            "http://127.0.0.1:9000/logs?list-type=2",
            "http://127.0.0.1:9000/logs/lake/a.avro",
            "http://127.0.0.1:9000/other/my%20archive/lake/a.avro",
            "ftp://127.0.0.1:9000/logs/my%20archive/lake/a.avro",
            "/logs/my%20archive/lake/a.avro",
            "",
        ] {
            check(&signing, uri, None);
        }
    }

    #[test]
    fn the_bucket_is_in_the_path_or_in_the_host() {
        let in_path = signing(&[("region", "eu-central-1")], "");
        let in_host = signing(&[("region", "eu-central-1"), ("virtual_hosted_style_request", "true")], "");
        for signing in [&in_path, &in_host] {
            assert_eq!(signing.location().endpoint, "https://s3.eu-central-1.amazonaws.com");
            check(signing, "https://s3.eu-central-1.amazonaws.com/logs/lake/a.avro", Some("lake/a.avro"));
            check(signing, "https://logs.s3.eu-central-1.amazonaws.com/lake/a.avro", Some("lake/a.avro"));
            check(signing, "https://logs.s3.eu-central-1.amazonaws.com:443/lake/a.avro", Some("lake/a.avro"));
            check(signing, "https://other.s3.eu-central-1.amazonaws.com/lake/a.avro", None);
            check(signing, "https://s3.eu-west-1.amazonaws.com/logs/lake/a.avro", None);
        }
        assert!(in_path.location().is_path_style && !in_host.location().is_path_style);
    }

    #[tokio::test]
    async fn what_does_more_than_reading_is_not_signed() {
        let signing = signing(&[("endpoint", "http://127.0.0.1:9000"), ("allow_http", "true")], "");
        let uri = "http://127.0.0.1:9000/logs/lake/a.avro";
        let headers = |name: &str, values: &[&str]| {
            RequestHeaders::from([(name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())])
        };
        let ranged = headers("Range", &["bytes=0-9"]);
        let signed = signing.sign("GET", uri, &ranged).await.unwrap().unwrap();
        assert_eq!(signed.uri, uri);
        assert_eq!(signed.headers["range"], ["bytes=0-9"]);
        let authorization = &signed.headers["authorization"][0];
        let expected = "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date";
        assert!(
            authorization.contains("/us-east-1/s3/aws4_request") && authorization.contains(expected),
            "{authorization}"
        );
        assert!(!format!("{signed:?}").contains("Signature"));
        assert!(signing.sign("HEAD", uri, &RequestHeaders::new()).await.unwrap().is_some());
        for method in ["PUT", "DELETE", "POST", "get", "GET ", "OPTIONS", ""] {
            assert!(signing.sign(method, uri, &ranged).await.unwrap().is_none(), "{method}");
        }
        for (name, values) in [
            ("x-amz-acl", &["public-read"][..]),
            ("X-Amz-Copy-Source", &["logs/other"]),
            ("x-amz-server-side-encryption-customer-key", &["a"]),
            ("range", &["bytes=0-9", "bytes=10-19"]),
            ("range", &["bytes=0-9\r\nx: y"]),
            ("range", &["b\u{e4}"]),
        ] {
            assert!(signing.sign("GET", uri, &headers(name, values)).await.unwrap().is_none(), "{name}");
        }
        // Headers without a meaning for the bucket are passed on; headers of another signature are not.
        for (name, value, is_passed) in [("User-Agent", "engine", true), ("Authorization", "Bearer secret", false)] {
            let signed = signing.sign("GET", uri, &headers(name, &[value])).await.unwrap().unwrap();
            let passed = signed.headers.values().flatten().any(|other| other == value);
            assert_eq!(passed, is_passed, "{name}");
        }
    }
}
