//! Questions to a run's log: for now, what it holds and what went wrong in it.

mod summary;

pub use summary::{Gap, Problem, Summary};
