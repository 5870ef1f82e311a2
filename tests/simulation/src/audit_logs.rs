//! The audit logs of the tenant of the upstream: a list, newest first, whose pages shift while they are read, and to which
//! entries come late. Collectors store each entry once.

use std::collections::BTreeMap;

use runlog_model::Timestamp;
use runlog_model::wire::tenant_audit_logs::{PAGE_LAST, TOTAL_ELEMENTS, TOTAL_PAGES};
use runlog_store::tenant_audit_logs::TenantAuditFilter;
use serde_json::{Value, json};

use crate::clients::{Answer, Clients, DAY_MS};
use crate::cloud::random_id;
use crate::collectors::NAME;
use crate::seed::Numbers;

/// Maximum age of an entry when collectors start; they go back further. Unit: milliseconds.
const EARLIER_MS_MAX: i64 = 28 * DAY_MS;

/// The properties of the list.
#[derive(Debug, Clone)]
pub(crate) struct AuditProfile {
    /// Maximum number of entries per page, however many are requested.
    page_entries: usize,
    /// Maximum delay with which an entry appears. It is less than the period that collectors read again each time.
    /// Unit: milliseconds.
    late_ms_max: i64,
    /// Whether pages contain the total number of entries.
    is_counted: bool,
    /// Probability that an entry is registered while a page is read. Unit: per mille.
    busy: usize,
    /// Number of entries of the month before.
    earlier: usize,
}

impl AuditProfile {
    pub(crate) fn of(numbers: &mut Numbers) -> Self {
        Self {
            page_entries: [2, 5, 1_000][numbers.below(3)],
            late_ms_max: [0, 60_000, 800_000][numbers.below(3)],
            is_counted: numbers.chance(700),
            busy: [0, 100, 400][numbers.below(3)],
            earlier: [0, 3, 12][numbers.below(3)],
        }
    }
}

/// An entry.
#[derive(Debug, Clone)]
struct Entry {
    id: String,
    ms: i64,
    appears_ms: i64,
}

/// The list.
pub(crate) struct AuditLog {
    profile: AuditProfile,
    numbers: Numbers,
    entries: Vec<Entry>,
}

impl Entry {
    fn body(&self) -> Value {
        json!({
            "logId": self.id, "timestamp": Timestamp::clamped(self.ms).to_string(), "applicationId": "TMC",
            "eventType": "security", "eventOperation": "create", "username": "ada",
        })
    }
}

impl AuditLog {
    /// A list that has entries of the month before.
    pub(crate) fn new(profile: AuditProfile, mut numbers: Numbers, now_ms: i64) -> Self {
        let mut earlier = || {
            let ms = now_ms - numbers.between(1, EARLIER_MS_MAX);
            Entry { id: random_id(&mut numbers).to_string(), ms, appears_ms: ms }
        };
        let entries = (0..profile.earlier).map(|_| earlier()).collect();
        Self { profile, numbers, entries }
    }

    /// Some entries are registered, several at the same time among them.
    pub(crate) fn register(&mut self, now_ms: i64) {
        let count = self.numbers.below(5);
        for number in 0..count {
            let ms = now_ms - i64::try_from(number / 2).unwrap_or_default();
            let late_ms = self.numbers.between(0, self.profile.late_ms_max);
            let id = random_id(&mut self.numbers).to_string();
            self.entries.push(Entry { id, ms, appears_ms: ms + late_ms });
        }
    }

    /// A page: its headers, and its body.
    pub(crate) fn page(
        &mut self,
        query: &BTreeMap<String, String>,
        now_ms: i64,
        is_busy: bool,
    ) -> (Vec<(&'static str, String)>, Value) {
        let busy = self.profile.busy;
        if is_busy && self.numbers.chance(busy) {
            self.register(now_ms);
        }
        let time =
            |name: &str| query.get(name).and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_millis);
        let (from_ms, to_ms) = (time("fromDate").unwrap_or(i64::MIN), time("toDate").unwrap_or(i64::MAX));
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
        let (page, size) = (number("page").max(1), number("size").min(self.profile.page_entries));
        let is_shown = |entry: &&Entry| entry.appears_ms <= now_ms && (from_ms..=to_ms).contains(&entry.ms);
        let mut shown: Vec<&Entry> = self.entries.iter().filter(is_shown).collect();
        shown.sort_by(|one, other| (other.ms, &other.id).cmp(&(one.ms, &one.id)));
        let (total, pages) = (shown.len(), shown.len().div_ceil(size));
        let items: Vec<Value> = shown.iter().skip((page - 1) * size).take(size).map(|entry| entry.body()).collect();
        let mut headers = vec![(PAGE_LAST, (page >= pages).to_string())];
        if self.profile.is_counted {
            headers.extend([(TOTAL_ELEMENTS, total.to_string()), (TOTAL_PAGES, pages.to_string())]);
        }
        (headers, items.into())
    }

    /// Returns the time at which every entry is in the list. Unit: epoch milliseconds.
    pub(crate) fn is_final_at_ms(&self) -> Option<i64> {
        self.entries.iter().map(|entry| entry.appears_ms).max()
    }

    /// The entries, by their ids.
    pub(crate) fn entries(&self) -> BTreeMap<String, Value> {
        self.entries.iter().map(|entry| (entry.id.clone(), entry.body())).collect()
    }
}

impl Clients {
    /// Compares the archive's entries with the list. With `is_end`, it must have everything.
    pub(crate) async fn check_audit_logs(&self, is_end: bool) {
        let Some(cloud) = self.0.shared.cloud.clone() else { return };
        let Some(expected) = cloud.audit_entries() else { return };
        let listing = self.call(self.some_node(), "list audit logs", false, |store| async move {
            let filter = TenantAuditFilter { limit: 100_000, ..TenantAuditFilter::default() };
            store.tenant_audit_logs().list(&filter).await
        });
        let (stored, total) = match listing.await.0 {
            Answer::Of(Ok(stored)) => stored,
            Answer::Of(Err(error)) => return self.expect_usual("a list of audit logs", &error),
            Answer::Lost => return,
        };
        let now = cloud.audit_entries().unwrap_or_default();
        let mut ids = std::collections::BTreeSet::new();
        for entry in &stored {
            let body: Value = serde_json::from_str(entry.body.get()).unwrap_or_default();
            if now.get(&entry.id) != Some(&body) || entry.upstream != NAME {
                self.violation(format!("the archive has an audit log that nobody registered: {body}"));
            }
            if !ids.insert(entry.id.clone()) {
                self.violation(format!("the archive has audit log {} twice", entry.id));
            }
        }
        if total != stored.len() as u64 {
            self.violation(format!("the archive counts {total} audit logs, and lists {}", stored.len()));
        }
        if let Some((id, body)) = expected.iter().find(|(id, _)| is_end && !ids.contains(*id)) {
            self.violation(format!("audit log {id} was never stored: {body}"));
        }
    }
}
