//! The size of the terminal.

use rustix::termios::{Winsize, tcgetwinsize};

use crate::system::environment;

/// Rows of a terminal of unknown size.
const ROWS_DEFAULT: usize = 24;

/// Columns of a terminal of unknown size.
const COLUMNS_DEFAULT: usize = 80;

/// Rows of the terminal on standard output. `LINES` takes precedence.
pub(crate) fn rows() -> usize {
    size("LINES", |window| window.ws_row).unwrap_or(ROWS_DEFAULT)
}

/// Columns of the terminal on standard output. `COLUMNS` takes precedence.
pub(crate) fn columns() -> usize {
    size("COLUMNS", |window| window.ws_col).unwrap_or(COLUMNS_DEFAULT)
}

/// The number in a variable, or else of the terminal; none if neither is known.
fn size(variable: &str, of: impl Fn(&Winsize) -> u16) -> Option<usize> {
    let given = environment(variable).and_then(|text| text.parse().ok());
    let size = given.or_else(|| tcgetwinsize(std::io::stdout()).ok().map(|window| usize::from(of(&window))));
    size.filter(|size| *size > 0)
}
