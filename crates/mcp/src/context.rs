//! The context of tools and resources.

use runlog_model::Clock;
use serde::de::DeserializeOwned;

use crate::api::{Answer, Api, Question, Refusal};

/// Maximum size of a response that is read as a whole. Unit: bytes. Records may be long; a page of them rarely is.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// The context of a tool call.
pub(crate) struct Context<'a, A> {
    pub(crate) api: &'a A,
    pub(crate) clock: &'a dyn Clock,
}

impl<A: Api> Context<'_, A> {
    /// The response to a request as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, question: Question) -> Result<T, Refusal> {
        let answer = self.whole(question).await?;
        serde_json::from_slice(&answer.body).map_err(|_| Refusal::not_understood())
    }

    /// The whole response to a request.
    pub(crate) async fn whole(&self, question: Question) -> Result<Answer, Refusal> {
        let answer = self.api.ask(question, ANSWER_BYTES_MAX).await?;
        match answer.is_cut {
            true => Err(Refusal::invalid("the response is too long to be read; ask for fewer items or lines at once")),
            false => Ok(answer),
        }
    }

    /// A line with the addresses of pages of the web UI; none if its address is unknown.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        Some(format!("{}/{path}", self.api.web_url()?))
    }
}
