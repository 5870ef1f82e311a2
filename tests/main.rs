//! Runlog from outside: the real binary, real HTTP, real files.

mod command;
mod demo;
mod guide;
mod support;
