//! A gate on loopback in front of a server: tests close it, block it, or make it cut responses off.
//!
//! It forwards TCP, so that outages of a bucket or a database can be reproduced realistically.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The treatment of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// All data is forwarded.
    Open,
    /// Existing and new connections are closed.
    Closed,
    /// Connections are accepted, and no data is forwarded.
    Hanging,
    /// The next connections are accepted without forwarding data; all later ones are open.
    HangingFor { connections: u64 },
    /// The next connections are closed after this number of bytes from the server; all later ones are open.
    Cut { connections: u64, after_bytes: u64 },
}

struct State {
    passage: Passage,
    /// Both sides of every connection, so that they can be closed.
    open: Vec<TcpStream>,
}

/// A gate, which exists until the process ends.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    is_suspended: Arc<AtomicBool>,
}

impl Gate {
    /// Opens a gate in front of the server at this local port.
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { passage: Passage::Open, open: Vec::new() }));
        let gate = Self { port, state, is_suspended: Arc::default() };
        let keeper = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                keeper.let_in(client, server);
            }
        });
        gate
    }

    /// Sets the treatment of connections, and closes the existing ones.
    pub(crate) fn set(&self, passage: Passage) {
        let mut state = self.state.lock().unwrap();
        state.passage = passage;
        // Blocked connections get no response even when the gate is opened, because the server did not receive them.
        close(&mut state.open);
    }

    /// Holds back all data until it is called again with false. Connections stay open.
    pub(crate) fn suspend(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::SeqCst);
    }

    /// Returns the number of further connections that will be blocked.
    pub(crate) fn hangs_for(&self) -> u64 {
        match self.state.lock().unwrap().passage {
            Passage::HangingFor { connections } => connections,
            _ => 0,
        }
    }

    fn let_in(&self, client: TcpStream, server: u16) {
        let mut state = self.state.lock().unwrap();
        let mut bytes_max = u64::MAX;
        match &mut state.passage {
            Passage::Open => {}
            Passage::Closed => return drop(client.shutdown(Shutdown::Both)),
            Passage::Hanging => return state.open.push(client),
            Passage::Cut { connections: 0, .. } | Passage::HangingFor { connections: 0 } => {
                state.passage = Passage::Open;
            }
            Passage::HangingFor { connections } => {
                *connections -= 1;
                return state.open.push(client);
            }
            Passage::Cut { connections, after_bytes } => {
                *connections -= 1;
                bytes_max = *after_bytes;
            }
        }
        let Ok(to_server) = TcpStream::connect(("127.0.0.1", server)) else { return };
        let copies = || Some((client.try_clone().ok()?, to_server.try_clone().ok()?));
        let (Some((client_in, server_out)), Some((client_out, server_in))) = (copies(), copies()) else { return };
        state.open.extend([client, to_server]);
        let (suspended_in, suspended_out) = (Arc::clone(&self.is_suspended), Arc::clone(&self.is_suspended));
        std::thread::spawn(move || pass(client_in, server_out, u64::MAX, &suspended_in));
        std::thread::spawn(move || pass(server_in, client_out, bytes_max, &suspended_out));
    }
}

fn close(open: &mut Vec<TcpStream>) {
    for stream in open.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, bytes_max: u64, is_suspended: &AtomicBool) {
    let mut left = bytes_max;
    let mut buffer = vec![0; 16 << 10];
    let _ = to.set_write_timeout(Some(Duration::from_secs(60)));
    while let Ok(count) = from.read(&mut buffer) {
        while is_suspended.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let passing = left.min(count as u64) as usize;
        if count == 0 || to.write_all(&buffer[..passing]).is_err() || passing < count {
            break;
        }
        left -= passing as u64;
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
