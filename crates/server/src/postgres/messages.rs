//! The messages of clients. Each field is checked against what is left of its message.

use bytes::{Buf, Bytes};

use crate::postgres::failure::{Failure, Report, SessionResult, violation};

/// A message of a client whose session has begun.
#[derive(Debug)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        rows_max: u64,
    },
    Close(Target),
    Sync,
    Flush,
    Terminate,
    /// A message of a `COPY` from the client, which is not supported.
    Copy,
    /// A call of a function by its number.
    FunctionCall,
}

/// The values of a statement.
#[derive(Debug)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) formats: Vec<u16>,
    pub(super) parameters: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<u16>,
}

/// The object that is described or closed.
#[derive(Debug)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// The fields of a message that are left.
pub(super) struct Fields(Bytes);

impl Fields {
    pub(super) fn new(body: Bytes) -> Self {
        Self(body)
    }

    fn cut_off() -> Failure {
        violation("a message is shorter than its fields")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn u8(&mut self) -> SessionResult<u8> {
        self.0.try_get_u8().map_err(|_| Self::cut_off())
    }

    fn u16(&mut self) -> SessionResult<u16> {
        self.0.try_get_u16().map_err(|_| Self::cut_off())
    }

    pub(super) fn i32(&mut self) -> SessionResult<i32> {
        self.0.try_get_i32().map_err(|_| Self::cut_off())
    }

    /// A text that ends with a zero byte.
    pub(super) fn text(&mut self) -> SessionResult<String> {
        let end = memchr::memchr(0, &self.0).ok_or_else(Self::cut_off)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec())
            .map_err(|_| Failure::Statement(Report::new("22021", "a text is not valid UTF-8, the only encoding here")))
    }

    fn bytes(&mut self, length: usize) -> SessionResult<Bytes> {
        if length > self.0.len() {
            return Err(Self::cut_off());
        }
        Ok(self.0.split_to(length))
    }

    /// A list after its number of items.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> SessionResult<T>) -> SessionResult<Vec<T>> {
        let count = self.u16()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn finish(self) -> SessionResult<()> {
        if self.0.is_empty() { Ok(()) } else { Err(violation("a message is longer than its fields")) }
    }
}

impl Message {
    /// The message with this type and body.
    pub(super) fn read(kind: u8, body: Bytes) -> SessionResult<Self> {
        let mut fields = Fields::new(body);
        let message = match kind {
            b'Q' => Self::Query(fields.text()?),
            b'P' => Self::Parse {
                name: fields.text()?,
                text: fields.text()?,
                types: fields.list(|fields| Ok(fields.i32()?.cast_unsigned()))?,
            },
            b'B' => Self::Bind(Bind {
                portal: fields.text()?,
                statement: fields.text()?,
                formats: fields.list(Fields::u16)?,
                parameters: fields.list(|fields| match usize::try_from(fields.i32()?) {
                    // A part of the message would keep all of it.
                    Ok(length) => fields.bytes(length).map(|bytes| Some(Bytes::copy_from_slice(&bytes))),
                    // -1: null.
                    Err(_) => Ok(None),
                })?,
                result_formats: fields.list(Fields::u16)?,
            }),
            b'D' => Self::Describe(target(&mut fields)?),
            b'E' => {
                let portal = fields.text()?;
                Self::Execute { portal, rows_max: u64::try_from(fields.i32()?).unwrap_or(0) }
            }
            b'C' => Self::Close(target(&mut fields)?),
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'X' => return Ok(Self::Terminate),
            b'd' | b'c' | b'f' => return Ok(Self::Copy),
            b'F' => return Ok(Self::FunctionCall),
            other => return Err(violation(format!("there is no message of type {}", other.escape_ascii()))),
        };
        fields.finish()?;
        Ok(message)
    }
}

fn target(fields: &mut Fields) -> SessionResult<Target> {
    match fields.u8()? {
        b'S' => Ok(Target::Statement(fields.text()?)),
        b'P' => Ok(Target::Portal(fields.text()?)),
        _ => Err(violation("what is described or closed is neither a statement nor a portal")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look like a message, but for one bit or a part.
    #[test]
    fn whatever_a_client_sends_is_a_message_or_an_error() {
        let mut body = Vec::new();
        body.extend(b"portal\0statement\0\0\x02\0\0\0\x01\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\x01\0\x01");
        assert!(matches!(Message::read(b'B', body.clone().into()), Ok(Message::Bind(_))));
        for kind in 0..=u8::MAX {
            for length in 0..body.len() {
                drop(Message::read(kind, Bytes::copy_from_slice(&body[..length])));
            }
            for bit in 0..body.len() * 8 {
                let mut changed = body.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                drop(Message::read(kind, changed.into()));
            }
        }
    }

    #[test]
    fn a_message_that_is_cut_off_or_too_long_ends_the_session() {
        let session =
            |read: SessionResult<Message>| matches!(read, Err(Failure::Session(report)) if report.code == "08P01");
        assert!(session(Message::read(b'Q', Bytes::from_static(b"SELECT 1"))));
        assert!(session(Message::read(b'Q', Bytes::from_static(b"SELECT 1\0more"))));
        assert!(session(Message::read(b'B', Bytes::from_static(b"\0\0\0\0\xff\xff"))));
        assert!(session(Message::read(b'B', Bytes::from_static(b"\0\0\0\0\0\x01\x7f\xff\xff\xffa\0\0"))));
        assert!(session(Message::read(b'?', Bytes::new())));
    }
}
