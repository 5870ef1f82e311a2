//! Responses over HTTP/2 that their clients do not read. Their connection stays open, with answers to pings, so that
//! nothing else notices: a response that is not taken for too long is given up, with the turns and the memory that it
//! has.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::Version;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// Size of the parts in which a response is handed out: they stay in memory until the stream ends. Unit: bytes.
const PART_BYTES: usize = 64 << 10;

/// The shortest pause between two looks at a response.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);

/// Gives up a response over HTTP/2 of which nothing is taken for so long.
pub(crate) async fn give_up_unread(State(time_max): State<Duration>, request: Request, next: Next) -> Response {
    let is_multiplexed = request.version() == Version::HTTP_2;
    let response = next.run(request).await;
    let is_short = response.body().size_hint().upper().is_some_and(|bytes| bytes <= PART_BYTES as u64);
    match is_multiplexed && !is_short {
        true => response.map(|body| Body::new(Watched::new(body, time_max))),
        false => response,
    }
}

/// A body that is given up when nothing of it is taken.
struct Watched(Arc<Mutex<Watch>>);

struct Watch {
    /// None once it was given up.
    body: Option<Body>,
    /// Data of the body that was not taken yet.
    rest: Bytes,
    /// Since when something is there to be taken; none while the body itself is waited for.
    since: Option<Instant>,
}

fn locked(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    fn new(body: Body, time_max: Duration) -> Self {
        let watch = Watch { body: Some(body), rest: Bytes::new(), since: Some(Instant::now()) };
        let watch = Arc::new(Mutex::new(watch));
        let watched = Arc::downgrade(&watch);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep((time_max / 4).max(LOOK_EVERY_MIN)).await;
                let Some(watched) = watched.upgrade() else { return };
                if locked(&watched).give_up_after(time_max) {
                    return;
                }
            }
        });
        Self(watch)
    }
}

impl Watch {
    /// Drops the body if nothing of it was taken for so long.
    fn give_up_after(&mut self, time_max: Duration) -> bool {
        let is_unread = self.since.is_some_and(|since| since.elapsed() > time_max);
        if is_unread {
            self.body = None;
            self.rest = Bytes::new();
        }
        is_unread
    }

    fn next_part(&mut self) -> Frame<Bytes> {
        self.since = Some(Instant::now());
        let length = self.rest.len().min(PART_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut watch = locked(&self.0);
        if !watch.rest.is_empty() {
            return Poll::Ready(Some(Ok(watch.next_part())));
        }
        let Some(body) = watch.body.as_mut() else {
            return Poll::Ready(Some(Err(axum::Error::new(io::Error::from(io::ErrorKind::TimedOut)))));
        };
        let polled = Pin::new(body).poll_frame(context);
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(data) => {
                    watch.rest = data;
                    watch.next_part()
                }
                Err(trailers) => trailers,
            }))),
            other => {
                watch.since = None;
                other
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let watch = locked(&self.0);
        watch.rest.is_empty() && watch.body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let watch = locked(&self.0);
        let (of_body, rest) = (watch.body.as_ref().map(|body| body.size_hint()), watch.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(of_body) = of_body {
            if let Some(upper) = of_body.upper() {
                hint.set_upper(upper + rest);
            }
            hint.set_lower(of_body.lower() + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    /// The body of a stream of two parts, of which the second is longer than what is handed out at a time.
    fn body() -> Body {
        let parts = [Bytes::from_static(b"first"), Bytes::from(vec![b'x'; 3 * PART_BYTES + 1])];
        Body::from_stream(stream::iter(parts.map(Ok::<_, io::Error>)))
    }

    #[tokio::test]
    async fn a_body_that_is_read_arrives_whole_in_small_parts() {
        let watched = Body::new(Watched::new(body(), Duration::from_secs(60)));
        let bytes = axum::body::to_bytes(watched, usize::MAX).await.unwrap();
        assert_eq!(bytes.len(), 5 + 3 * PART_BYTES + 1);
        let exact = Watched::new(Body::from(vec![0_u8; 100_000]), Duration::from_secs(60));
        assert_eq!(exact.size_hint().exact(), Some(100_000));
    }

    #[tokio::test]
    async fn a_body_that_is_not_read_is_dropped() {
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let part = || Ok::<_, io::Error>(Bytes::from_static(b"x"));
        let parts = stream::unfold(holder, move |holder| async move { Some((part(), holder)) });
        let hour = Duration::from_secs(3_600);
        let watched = Watched::new(Body::from_stream(parts), hour);
        assert!(!locked(&watched.0).give_up_after(hour));
        assert_eq!(Arc::strong_count(&held), 2);
        assert!(locked(&watched.0).give_up_after(Duration::ZERO));
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(axum::body::to_bytes(Body::new(watched), usize::MAX).await.is_err());
    }
}
