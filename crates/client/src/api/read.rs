//! Requests whose response is passed on as it is.

use bytes::Bytes;
use http::Method;

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// The body of the response to `GET` of a path, whose parts are not percent-encoded.
    pub async fn read(&self, path: &[&str], query: &[(&str, String)]) -> Result<Bytes> {
        Ok(self.send(self.request(Method::GET, path, query)).await?.body)
    }
}
