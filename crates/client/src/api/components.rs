//! Component metrics of a run: one page of them, and storing them in a Runlog.

use http::Method;
use runlog_model::RunId;
use runlog_model::wire::components::{
    COMPONENTS_HEADER, COMPONENTS_PENDING, ComponentMetric, MeasuredRun, ProcessMetric, PutComponents, StoredComponents,
};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;
use crate::transport::lenient;

/// Most component metrics of a page. Source: the vendor's file.
pub const COMPONENTS_PAGE_MAX: u64 = 200;

/// A page of the component metrics of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentPage {
    /// The run as described by the service.
    pub run: MeasuredRun,
    /// The processes of the run.
    pub processes: Vec<ProcessMetric>,
    /// The metrics.
    pub items: Vec<ComponentMetric>,
    /// Number of metrics of the run.
    pub total: u64,
    /// True if the service, another Runlog, has not collected the metrics of the run yet.
    pub is_pending: bool,
}

impl Client {
    /// Returns a page of component metrics: `GET /monitoring/observability/executions/{id}/component`. The request has
    /// the lowest priority.
    pub async fn component_page(&self, run: RunId, offset: u64) -> Result<ComponentPage> {
        #[derive(Deserialize)]
        struct Metrics {
            #[serde(default)]
            items: Option<Vec<ComponentMetric>>,
            total: Option<Value>,
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(flatten)]
            run: MeasuredRun,
            #[serde(default)]
            processes: Option<Vec<ProcessMetric>>,
            metrics: Metrics,
        }
        let id = run.to_string();
        let path = ["monitoring", "observability", "executions", &id, "component"];
        let query = [("limit", COMPONENTS_PAGE_MAX.to_string()), ("offset", offset.to_string())];
        let answer = self.send(self.request(Method::GET, &path, &query).with_runlog_details().in_background()).await?;
        let is_pending = answer.headers.get(COMPONENTS_HEADER).is_some_and(|value| value == COMPONENTS_PENDING);
        let Body { run, processes, metrics } = answer.json()?;
        let total = metrics.total.as_ref().and_then(lenient::count);
        let total = total.ok_or_else(|| Error::new(ErrorKind::Protocol, "a page of component metrics has no total"))?;
        let (processes, items) = (processes.unwrap_or_default(), metrics.items.unwrap_or_default());
        Ok(ComponentPage { run, processes, items, total, is_pending })
    }

    /// Replaces the component metrics of a run: `PUT /runlog/v1/runs/{id}/component-metrics`.
    pub async fn put_components(&self, run: RunId, components: &PutComponents) -> Result<StoredComponents> {
        let id = run.to_string();
        self.send_json(Method::PUT, &["runlog", "v1", "runs", &id, "component-metrics"], components).await?.json()
    }
}
