//! HTTP connections to buckets. They are those of the library, except that a request that was never sent is reported as
//! such and is therefore retried.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use runlog_model::causes;

/// Creates the HTTP clients of buckets.
#[derive(Debug, Default)]
pub(crate) struct BucketConnector(ReqwestConnector);

impl HttpConnector for BucketConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(BucketClient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct BucketClient(HttpClient);

#[async_trait]
impl HttpService for BucketClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.0.execute(request).await.map_err(|error| match was_not_sent(&error) {
            true => HttpError::new(HttpErrorKind::Connect, error),
            false => error,
        })
    }
}

/// Returns true if a connection was closed before it accepted the request ("connection was not ready"). The library
/// reports this as an unknown error and does not retry.
fn was_not_sent(error: &HttpError) -> bool {
    let mut below = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    below.any(hyper::Error::is_canceled)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use object_store::ObjectStoreExt;
    use object_store::aws::AmazonS3Builder;
    use object_store::path::Path;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"1\"\r\nLast-Modified: Wed, 21 Apr 2021 15:29:11 GMT\r\n\
        Connection: close\r\n\r\nok";

    /// Returns the error of a client whose connection is closed before it accepts a request.
    async fn not_ready() -> hyper::Error {
        let (client, _server) = tokio::io::duplex(64);
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        drop(connection);
        sender.send_request(hyper::Request::new(String::new())).await.unwrap_err()
    }

    /// A connector whose clients fail every other request with this error, beginning with the first.
    #[derive(Debug)]
    struct ClosedFirst;

    #[derive(Debug)]
    struct ClosedFirstClient {
        client: HttpClient,
        calls: AtomicUsize,
    }

    impl HttpConnector for ClosedFirst {
        fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
            let client = ReqwestConnector::default().connect(options)?;
            let client = ClosedFirstClient { client, calls: AtomicUsize::new(0) };
            Ok(HttpClient::new(BucketClient(HttpClient::new(client))))
        }
    }

    #[async_trait]
    impl HttpService for ClosedFirstClient {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            match self.calls.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => Err(HttpError::new(HttpErrorKind::Unknown, not_ready().await)),
                _ => self.client.execute(request).await,
            }
        }
    }

    async fn bucket() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = [0; 4_096];
                assert!(connection.read(&mut head).await.unwrap() > 0);
                connection.write_all(ANSWER).await.unwrap();
            }
        });
        address
    }

    /// Reads and writes once failed immediately with "connection was not ready" instead of waiting for the bucket.
    #[tokio::test]
    async fn unsent_requests_are_retried() {
        let error = not_ready().await;
        assert!(format!("{error:?}").contains("connection was not ready"), "{error:?}");
        let bucket = AmazonS3Builder::new()
            .with_endpoint(bucket().await)
            .with_allow_http(true)
            .with_bucket_name("bucket")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_http_connector(ClosedFirst)
            .build()
            .unwrap();
        let key = Path::from("object");
        assert_eq!(bucket.get(&key).await.unwrap().bytes().await.unwrap(), "ok");
        bucket.put(&key, "ok".into()).await.unwrap();
    }
}
