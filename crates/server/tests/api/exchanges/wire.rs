//! HTTP/1 on a socket, byte for byte: a library would put right what a program writes.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a response may take.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(20);

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Framing {
    /// There is no body.
    None,
    ContentLength,
    Chunked,
    /// It ends with the connection.
    Close,
}

/// A request as it is sent.
pub(super) struct Request {
    /// With its blank line.
    head: String,
    pieces: Vec<Vec<u8>>,
}

/// A response.
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    /// As it was sent.
    pub(super) body: Vec<u8>,
    /// `100 Continue` came before it.
    pub(super) is_continued: bool,
}

impl Request {
    /// A request with this head, whose lines end as in a file.
    pub(super) fn new(head: &str, pieces: Vec<Vec<u8>>) -> Self {
        Self { head: format!("{}\r\n\r\n", head.replace('\n', "\r\n")), pieces }
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
    }

    /// The values of a header, in lower case.
    fn header(&self, name: &str) -> String {
        let of_name = self.headers().filter(|(one, _)| one.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.to_ascii_lowercase()).collect::<Vec<_>>().join(",")
    }

    fn is_head(&self) -> bool {
        self.head.starts_with("HEAD ")
    }

    pub(super) fn is_old(&self) -> bool {
        self.head.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.0"))
    }

    pub(super) fn expects_continue(&self) -> bool {
        self.header("expect") == "100-continue"
    }

    /// Whether the connection ends with the response.
    pub(super) fn ends_connection(&self) -> bool {
        let connection = self.header("connection");
        connection == "close" || self.is_old() && connection != "keep-alive"
    }

    /// Whether the program decodes this content coding.
    pub(super) fn accepts(&self, coding: &str) -> bool {
        let accepted = self.header("accept-encoding");
        accepted.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == coding)
    }
}

impl Response {
    /// Its status and headers, for messages of this test.
    pub(super) fn summary(&self) -> String {
        format!("{} {:?}", self.status, self.headers)
    }

    /// Whether the service says that the connection ends with it.
    pub(super) fn ends_connection(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The value of a header, if it is there once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self.headers.iter().filter(|(one, _)| one.eq_ignore_ascii_case(name));
        let (value, other) = (of_name.next(), of_name.next());
        value.filter(|_| other.is_none()).map(|(_, value)| value.as_str())
    }

    /// The body without its content coding.
    pub(super) fn decoded(&self) -> Result<Vec<u8>, String> {
        let mut decoded = Vec::new();
        let read = match self.header("content-encoding") {
            None => return Ok(self.body.clone()),
            Some("gzip") => flate2::read::MultiGzDecoder::new(&self.body[..]).read_to_end(&mut decoded),
            Some("zstd") => return zstd::decode_all(&self.body[..]).map_err(|error| format!("zstd: {error}")),
            Some(other) => return Err(format!("Content-Encoding {other:?} is unknown")),
        };
        read.map_err(|error| format!("gzip: {error}"))?;
        Ok(decoded)
    }
}

/// A connection of a program.
pub(super) struct Connection {
    stream: TcpStream,
    /// What was received and not read yet.
    received: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends a request, and reads its response.
    pub(super) async fn exchange(&mut self, request: &Request) -> Result<Response, String> {
        tokio::time::timeout(RESPONSE_TIME_MAX, self.exchange_untimed(request))
            .await
            .map_err(|_| format!("there is no whole response after {RESPONSE_TIME_MAX:?}"))?
    }

    async fn exchange_untimed(&mut self, request: &Request) -> Result<Response, String> {
        self.send(request.head.as_bytes()).await?;
        let mut first = None;
        if request.expects_continue() {
            first = Some(self.head().await?);
        }
        let is_continued = first.as_ref().is_some_and(|(status, _)| *status == 100);
        // A program that was not told to continue does not send the body.
        if is_continued || !request.expects_continue() {
            for piece in &request.pieces {
                self.send(piece).await?;
            }
        }
        let (status, headers) = match first {
            Some(head) if !is_continued => head,
            _ => self.head().await?,
        };
        let mut response = Response { status, headers, framing: Framing::None, body: Vec::new(), is_continued };
        response.framing = framing(request, &response)?;
        response.body = match response.framing {
            Framing::None => Vec::new(),
            Framing::ContentLength => {
                let length = response.header("content-length").unwrap_or_default();
                self.take(length.parse().map_err(|_| format!("Content-Length is {length:?}"))?).await?
            }
            Framing::Chunked => self.chunks().await?,
            Framing::Close => {
                while self.receive().await? {}
                std::mem::take(&mut self.received)
            }
        };
        match self.received.is_empty() {
            true => Ok(response),
            false => Err(format!("after the response: {:?}", String::from_utf8_lossy(&self.received))),
        }
    }

    /// Whether the service ends the connection.
    pub(super) async fn is_ended(&mut self) -> bool {
        matches!(tokio::time::timeout(RESPONSE_TIME_MAX, self.receive()).await, Ok(Ok(false) | Err(_)))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| format!("cannot send: {error}"))
    }

    /// Receives more; false at the end of the connection.
    async fn receive(&mut self) -> Result<bool, String> {
        let received = self.stream.read_buf(&mut self.received).await;
        received.map(|count| count > 0).map_err(|error| format!("cannot receive: {error}"))
    }

    /// Reads to the end of a line, or to the blank line of a head, and removes that.
    async fn until(&mut self, end: &str) -> Result<String, String> {
        loop {
            let at = self.received.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let rest = self.received.split_off(at + end.len());
                let line = std::mem::replace(&mut self.received, rest);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.receive().await? {
                return Err(format!("the connection ended with {:?}", String::from_utf8_lossy(&self.received)));
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.received.len() < length {
            if !self.receive().await? {
                return Err(format!("the connection ended after {} of {length} bytes", self.received.len()));
            }
        }
        let rest = self.received.split_off(length);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let size = self.until("\r\n").await?;
            let length = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk of size {size:?}"))?;
            body.extend(self.take(length).await?);
            let end = self.until("\r\n").await?;
            if !end.is_empty() {
                return Err(format!("after a chunk: {end:?}"));
            }
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn head(&mut self) -> Result<(u16, Vec<(String, String)>), String> {
        let head = self.until("\r\n\r\n").await?;
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("{first:?} is not a status line"))?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is not a header"))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        };
        Ok((status, lines.map(header).collect::<Result<_, String>>()?))
    }
}

/// How the body of a response ends. Source: RFC 9112, 6.3.
fn framing(request: &Request, response: &Response) -> Result<Framing, String> {
    let length = response.header("content-length");
    match response.header("transfer-encoding") {
        _ if request.is_head() || matches!(response.status, 204 | 304) => Ok(Framing::None),
        Some(_) if length.is_some() => Err("Content-Length and Transfer-Encoding in one response".to_owned()),
        Some(_) if request.is_old() => Err("Transfer-Encoding in a response to HTTP/1.0".to_owned()),
        Some("chunked") => Ok(Framing::Chunked),
        Some(other) => Err(format!("Transfer-Encoding is {other:?}")),
        None if length.is_some() => Ok(Framing::ContentLength),
        None => Ok(Framing::Close),
    }
}
