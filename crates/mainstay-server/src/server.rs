//! The server as a whole: what it holds, how it starts and stops.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use mainstay::Mainstay;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    app,
    config::Config,
    edge::{Edge, RequestIds},
    listen::{self, Phase},
    metrics::Metrics,
    recorder,
    secret::Secret,
};

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) mainstay: Mainstay,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) request_ids: RequestIds,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Server {
    /// Whether the server has begun to stop.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }
}

/// The server, shared by all requests.
pub(crate) type Shared = Arc<Server>;

/// A server that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    admin_token: Option<Secret>,
    mainstay: Mainstay,
    phase: watch::Sender<Phase>,
    listening: JoinHandle<()>,
    recording: JoinHandle<()>,
}

impl Running {
    /// Opens the store in `config.data_dir`, makes sure that there is an admin token, and listens.
    /// When this returns, requests are answered.
    ///
    /// # Errors
    /// The folder cannot be used (another process may serve from it), or the address is taken.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        // First, so that a server that cannot listen does not touch the store.
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let mainstay = crate::open(&config).await?;
        let admin_token = mainstay
            .tokens()
            .ensure_admin(config.admin_token.given())
            .await
            .context("cannot create the admin token")?
            .map(Secret::new);
        if let Some(given) = config.admin_token.given()
            && mainstay.tokens().authenticate(given).await?.is_none()
        {
            tracing::warn!(
                "MAINSTAY_ADMIN_TOKEN opens nothing: it is taken at the first start only, and this store has \
                 an admin token already"
            );
        }
        Self::serve(config, mainstay, admin_token, listener)
    }

    fn serve(
        config: Config,
        mainstay: Mainstay,
        admin_token: Option<Secret>,
        listener: TcpListener,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let drain = config.drain_timeout.get();
        let (phase, watching) = watch::channel(Phase::Serving);
        let server: Shared = Arc::new(Server {
            mainstay: mainstay.clone(),
            config,
            metrics: Metrics::new(&app::infos()),
            request_ids: RequestIds::new(),
            phase: watching.clone(),
        });
        let edge = Edge::new(app::router(&server), server.clone());
        let listening = tokio::spawn(listen::listen(listener, edge, server, phase.clone(), drain));
        let recording = tokio::spawn(recorder::record(watching));
        Ok(Self { address, admin_token, mainstay, phase, listening, recording })
    }

    /// Where it listens; with port 0 in the configuration, the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin token, if it was generated now. It is not stored and cannot be told again.
    #[must_use]
    pub fn admin_token(&self) -> Option<&Secret> {
        self.admin_token.as_ref()
    }

    /// Takes nothing new, answers what was accepted within `config.drain_timeout`, and closes the
    /// store.
    ///
    /// # Errors
    /// The store could not be closed well. Everything acknowledged is durable even then.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.phase.send_replace(Phase::Draining);
        self.listening.await.context("the listener failed")?;
        self.recording.await.context("the recorder failed")?;
        self.mainstay.close().await;
        Ok(())
    }
}
