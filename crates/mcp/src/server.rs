//! The protocol: lists tools and resources, and answers calls within limits of time and number.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Extensions, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use runlog_model::Clock;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::{UNTRUSTED, plain, shortened};
use crate::api::{Api, Refusal, RefusalKind};
use crate::context::Context;
use crate::{resources, tools};

/// Maximum number of calls at a time; further ones wait.
const CALLS_MAX: usize = 16;

/// Maximum time that a call waits for one of the concurrent slots.
const TURN_TIME_MAX: Duration = Duration::from_secs(5);

/// Maximum time of a call. SQL queries and searches have shorter limits of their own.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// Most characters of the message of an error, which may quote an argument.
const MESSAGE_CHARS_MAX: usize = 1_500;

/// Provides tools with access to a Runlog service.
pub trait Connect: Clone + Send + Sync + 'static {
    /// A Runlog on behalf of a caller.
    type Api: Api + 'static;

    /// The Runlog on behalf of the caller of this HTTP request; none on standard input and output.
    fn api(&self, request: Option<&Parts>) -> Self::Api;
}

/// The server of the protocol. Cheap to clone; clones share the limit of calls.
#[derive(Clone)]
pub struct Assistant<C> {
    connect: C,
    clock: Arc<dyn Clock>,
    calls: Arc<Semaphore>,
}

impl<C: Connect> Assistant<C> {
    /// A server whose tools ask this Runlog.
    pub fn new(connect: C, clock: Arc<dyn Clock>) -> Self {
        Self { connect, clock, calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// Returns the result of `work`, within the limits of number and time, unless the client cancels it.
    async fn within_limits<T>(
        &self,
        cancelled: &CancellationToken,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let late = |what: &str| Refusal::new(RefusalKind::Unavailable, what);
        let work = async {
            let Ok(Ok(_permit)) = timeout(TURN_TIME_MAX, self.calls.acquire()).await else {
                return Err(late("too many calls at a time"));
            };
            match timeout(CALL_TIME_MAX, work).await {
                Ok(result) => result,
                Err(_) => Err(late("the call took too long; ask for less")),
            }
        };
        tokio::select! {
            result = work => result,
            () = cancelled.cancelled() => Err(late("the call was cancelled")),
        }
    }

    fn api(&self, extensions: &Extensions) -> C::Api {
        self.connect.api(extensions.get::<Parts>())
    }
}

impl<C: Connect> ServerHandler for Assistant<C> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        let instructions = format!(
            "Runlog is an archive of logs of data-integration jobs. To find out why something failed: find_runs or \
             find_problems, then explain_run, then read_log around the lines that it names. Every tool only reads, on behalf \
             of the owner of the token. {UNTRUSTED}"
        );
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("runlog", env!("CARGO_PKG_VERSION")))
            .with_instructions(instructions)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let api = self.api(&context.extensions);
        let tools = Context { api: &api, clock: self.clock.as_ref() };
        let arguments = request.arguments.unwrap_or_default();
        let name = request.name.as_ref();
        let call = async { tools::call(&tools, name, arguments).await.ok_or_else(|| unknown_tool(name))? };
        let result = match self.within_limits(&context.ct, call).await {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(refusal) => CallToolResult::error(vec![ContentBlock::text(refused(&refusal))]),
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let api = self.api(&context.extensions);
        let tools = Context { api: &api, clock: self.clock.as_ref() };
        let latest = self.within_limits(&context.ct, resources::latest(&tools)).await;
        latest.map(ListResourcesResult::with_all_items).map_err(|refusal| protocol_error(&refusal))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let api = self.api(&context.extensions);
        let tools = Context { api: &api, clock: self.clock.as_ref() };
        let text = self.within_limits(&context.ct, resources::read(&tools, &request.uri)).await;
        match text {
            Ok(text) => {
                let contents = ResourceContents::text(text, request.uri).with_mime_type(resources::MEDIA_TYPE);
                Ok(ReadResourceResult::new(vec![contents]).into())
            }
            Err(refusal) => Err(protocol_error(&refusal)),
        }
    }
}

fn unknown_tool(name: &str) -> Refusal {
    let known: Vec<_> = tools::all().into_iter().map(|tool| tool.name).collect();
    Refusal::invalid(format!(
        "there is no tool {:?}; there are {}",
        name.chars().take(64).collect::<String>(),
        known.join(", ")
    ))
}

/// Returns a refusal as text for a client: what happened, and what to do next. It may quote untrusted names.
fn refused(refusal: &Refusal) -> String {
    let message = plain(&shortened(&refusal.message, MESSAGE_CHARS_MAX));
    let sentence = message.trim_end_matches('.');
    format!("Error: {sentence}. {}", refusal.advice())
}

fn protocol_error(refusal: &Refusal) -> ErrorData {
    let message = refused(refusal);
    match refusal.kind {
        RefusalKind::NotFound => ErrorData::resource_not_found(message, None),
        RefusalKind::Invalid => ErrorData::invalid_params(message, None),
        RefusalKind::Unauthorized | RefusalKind::Forbidden | RefusalKind::Unavailable => {
            ErrorData::internal_error(message, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::*;
    use crate::api::{Answer, Question};

    #[derive(Clone)]
    struct Nothing;

    impl Connect for Nothing {
        type Api = Self;

        fn api(&self, _: Option<&Parts>) -> Self {
            Self
        }
    }

    impl Api for Nothing {
        async fn ask(&self, _: Question, _: usize) -> Result<Answer, Refusal> {
            std::future::pending().await
        }

        fn web_url(&self) -> Option<String> {
            None
        }
    }

    impl Clock for Nothing {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(0)
        }
    }

    fn assistant() -> Assistant<Nothing> {
        Assistant::new(Nothing, Arc::new(Nothing))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_in_time() {
        let (assistant, never) = (assistant(), CancellationToken::new());
        let answer = assistant.within_limits(&never, std::future::pending::<Result<(), _>>()).await;
        assert!(answer.unwrap_err().message.contains("took too long"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_its_turn_for_a_while() {
        let (assistant, never) = (assistant(), CancellationToken::new());
        let permits = assistant.calls.acquire_many(u32::try_from(CALLS_MAX).unwrap()).await.unwrap();
        let busy = assistant.clone().within_limits(&never, async { Ok(()) }).await;
        assert!(busy.unwrap_err().message.contains("too many calls"));
        drop(permits);
        assert!(assistant.within_limits(&never, async { Ok(()) }).await.is_ok());
    }

    #[tokio::test]
    async fn a_call_that_is_cancelled_ends() {
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let answer = assistant().within_limits(&cancelled, std::future::pending::<Result<(), _>>()).await;
        assert!(answer.unwrap_err().message.contains("cancelled"));
    }

    #[test]
    fn an_error_is_one_line_and_says_what_to_do() {
        let refusal = Refusal::new(RefusalKind::Forbidden, "no\nright\u{202e}\u{200b}.");
        let told = refused(&refusal);
        assert!(told.starts_with("Error: no right\\u{202e}\\u{200b}. The owner of the token"), "{told}");
        let told = refused(&Refusal::invalid("x".repeat(100_000)));
        assert!(told.len() < 1_700 && told.contains("x… (98500 more characters). Correct"), "{told}");
    }
}
