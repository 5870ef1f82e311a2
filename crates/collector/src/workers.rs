//! Workers that take one thing after another, several side by side.

use std::ops::AddAssign;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Lets so many workers take steps until there is nothing to do, which a step without an outcome says, or `stop`; what
/// they came to, added up.
///
/// After an error nobody begins anything more, and what the others have in hand is finished first: broken off, it would
/// stay claimed. The first error is given then.
pub(crate) async fn side_by_side<T, E, F>(
    workers: usize,
    stop: &CancellationToken,
    step: impl Fn() -> F + Clone + Send + 'static,
) -> Result<T, E>
where
    T: Default + AddAssign + Send + 'static,
    E: From<JoinError> + Send + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send,
{
    let no_more = stop.child_token();
    let mut working = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (step, no_more) = (step.clone(), no_more.clone());
        working.spawn(async move {
            let mut done = T::default();
            while !no_more.is_cancelled() {
                match step().await? {
                    Some(one) => done += one,
                    None => break,
                }
            }
            Ok::<_, E>(done)
        });
    }
    let (mut all, mut problem) = (T::default(), None);
    while let Some(outcome) = working.join_next().await {
        match outcome.map_err(E::from).flatten() {
            Ok(done) => all += done,
            Err(error) => {
                no_more.cancel();
                problem.get_or_insert(error);
            }
        }
    }
    match problem {
        None => Ok(all),
        Some(error) => Err(error),
    }
}
