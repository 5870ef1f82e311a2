//! Alert rules of a Runlog, and their mutes.

use http::Method;
use runlog_model::wire::alerts::{AlertRuleBody, NewAlertMute};

use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// `GET /runlog/v1/alerts`: the alert rules recorded in the archive, with their states. `Denied`: the caller is not
    /// an administrator.
    pub async fn alert_rules(&self) -> Result<Vec<AlertRuleBody>> {
        self.get_json(&["runlog", "v1", "alerts"], &[]).await
    }

    /// `PUT /runlog/v1/alerts/{rule}/mute`. `NotFound`: no such rule.
    pub async fn mute_alerts(&self, rule: &str, new: &NewAlertMute) -> Result<()> {
        self.send_json(Method::PUT, &["runlog", "v1", "alerts", rule, "mute"], new).await?;
        Ok(())
    }

    /// `DELETE /runlog/v1/alerts/{rule}/mute`. `NotFound`: no such rule.
    pub async fn unmute_alerts(&self, rule: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &["runlog", "v1", "alerts", rule, "mute"], &[])).await?;
        Ok(())
    }
}
