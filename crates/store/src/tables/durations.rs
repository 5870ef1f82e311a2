//! Durations of runs.

use az::SaturatingAs;
use runlog_model::wire::overview::DurationsBody;
use sqlx_macros::FromRow;

use crate::catalog::sql::Sql;
use crate::error::Result;
use crate::parts::Runs;
use crate::tables::runs::{RunFilter, parts_of, push_run_filter};

/// A duration and its rank among all durations, in ascending order, counted from 1.
#[derive(FromRow)]
struct RankedDuration {
    rank: i64,
    runs: i64,
    duration_ms: i64,
}

impl Runs {
    /// Returns the durations of the runs that match the filter, have started, and have ended. Limit and offset are
    /// ignored.
    pub async fn durations(&self, filter: &RunFilter) -> Result<DurationsBody> {
        let mut query = Sql::new(
            "SELECT rank, runs, duration_ms FROM
                (SELECT duration_ms, ROW_NUMBER() OVER (ORDER BY duration_ms) AS rank, COUNT(*) OVER () AS runs FROM (",
        );
        for (number, part) in parts_of(filter).iter().enumerate() {
            query.push(if number > 0 { " UNION ALL " } else { "" });
            query.push(
                "SELECT finished_at - started_at AS duration_ms FROM runs
                 WHERE started_at IS NOT NULL AND finished_at IS NOT NULL",
            );
            push_run_filter(&mut query, filter, *part);
        }
        query.push(
            ") AS timed) AS ranked
             WHERE rank = runs / 2 + 1 OR rank = runs * 95 / 100 + 1 OR rank = runs ORDER BY rank",
        );
        let ranked: Vec<RankedDuration> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let runs = ranked.first().map_or(0, |it| it.runs);
        let at = |rank: i64| {
            let found = ranked.iter().find(|it| it.rank == rank);
            // The recorded end of a run may be before its start if the times are from the clocks of two machines.
            found.map(|it| it.duration_ms.saturating_as::<u64>())
        };
        Ok(DurationsBody {
            runs: runs.saturating_as::<u64>(),
            median_ms: at(runs / 2 + 1),
            p95_ms: at(runs * 95 / 100 + 1),
            longest_ms: at(runs),
        })
    }
}
