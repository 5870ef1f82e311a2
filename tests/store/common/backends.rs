//! The backends of the archives of the tests. The servers are started once, on loopback, and end with the tests.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use runlog_store::{SecretUrl, StoreSettings};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use super::gate::Gate;

/// A pair of backends for catalog and objects.
pub(crate) trait Backends {
    /// Configures new, empty backends, and returns the folder that contains the objects as files.
    fn choose(settings: &mut StoreSettings) -> PathBuf;
}

macro_rules! backends {
    ($name:ident, $catalog:expr, $objects:expr) => {
        #[allow(non_camel_case_types, reason = "they are named as the modules of the suite are")]
        pub(crate) struct $name;

        impl Backends for $name {
            fn choose(settings: &mut StoreSettings) -> PathBuf {
                settings.catalog = $catalog;
                let folder = settings.data_folder.join("objects");
                let bucket: Option<(SecretUrl, PathBuf)> = $objects;
                bucket.map_or(folder, |(url, folder)| {
                    settings.objects = Some(url);
                    folder
                })
            }
        }
    };
}

backends!(sqlite_and_folder, None, None);
backends!(sqlite_and_s3, None, Some(bucket()));
backends!(postgres_and_folder, Some(database()), None);
backends!(postgres_and_s3, Some(database()), Some(bucket()));

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A server that exits when its standard input is closed, and so exits with this process, however that ends.
struct Postgres {
    port: u16,
    _process: Child,
}

fn database() -> SecretUrl {
    database_at(|port| port)
}

/// A new database behind a gate.
pub(crate) fn gated_database() -> (SecretUrl, Gate) {
    let mut gate = None;
    let url = database_at(|port| gate.insert(Gate::before(port)).port);
    (url, gate.unwrap())
}

/// Returns the server of all databases, which is started for the first of them.
fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/store/common/postgres.sh");
        let process = Command::new(script).arg(port.to_string()).stdin(Stdio::piped()).spawn().unwrap();
        Postgres { port, _process: process }
    })
}

/// Returns the address for direct access to a catalog.
pub(crate) fn catalog_address(settings: &StoreSettings) -> String {
    match &settings.catalog {
        None => format!("sqlite://{}", settings.data_folder.join("catalog.sqlite").display()),
        Some(url) => {
            let name = url.to_string().rsplit('/').next().unwrap().to_owned();
            format!("postgres://postgres@127.0.0.1:{}/{name}", postgres().port)
        }
    }
}

/// Creates a database; `before` maps the server's port to the port of the address.
fn database_at(before: impl FnOnce(u16) -> u16) -> SecretUrl {
    let server = postgres();
    let name = format!("archive_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let made = || {
        let mut psql = Command::new("psql");
        psql.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-c", &format!("CREATE DATABASE {name}")]);
        psql.env("PGPORT", server.port.to_string()).stderr(Stdio::null()).status().unwrap().success()
    };
    let is_there = (0..300).any(|_| {
        let made = made();
        if !made {
            std::thread::sleep(Duration::from_millis(100));
        }
        made
    });
    assert!(is_there, "PostgreSQL did not start within 30 s");
    let url = format!("postgres://postgres@127.0.0.1:{}/{name}", before(server.port));
    SecretUrl::read(&url, &["postgres"]).unwrap()
}

/// Starts an S3 server in this process that verifies signatures. Returns its bucket and the folder with the bucket's
/// objects.
pub(crate) fn bucket() -> (SecretUrl, PathBuf) {
    bucket_at(|port| port)
}

/// A new prefix of the bucket, behind a gate.
pub(crate) fn gated_bucket() -> (SecretUrl, PathBuf, Gate) {
    let mut gate = None;
    let (url, folder) = bucket_at(|port| gate.insert(Gate::before(port)).port);
    (url, folder, gate.unwrap())
}

fn bucket_at(before: impl FnOnce(u16) -> u16) -> (SecretUrl, PathBuf) {
    static SERVER: OnceLock<(u16, tempfile::TempDir)> = OnceLock::new();
    let (port, folder) = SERVER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let files = s3s_fs::FileSystem::new(folder.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        let service = builder.build();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                while let Ok((stream, _)) = listener.accept().await {
                    let connection = http.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
                    tokio::spawn(connection);
                }
            });
        });
        (port, folder)
    });
    let prefix = format!("archive-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let options = "region=eu-west-1&access_key_id=key&secret_access_key=secret&allow_http=true";
    let url = format!("s3://bucket/{prefix}?endpoint=http://127.0.0.1:{}&{options}", before(*port));
    (SecretUrl::read(&url, &["s3"]).unwrap(), folder.path().join("bucket").join(prefix))
}
