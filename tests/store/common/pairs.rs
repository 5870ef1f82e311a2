//! Pairs of backends, chosen at run time, so that a suite is compiled once for all of them.

use std::cell::Cell;
use std::path::PathBuf;

use runlog_store::StoreSettings;

use super::backends::{Backends, postgres_and_folder, postgres_and_s3, sqlite_and_folder, sqlite_and_s3};

/// A pair of backends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pair {
    SqliteAndFolder,
    SqliteAndS3,
    PostgresAndFolder,
    PostgresAndS3,
}

thread_local! {
    static PAIR: Cell<Pair> = const { Cell::new(Pair::SqliteAndFolder) };
}

impl Pair {
    /// Selects the pair for the archives of this thread. Each test has its own thread.
    pub(crate) fn choose(self) {
        PAIR.set(self);
    }

    fn set_in(self, settings: &mut StoreSettings) -> PathBuf {
        match self {
            Self::SqliteAndFolder => sqlite_and_folder::choose(settings),
            Self::SqliteAndS3 => sqlite_and_s3::choose(settings),
            Self::PostgresAndFolder => postgres_and_folder::choose(settings),
            Self::PostgresAndS3 => postgres_and_s3::choose(settings),
        }
    }

    fn other(self) -> Self {
        match self {
            Self::SqliteAndFolder => Self::PostgresAndS3,
            Self::SqliteAndS3 => Self::PostgresAndFolder,
            Self::PostgresAndFolder => Self::SqliteAndS3,
            Self::PostgresAndS3 => Self::SqliteAndFolder,
        }
    }
}

/// The pair that the test of this thread has selected.
pub(crate) struct Chosen;

impl Backends for Chosen {
    fn choose(settings: &mut StoreSettings) -> PathBuf {
        PAIR.get().set_in(settings)
    }
}

/// The two backends that are not part of the selected pair.
pub(crate) struct Other;

impl Backends for Other {
    fn choose(settings: &mut StoreSettings) -> PathBuf {
        PAIR.get().other().set_in(settings)
    }
}

/// Returns the number of cases of a property that are tested on the selected pair.
pub(crate) fn cases() -> u32 {
    match PAIR.get() {
        Pair::SqliteAndFolder => 48,
        Pair::SqliteAndS3 | Pair::PostgresAndFolder | Pair::PostgresAndS3 => 4,
    }
}

/// Runs tests on each pair of backends. The tests are compiled once; a test that is not listed is dead code, which is
/// an error.
macro_rules! on_each_pair {
    (async: $($test:ident),* $(,)?; sync: $($plain:ident),* $(,)?) => {
        $crate::common::pairs::on_each_pair!(@ sqlite_and_folder, SqliteAndFolder, [$($test)*] [$($plain)*]);
        $crate::common::pairs::on_each_pair!(@ sqlite_and_s3, SqliteAndS3, [$($test)*] [$($plain)*]);
        $crate::common::pairs::on_each_pair!(@ postgres_and_folder, PostgresAndFolder, [$($test)*] [$($plain)*]);
        $crate::common::pairs::on_each_pair!(@ postgres_and_s3, PostgresAndS3, [$($test)*] [$($plain)*]);
    };
    (@ $module:ident, $pair:ident, [$($test:ident)*] [$($plain:ident)*]) => {
        mod $module {
            use $crate::common::pairs::Pair;

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    Pair::$pair.choose();
                    super::$test().await;
                }
            )*
            $(
                #[test]
                fn $plain() {
                    Pair::$pair.choose();
                    super::$plain();
                }
            )*
        }
    };
}
pub(crate) use on_each_pair;
