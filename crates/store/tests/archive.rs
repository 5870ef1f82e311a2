//! The archive from outside: what goes in comes out, whole, once, in order. One suite, wherever catalog and objects lie.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod common;
#[path = "archive/damage.rs"]
mod damage;
#[path = "archive/files.rs"]
mod files;
#[path = "archive/late.rs"]
mod late;
#[path = "archive/links.rs"]
mod links;
#[path = "archive/nodes.rs"]
mod nodes;
#[path = "archive/outage.rs"]
mod outage;
#[path = "archive/page_file_recovery.rs"]
mod page_file_recovery;
#[path = "archive/statements.rs"]
mod statements;
#[path = "archive/threads.rs"]
mod threads;

/// The suite over one pair of backends.
macro_rules! over {
    ($module:ident, $cases:literal, copied to $other:ident) => {
        mod $module {
            type Archive = super::common::Archive<super::common::backends::$module>;
            type Copy = super::common::Archive<super::common::backends::$other>;
            const CASES: u32 = $cases;
            include!("archive/suite.rs");
            include!("archive/search.rs");
            include!("archive/names.rs");
            include!("archive/pages.rs");
        }
    };
}

over!(sqlite_and_folder, 48, copied to postgres_and_s3);
over!(sqlite_and_s3, 4, copied to postgres_and_folder);
over!(postgres_and_folder, 4, copied to sqlite_and_s3);
over!(postgres_and_s3, 4, copied to sqlite_and_folder);
