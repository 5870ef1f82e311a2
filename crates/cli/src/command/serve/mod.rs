//! `runlog serve`: runs the service until it is stopped.

mod arguments;
mod listen;

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use arguments::Links;
pub(crate) use arguments::ServeArgs;
use listen::listen;
use runlog_collector::alerts::Alerts;
use runlog_model::Clock;
use runlog_server::{AlertPreview, Proxies, ServerSettings, TlsFiles};
use runlog_store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

use crate::admin_token::AdminTokenFile;
use crate::arguments::archive;
use crate::arguments::span::Span;
use crate::background::{collect_continuously, send_alerts, spawn_delivery};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::note;
use crate::settings::Settings;
use crate::system::{SystemClock, SystemRandom};

/// Runs the service until Ctrl-C or SIGTERM; a second signal ends it immediately.
pub(crate) async fn run(args: ServeArgs, stop: CancellationToken) -> Outcome {
    let args = args.with_former_names();
    args.log.write();
    for (name, life) in
        [("--access-token-lifetime", args.access_token_lifetime), ("--link-lifetime", args.link_lifetime)]
    {
        // A key is kept for two days after it was replaced.
        if !(1_000..=86_400_000).contains(&life.as_millis()) {
            return Err(Failure::new(Exit::Usage, format!("{name} must be between one second and one day")));
        }
    }
    let settings_file = args.settings.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let stored = settings_file.archive(args.data.as_deref(), args.places.catalog, args.places.objects)?;
    let data = stored.data_folder.clone();
    let (upstreams, sinks) = (settings_file.upstreams(&data)?, settings_file.sinks()?);
    let settings = StoreSettings {
        page_records_max: args.page_records,
        settle_ms: args.settle.map_or(stored.settle_ms, Span::as_millis),
        links_by_bucket: args.links == Links::Bucket,
        lake: args.iceberg || stored.lake,
        page_builders: usize::from(args.page_builders),
        ingest_memory_bytes: (args.ingest_memory as usize) << 20,
        ..stored
    };
    let place = settings.location();
    let store = archive::open(settings).await?;
    store.supervisor().start_threads().context("cannot start threads for work in the background")?;
    if let Some(token) = store.accounts().ensure_administrator().await? {
        let file = AdminTokenFile::prepare(&data).and_then(|file| file.write(&token))?;
        note(format!("created an administrator; its token is in {} (keep it secret)", file.display()));
    }
    let listener = listen(args.listen, "--listen")?;
    let postgres = args.sql.postgres()?;
    let address = listener.local_addr().context("the listener has no address")?;
    let tls = args.tls_certificate.zip(args.tls_key).map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_authorities: args.tls_client_authorities,
    });
    if let Some(postgres) = &postgres {
        let address = postgres.listener.local_addr().context("the listener has no address")?;
        note(format!("clients of PostgreSQL connect to {address}, database runlog, with a token as the password"));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    note(format!("runlog {} listens on {scheme}://{address}, archive in {place}", env!("CARGO_PKG_VERSION")));
    let run_hook = args.run_hook.map(|hook| args.run_hook_tls.with_client(hook)).transpose()?;
    let alerts = settings_file.alerts(&store)?.map(Arc::new);
    let oidc = settings_file.oidc()?;
    if oidc.is_some() && args.public_url.is_none() {
        let message = "sign-in with an identity provider ([oidc] in the settings) needs --public-url: the provider sends browsers \
                       back to that address";
        return Err(Failure::new(Exit::Usage, message));
    }
    let syslog = settings_file.syslog()?;
    let server = ServerSettings {
        syslog,
        alert_preview: alerts.clone().map(|alerts| preview_of(alerts, store.shared_clock())),
        tls,
        public_url: args.public_url.map(|url| url.to_string().trim_end_matches('/').to_owned()),
        mcp_hosts: args.mcp_hosts,
        expires_in_as_string: args.expires_in_as_string,
        run_hook,
        oidc,
        metrics_by_task: args.metrics_by_task,
        anonymous_requests_per_second: args.bounds.anonymous_requests_per_second,
        turn_time_max: args.bounds.queue_timeout.duration(),
        proxies: Proxies {
            trusted: args.bounds.trusted_proxies.clone(),
            client_address_source: args.bounds.client_address_source.into(),
        },
        bounds: args.bounds.bounds(),
        sql: args.sql.settings(&data),
        postgres,
        otlp: args.otlp.attributes(),
        event_zone: args.events.event_zone,
        file_order: args.file_order.into(),
        window_days_max: args.window_days,
        access_token_seconds: args.access_token_lifetime.as_millis() / 1_000,
        link_seconds: args.link_lifetime.as_millis() / 1_000,
        requests_per_second: args.requests_per_second,
        ..ServerSettings::default()
    };
    let sending_alerts = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move { send_alerts(&store, alerts, stop).await }
    });
    let mut delivering = spawn_delivery(&store, sinks, &stop);
    let collecting = tokio::spawn(collect_continuously(
        store.clone(),
        upstreams,
        Arc::new(runlog_collector::NoProgress),
        stop.clone(),
    ));
    let served = serve_until(listener, store.clone(), server, stop.clone()).await;
    stop.cancel();
    collecting.await.context("the collectors failed")?;
    sending_alerts.await.context("the alerts failed")?;
    while delivering.join_next().await.is_some() {}
    served?;
    store.close().await;
    note("stopped; all acknowledged records are stored");
    Ok(())
}

/// Previews the events that rules would have reported, for the API.
fn preview_of(alerts: Arc<Alerts>, clock: Arc<dyn Clock>) -> AlertPreview {
    AlertPreview::new(move |since| {
        let (alerts, now) = (Arc::clone(&alerts), clock.now());
        Box::pin(async move {
            let previews = alerts.preview(since, now).await;
            previews.map_err(|error| format!("cannot search for what the rules would have reported: {error}"))
        })
    })
}

/// Serves an open archive on a listener until stopped.
pub(crate) async fn serve_until(
    listener: TcpListener,
    store: Store,
    settings: ServerSettings,
    stop: CancellationToken,
) -> Outcome {
    runlog_server::serve(listener, store, settings, Arc::new(SystemClock), Arc::new(SystemRandom), stop)
        .await
        .map_err(|error| Failure::from(anyhow::Error::from(error)))
}
