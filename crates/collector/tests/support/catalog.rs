//! Direct access to the SQLite file of a catalog, without a store.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Executes a statement on a file.
const CHANGE: &str = "import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1], timeout=60)
catalog.execute(sys.argv[2])
catalog.commit()";

/// Acquires the write lock, reports this, and keeps the lock.
const HOLD: &str = "import sqlite3, sys
catalog = sqlite3.connect(sys.argv[1], isolation_level=None)
catalog.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()";

/// Changes rows directly.
pub(crate) fn change(catalog: &Path, statement: &str) {
    let mut command = Command::new("python3");
    command.args(["-c", CHANGE]).arg(catalog).arg(statement);
    assert!(command.status().unwrap().success(), "{statement}");
}

/// A catalog whose writers block until this is dropped.
pub(crate) struct Held(Child);

impl Held {
    pub(crate) fn of(catalog: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", HOLD]).arg(catalog).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = Self(command.spawn().unwrap());
        held.0.stdout.take().unwrap().read_exact(&mut [0; 4]).unwrap();
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
