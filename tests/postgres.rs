//! A catalog in PostgreSQL: loss of the administrator's token, and users who may not create tables.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{runlog, succeeded};

/// A new PostgreSQL server, which stops when this is dropped.
struct Postgres {
    port: u16,
    process: Child,
}

impl Postgres {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/store/common/postgres.sh");
        let process = Command::new(script).arg(port.to_string()).stdin(Stdio::piped()).spawn().unwrap();
        let server = Self { port, process };
        let is_there = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            server.psql("postgres", "SELECT 1").status().unwrap().success()
        });
        assert!(is_there, "PostgreSQL did not start within 30 s");
        server
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["-q", "-At", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-c", statement]);
        psql.env("PGPORT", self.port.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
        psql
    }

    fn asked(&self, database: &str, statement: &str) -> String {
        succeeded(self.psql(database, statement).output().unwrap()).trim().to_owned()
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:secret@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It stops when its standard input is closed.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A node with this catalog, which is stopped when this is dropped.
struct Node {
    child: Child,
    url: String,
}

impl Node {
    /// Starts a node, or returns its output if it exits.
    fn start(catalog: &str, data: &Path) -> Result<Self, String> {
        let mut serve = runlog(&["serve", "--listen", "127.0.0.1:0", "--catalog", catalog, "--data"]);
        let mut child = serve.arg(data).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while log.read_line(&mut said).unwrap() > 0 {
            let address = said.split_once("listens on ").and_then(|(_, rest)| rest.split_once(','));
            if let Some((url, _)) = address {
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Ok(Self { child, url: url.to_owned() });
            }
        }
        child.wait().unwrap();
        Err(said)
    }

    fn is_accepted(&self, token: &str) -> bool {
        let mut list = runlog(&["admin", "users", "list"]);
        list.env("RUNLOG_API_URL", &self.url).env("RUNLOG_TOKEN", token).output().unwrap().status.success()
    }
}

/// The status of the response to a request that creates a user.
fn create_user(address: &str, token: &str, number: usize) -> u16 {
    let body = format!("{{\"name\": \"user {number}\"}}");
    let mut connection = TcpStream::connect(address).unwrap();
    write!(
        connection,
        "POST /runlog/v1/users HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_lost_token_is_replaced_from_anywhere_and_failed_tries_leave_nothing() {
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    server.asked("postgres", "CREATE DATABASE runlog");
    let catalog = server.url("postgres", "runlog");
    let node = Node::start(&catalog, &folder.path().join("node")).unwrap();
    let tokens = || server.asked("runlog", "SELECT count(*), count(expires_at) FROM tokens");
    assert_eq!(tokens(), "1|0");

    // The folder cannot be created: the failed attempt leaves nothing behind.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let recover =
        |data: &Path| runlog(&["admin", "recover", "--catalog", &catalog, "--data"]).arg(data).output().unwrap();
    let failed = recover(&folder.path().join("file/data"));
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && told.contains("set another folder with --data"), "{told}");
    assert_eq!(tokens(), "1|0");

    // The folder does not exist, and is created with access only for its owner.
    let data = folder.path().join("else/where");
    let recovered = recover(&data);
    let told = String::from_utf8_lossy(&recovered.stderr).into_owned();
    assert!(recovered.status.success() && told.contains("expires in 24 h"), "{told}");
    assert_eq!(tokens(), "2|1");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap();
    assert!(node.is_accepted(token.trim()));
    server.asked("runlog", "UPDATE tokens SET expires_at = 1 WHERE expires_at IS NOT NULL");
    assert!(!node.is_accepted(token.trim()));
}

#[test]
fn a_node_needs_no_ddl_privileges_on_existing_tables() {
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    for statement in [
        "CREATE DATABASE runlog",
        "CREATE ROLE owner LOGIN",
        "CREATE ROLE node LOGIN",
        "GRANT CREATE ON DATABASE runlog TO owner",
    ] {
        server.asked("postgres", statement);
    }
    // If the public schema is open to all, as before PostgreSQL 15, it is closed first.
    server.asked("runlog", "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let (owner, user) = (server.url("owner", "runlog"), server.url("node", "runlog"));
    for catalog in [&owner, &user] {
        let told = Node::start(catalog, folder.path()).err().unwrap();
        assert!(told.contains("this user may not") && told.contains("CREATE on the schema"), "{told}");
    }
    server.asked("runlog", "GRANT CREATE ON SCHEMA public TO owner");
    drop(Node::start(&owner, folder.path()).unwrap());

    // As in the documentation.
    server.asked("runlog", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO node");
    let node = Node::start(&user, folder.path()).unwrap();
    let token = std::fs::read_to_string(folder.path().join("admin.token")).unwrap();
    assert!(node.is_accepted(token.trim()));
    let create = ["admin", "environments", "create", "test", "--json"];
    let made = runlog(&create).env("RUNLOG_API_URL", &node.url).env("RUNLOG_TOKEN", token.trim()).output();
    assert!(succeeded(made.unwrap()).contains("test"));
}

#[test]
fn a_pooler_that_does_not_keep_sessions_is_named() {
    // As PgBouncer 1.18 responds to a client that requests more than it passes on by default.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let catalog = format!("postgres://runlog:secret@{}/runlog", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            // The first message asks for TLS, which the server declines.
            if stream.read(&mut request).is_ok_and(|length| length == 8) {
                let _ = stream.write_all(b"N");
                let _ = stream.read(&mut request);
            }
            let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: extra_float_digits\0\0";
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&b"E"[..], &length, fields].concat());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let told = Node::start(&catalog, folder.path()).err().unwrap();
    assert!(told.contains("pool_mode = session") && told.contains("ignore_startup_parameters"), "{told}");
    let doctor = runlog(&["doctor", "--catalog", &catalog, "--data"]).arg(folder.path()).output().unwrap();
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("pool_mode = session"), "{told}");
}

/// Calls that waited for a connection when the node was suspended failed with 503 when it continued, because their
/// timeout had passed meanwhile.
#[test]
fn a_node_that_was_suspended_answers_those_that_waited_for_a_connection() {
    const CONNECTIONS: usize = 16;
    let (server, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    server.asked("postgres", "CREATE DATABASE runlog");
    let node = Node::start(&server.url("postgres", "runlog"), &folder.path().join("node")).unwrap();
    let token = std::fs::read_to_string(folder.path().join("node/admin.token")).unwrap();
    let address = node.url.trim_start_matches("http://");
    let signal = |name: &str| {
        let pid = node.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    let mut locker = server.psql("runlog", "").stdin(Stdio::piped()).args(["-f", "-"]).spawn().unwrap();
    let mut script = locker.stdin.take().unwrap();
    writeln!(script, "BEGIN; LOCK TABLE users IN EXCLUSIVE MODE;").unwrap();
    let locks =
        "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'ExclusiveLock' AND granted";
    while server.asked("runlog", locks) != "1" {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::scope(|scope| {
        let token = token.trim();
        let clients: Vec<_> =
            (0..CONNECTIONS + 8).map(|number| scope.spawn(move || create_user(address, token, number))).collect();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while server.asked("runlog", waiting) != CONNECTIONS.to_string() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // The others are accepted meanwhile, and wait for one of these connections.
        std::thread::sleep(Duration::from_millis(500));
        signal("-STOP");
        // Longer than a call waits for a connection.
        std::thread::sleep(Duration::from_secs(9));
        writeln!(script, "ROLLBACK;").unwrap();
        drop(script);
        signal("-CONT");
        let statuses: Vec<u16> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    });
    assert!(locker.wait().unwrap().success());
}
