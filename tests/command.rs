//! Each command, by what it prints and how it ends.
