//! The two scenarios of the vendor's guide, as lines for a shell. They need bash, curl and jq.

/// The service and the runs of the scenarios.
pub(crate) struct Guide<'a> {
    /// The service's address.
    pub(crate) url: &'a str,
    /// The command that prints the token.
    pub(crate) token_command: String,
    /// A run whose log fits in one page.
    pub(crate) small_run: &'a str,
    /// A run whose log needs several pages.
    pub(crate) large_run: &'a str,
    /// The path of this program, which need not be in the shell's search path.
    pub(crate) program: String,
}

impl Guide<'_> {
    /// Returns the shell commands that both scenarios require first.
    pub(crate) fn preparation(&self) -> String {
        format!("API={}\nTOKEN=$({})\nAUTH=\"Authorization: Bearer $TOKEN\"", self.url, self.token_command)
    }

    /// Scenario 1: a log that comes in one page (200).
    pub(crate) fn scenario_1(&self) -> String {
        SCENARIO_1.trim().replace("RUN_ID", self.small_run)
    }

    /// Scenario 2: a log that comes in several (206), put together in the order received.
    pub(crate) fn scenario_2(&self) -> String {
        SCENARIO_2.trim().replace("RUN_ID", self.large_run)
    }

    /// Returns the second scenario as a Runlog command.
    pub(crate) fn with_runlog(&self) -> String {
        format!("RUNLOG_API_URL=$API RUNLOG_TOKEN=$TOKEN {} fetch {}", self.program, self.large_run)
    }
}

const SCENARIO_1: &str = r#"
LOGS=$API/monitoring/executions/RUN_ID/logs
PAGE=$(curl -sf -X POST -H "$AUTH" $LOGS | jq -r .token)
until LINK=$(curl -sf -X POST -H "$AUTH" -d "$PAGE" $LOGS/status | jq -er .presignedURL); do sleep 0.1; done
curl -sf "$LINK" | jq -c '.[]' > small.ndjson
wc -l small.ndjson
"#;

const SCENARIO_2: &str = r#"
LOGS=$API/monitoring/executions/RUN_ID/logs
END=""; STATUS=206; : > large.ndjson
while [ "$STATUS" = 206 ]; do
  STATUS=$(curl -s -X POST -H "$AUTH" -D headers.txt -o page.json -w '%{http_code}' "$LOGS?fileFormat=JSON$END")
  PAGE=$(jq -r .token page.json)
  until LINK=$(curl -sf -X POST -H "$AUTH" -d "$PAGE" $LOGS/status | jq -er .presignedURL); do sleep 0.1; done
  curl -sf "$LINK" | jq -c '.[]' >> large.ndjson
  END="&endTime=$(tr -d '\r' < headers.txt | sed -n 's/^x-log-next-request-end-time: //Ip')"
done
wc -l large.ndjson
"#;
