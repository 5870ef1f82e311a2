//! The formats of metrics: OpenMetrics or the older Prometheus text format, compressed or not, as the client requests.

use async_compression::Level;
use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use axum::http::{HeaderMap, HeaderName, header};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt};

/// Number of bytes that are compressed before other tasks may run.
const CHUNK_BYTES: usize = 64 << 10;

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpositionFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which every client supports.
    Text,
}

/// The compression of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl ExpositionFormat {
    /// The format selected by `Accept`: OpenMetrics if it is named with at least the same preference, otherwise the
    /// Prometheus text format.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let weights = weights(headers, header::ACCEPT);
        let weight = |name: &str| weights.iter().find(|(it, _)| it == name).map(|(_, weight)| *weight);
        let text = ["text/plain", "text/*", "*/*"].into_iter().find_map(weight).unwrap_or(0.0);
        match weight("application/openmetrics-text") {
            Some(weight) if weight > 0.0 && weight >= text => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts a text in OpenMetrics format to this format.
    pub(crate) fn of(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Text => plain(&text),
        }
    }
}

impl Compression {
    /// The cheapest of the compression methods that the client prefers.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let weights = weights(headers, header::ACCEPT_ENCODING);
        let weight = |name: &str| weights.iter().find(|(it, _)| it == name).map_or(0.0, |(_, weight)| *weight);
        match (weight("zstd"), weight("gzip").max(weight("x-gzip"))) {
            (zstd, gzip) if zstd > 0.0 && zstd >= gzip => Self::Zstd,
            (_, gzip) if gzip > 0.0 => Self::Gzip,
            _ => Self::Plain,
        }
    }

    /// The value of `Content-Encoding`.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Compresses a text.
    pub(crate) async fn pack(self, text: String) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(text.into_bytes()),
            Self::Gzip => read(GzipEncoder::with_quality(from(&text), Level::Fastest)).await,
            Self::Zstd => read(ZstdEncoder::with_quality(from(&text), Level::Fastest)).await,
        }
    }
}

fn from(text: &str) -> impl AsyncBufRead + Unpin {
    std::io::Cursor::new(text.as_bytes())
}

async fn read(mut packed: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(CHUNK_BYTES);
        if packed.read_buf(&mut bytes).await? == 0 {
            return Ok(bytes);
        }
        tokio::task::yield_now().await;
    }
}

/// The values of a header like `Accept`, in lower case and without parameters, with their weights.
fn weights(headers: &HeaderMap, name: HeaderName) -> Vec<(String, f32)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let weighed = values.map(|value| {
        let mut parts = value.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |weight| weight.parse().ok());
        (name, weight.unwrap_or(0.0))
    });
    weighed.collect()
}

/// Converts OpenMetrics to the Prometheus text format: the names of counters have the suffix of their samples, and
/// there are no units and no end marker.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        let line = match line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            None => line.to_owned(),
            Some((name, kind)) => {
                let (name, kind) = match kind {
                    "counter" => (format!("{name}_total"), kind),
                    "unknown" => (name.to_owned(), "untyped"),
                    kind => (name.to_owned(), kind),
                };
                if let Some((_, text)) = help.take().and_then(|help| help.strip_prefix("# HELP ")?.split_once(' ')) {
                    out.push_str(&format!("# HELP {name} {text}\n"));
                }
                format!("# TYPE {name} {kind}")
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_format_follows_the_accept_header() {
        let wanted = |accept: &str| ExpositionFormat::wanted(&headers(header::ACCEPT, accept));
        // The headers of Prometheus 2.4x and 3.x.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(wanted(prometheus), ExpositionFormat::OpenMetrics);
        assert_eq!(wanted("application/openmetrics-text"), ExpositionFormat::OpenMetrics);
        for accept in ["text/plain", "*/*", "", "application/json", "application/openmetrics-text;q=0"] {
            assert_eq!(wanted(accept), ExpositionFormat::Text, "{accept}");
        }
        assert_eq!(wanted("application/openmetrics-text;q=0.1, text/plain;q=0.9"), ExpositionFormat::Text);
        assert_eq!(ExpositionFormat::wanted(&HeaderMap::new()), ExpositionFormat::Text);
    }

    #[test]
    fn the_compression_is_one_that_the_client_accepts() {
        let wanted = |accept: &str| Compression::wanted(&headers(header::ACCEPT_ENCODING, accept));
        assert_eq!(
            (wanted("gzip"), wanted("gzip, zstd"), wanted("ZSTD")),
            (Compression::Gzip, Compression::Zstd, Compression::Zstd)
        );
        assert_eq!(
            (wanted("zstd;q=0, gzip;q=0.5"), wanted("zstd;q=0.1, gzip")),
            (Compression::Gzip, Compression::Gzip)
        );
        assert_eq!(
            (wanted("identity"), wanted("br"), wanted("gzip;q=0")),
            (Compression::Plain, Compression::Plain, Compression::Plain)
        );
    }

    #[test]
    fn the_older_text_names_counters_as_their_samples() {
        let open = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{c=\"# HELP\"} 1\n# HELP s Time.\n# TYPE s gauge\n\
                    # UNIT s seconds\ns 1.5\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{c=\"# HELP\"} 1\n# HELP s Time.\n\
                        # TYPE s gauge\ns 1.5\n";
        assert_eq!(ExpositionFormat::Text.of(open.to_owned()), expected);
        assert_eq!(ExpositionFormat::OpenMetrics.of(open.to_owned()), open);
    }

    #[tokio::test]
    async fn what_is_packed_is_the_text() {
        let text = "runlog_records_in_total 2\n".repeat(100_000);
        assert_eq!(Compression::Plain.pack(text.clone()).await.unwrap(), text.as_bytes());
        let zstd = Compression::Zstd.pack(text.clone()).await.unwrap();
        assert_eq!(zstd::decode_all(zstd.as_slice()).unwrap(), text.as_bytes());
        let gzip = Compression::Gzip.pack(text.clone()).await.unwrap();
        assert!(gzip.len() < text.len() / 20);
        let mut unpacked = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(gzip.as_slice()), &mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
}
