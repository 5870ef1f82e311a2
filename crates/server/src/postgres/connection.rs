//! A connection: what has been read and not used, and what is to be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::limits;
use crate::postgres::failure::{SessionResult, violation};

/// A stream with TLS or without.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

/// A connection with a client.
pub(super) struct Connection {
    stream: Stream,
    input: BytesMut,
    /// Data to send.
    pub(super) output: BytesMut,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// The stream, of which nothing more has been read than was used.
    ///
    /// Data sent before TLS was negotiated may have been injected by an attacker.
    pub(super) fn into_unread_stream(self) -> SessionResult<Stream> {
        match self.input.is_empty() {
            true => Ok(self.stream),
            false => Err(violation("data was sent before the TLS handshake")),
        }
    }

    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.input.len() < length {
            // Memory grows with the received data, not by the length in the message.
            self.input.reserve(limits::POSTGRES_READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn length(&self, at: usize) -> i32 {
        let bytes = self.input.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        i32::from_be_bytes(bytes.unwrap_or_default())
    }

    /// The body of the first message, which has no type.
    pub(super) async fn startup_packet(&mut self) -> SessionResult<Bytes> {
        self.fill(4).await?;
        let length = usize::try_from(self.length(0)).unwrap_or(0);
        if !(8..=limits::POSTGRES_STARTUP_BYTES_MAX).contains(&length) {
            return Err(violation("the length of the startup packet is invalid"));
        }
        self.fill(length).await?;
        let mut packet = self.input.split_to(length).freeze();
        Ok(packet.split_off(4))
    }

    /// The type and the body of the next message, of at most so many bytes. If dropped, nothing is lost.
    pub(super) async fn message(&mut self, bytes_max: usize) -> SessionResult<(u8, Bytes)> {
        self.fill(5).await?;
        let Some(length) = usize::try_from(self.length(1)).ok().filter(|length| *length >= 4) else {
            return Err(violation("the length of a message is invalid"));
        };
        if length > bytes_max {
            return Err(violation(format!(
                "a message of {length} bytes is too long; at most {bytes_max} are accepted"
            )));
        }
        self.fill(length + 1).await?;
        let mut message = self.input.split_to(length + 1).freeze();
        let kind = message[0];
        Ok((kind, message.split_off(5)))
    }

    /// Returns when the client has closed the connection. Meanwhile, some of what it sends is read.
    pub(super) async fn closed(&mut self) -> io::Error {
        loop {
            if self.input.len() >= limits::POSTGRES_READ_AHEAD_BYTES {
                std::future::pending::<()>().await;
            }
            self.input.reserve(limits::POSTGRES_READ_BYTES);
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Sends what is to be sent.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let writing = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        let written = tokio::time::timeout(limits::POSTGRES_WRITE_TIME_MAX, writing).await;
        self.output.clear();
        if self.output.capacity() > limits::POSTGRES_OUTPUT_BYTES_KEPT {
            self.output = BytesMut::new();
        }
        written.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Sends what is to be sent if it is much.
    pub(super) async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.output.len() >= limits::POSTGRES_OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Ends the connection.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_ok() {
            let _ = tokio::time::timeout(limits::POSTGRES_CLOSE_TIME_MAX, self.stream.shutdown()).await;
        }
    }
}
