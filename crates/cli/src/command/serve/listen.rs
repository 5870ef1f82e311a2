//! Listening on an address.

use std::net::{SocketAddr, TcpListener};

use crate::exit::{Exit, Failure, Outcome};

/// A listener on an address that an option names.
pub(super) fn listen(address: SocketAddr, option: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "port {} is in use (is Runlog running already?); choose another one with {option}",
                address.port()
            ),
            _ => format!("cannot listen on {address}; choose another address with {option}"),
        };
        Failure { exit: Exit::Unavailable, error: error.into() }.while_doing(what)
    })
}
