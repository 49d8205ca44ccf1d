//! Opening Mainstay: which stores it stands on, and what runs beside the requests.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use mainstay_core::{
    App, Clock, Error, Name, Result, cache::CacheDriver, changes::ChangeDriver, sessions::SessionDriver,
    store::Store, tokens::TokenDriver,
};
use mainstay_sqlite::{Durability, Options, Sqlite};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    cache::{Cache, CacheCore},
    call::call,
    secret::SecretKey,
    sessions::{KindPolicy, SessionMemory, Sessions},
    sweeper,
    tail::Tail,
    tokens::{TokenMemory, Tokens},
};

/// How Mainstay is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder; `None` is a private temporary one, removed at the end.
    pub folder: Option<PathBuf>,
    /// When a write counts as done. Default: [`Durability::Full`].
    pub durability: Durability,
    /// Memory for copies of sessions, in bytes. Default: 32 MiB, about 50,000 sessions.
    pub session_memory_bytes: u64,
    /// Timeouts by kind of session. `login` serves the kinds that are not named.
    pub session_kinds: BTreeMap<String, KindPolicy>,
    /// Memory for the first level of the cache, in bytes. Default: 64 MiB.
    pub cache_memory_bytes: u64,
    /// Disk for the second level of the cache, in bytes. Default: 1 GiB.
    pub cache_disk_bytes: u64,
    /// Where the time comes from. Default: the system.
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        let kinds = [
            ("login", KindPolicy::LOGIN),
            ("upload", KindPolicy::UPLOAD),
            ("onboarding", KindPolicy::ONBOARDING),
            ("guest", KindPolicy::GUEST),
        ];
        Self {
            folder: None,
            durability: Durability::Full,
            session_memory_bytes: 32 << 20,
            session_kinds: kinds.into_iter().map(|(kind, policy)| (kind.to_owned(), policy)).collect(),
            cache_memory_bytes: 64 << 20,
            cache_disk_bytes: 1 << 30,
            clock: Clock::system(),
        }
    }
}

/// What the services stand on, one field per noun.
#[derive(Clone)]
pub(crate) struct Drivers {
    pub(crate) sessions: Arc<dyn SessionDriver>,
    pub(crate) tokens: Arc<dyn TokenDriver>,
    pub(crate) changes: Arc<dyn ChangeDriver>,
    pub(crate) cache: Arc<dyn CacheDriver>,
    pub(crate) store: Arc<dyn Store>,
}

/// What all clones of a [`Mainstay`] share.
pub(crate) struct Inner {
    pub(crate) drivers: Drivers,
    pub(crate) tail: Arc<Tail>,
    pub(crate) session_memory: Arc<SessionMemory>,
    pub(crate) token_memory: Arc<TokenMemory>,
    pub(crate) cache: Arc<CacheCore>,
    pub(crate) secret: SecretKey,
    pub(crate) clock: Clock,
    session_kinds: BTreeMap<String, KindPolicy>,
    apps: RwLock<HashMap<App, Arc<AppState>>>,
}

/// What this process knows of one app.
#[derive(Debug)]
struct AppState {
    app: App,
    /// Checks that the store was not told of yet.
    checks: AtomicU64,
}

impl Inner {
    pub(crate) fn session_kind(&self, kind: &Name) -> KindPolicy {
        let named = self.session_kinds.get(kind.as_str()).or_else(|| self.session_kinds.get("login"));
        named.copied().unwrap_or(KindPolicy::LOGIN)
    }

    /// Tells the store how many checks there were.
    pub(crate) async fn flush_checks(&self) -> Result<()> {
        let apps: Vec<Arc<AppState>> =
            self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let counts: Vec<(App, u64)> = apps
            .iter()
            .map(|state| (state.app.clone(), state.checks.swap(0, Relaxed)))
            .filter(|(_, n)| *n > 0)
            .collect();
        if counts.is_empty() {
            return Ok(());
        }
        let told = call("sessions.add_checks", self.drivers.sessions.add_checks(&counts)).await;
        if told.is_err() {
            for (state, n) in
                apps.iter().filter_map(|s| counts.iter().find(|(app, _)| *app == s.app).map(|c| (s, c.1)))
            {
                state.checks.fetch_add(n, Relaxed);
            }
        }
        told
    }
}

/// Mainstay, opened. Cheap to clone; every clone is the same one.
#[derive(Clone)]
pub struct Mainstay {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

/// What runs beside the requests; stopped when the last clone is gone.
struct Tasks {
    stop: watch::Sender<bool>,
    running: Mutex<Option<JoinSet<()>>>,
}

impl fmt::Debug for Mainstay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mainstay").field("store", &self.inner.drivers.store).finish_non_exhaustive()
    }
}

impl Mainstay {
    /// Opens the data folder at `path`, making it if it is not there: everything on one machine,
    /// nothing to install. `":memory:"` is a private temporary folder that is removed at the end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
    /// mainstay.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable` when another process has the folder or it cannot be written, `internal` when
    /// a file is damaged, of another program, or of a newer Mainstay.
    pub async fn embedded(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let folder = (path != Path::new(":memory:")).then(|| path.to_owned());
        Self::open(Config { folder, ..Config::default() }).await
    }

    /// Opens Mainstay as `config` says. Must be called within a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// use mainstay::{Config, Mainstay, Ttl, sessions::KindPolicy};
    ///
    /// let mut config = Config::default();
    /// config.session_kinds.insert("kiosk".into(), KindPolicy::new(Ttl::seconds(300), Ttl::seconds(3600)));
    /// let mainstay = Mainstay::open(config).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Mainstay::embedded`]; `invalid` for a session kind that is no identifier.
    pub async fn open(config: Config) -> Result<Self> {
        for kind in config.session_kinds.keys() {
            Name::new("session_kinds", kind)?;
        }
        let (sqlite, secret) = open_embedded(&config).await?;
        let sqlite = Arc::new(sqlite);
        let drivers = Drivers {
            sessions: sqlite.clone(),
            tokens: sqlite.clone(),
            changes: sqlite.clone(),
            cache: sqlite.clone(),
            store: sqlite,
        };
        Self::start(drivers, secret, config).await
    }

    async fn start(drivers: Drivers, secret: SecretKey, config: Config) -> Result<Self> {
        let session_memory = Arc::new(SessionMemory::new(config.session_memory_bytes));
        let token_memory = Arc::new(TokenMemory::new());
        let cache = Arc::new(CacheCore::new(&drivers, config.clock.clone(), config.cache_memory_bytes));
        // The second level of the cache outlives the process: it may lag behind the log.
        let applied = drivers.cache.applied().await?;
        let tail = Tail::start(
            Arc::clone(&drivers.changes),
            vec![session_memory.clone(), token_memory.clone(), cache.clone()],
            applied,
        );
        let tail = Arc::new(tail.await?);
        let inner = Arc::new(Inner {
            drivers,
            tail: Arc::clone(&tail),
            session_memory,
            token_memory,
            cache,
            secret,
            clock: config.clock,
            session_kinds: config.session_kinds,
            apps: RwLock::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(tail.run(stopped.clone()));
        running.spawn(sweeper::run(Arc::clone(&inner), stopped));
        Ok(Self { inner, tasks: Arc::new(Tasks { stop, running: Mutex::new(Some(running)) }) })
    }

    /// The app called `name`. The same names in two apps never meet.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// let shop = mainstay.app("shop")?;
    /// assert!(shop.sessions().list("alice", &PageRequest::default()).await?.items.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `name` is no identifier.
    pub fn app(&self, name: &str) -> Result<AppHandle> {
        Ok(self.app_of(&App::new(name)?))
    }

    /// As [`Mainstay::app`], for a name that was checked before.
    #[must_use]
    pub fn app_of(&self, app: &App) -> AppHandle {
        let apps = &self.inner.apps;
        let known = apps.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
        let state = known.unwrap_or_else(|| {
            let mut apps = apps.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(AppState { app: app.clone(), checks: AtomicU64::new(0) });
            Arc::clone(apps.entry(app.clone()).or_insert_with(fresh))
        });
        AppHandle { mainstay: self.clone(), state }
    }

    /// Sessions of the app `default`.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        self.app_of(&App::default()).sessions()
    }

    /// A cache namespace of the app `default`.
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier.
    pub fn cache(&self, namespace: &str) -> Result<Cache> {
        self.app_of(&App::default()).cache(namespace)
    }

    /// API tokens of all apps.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.clone())
    }

    /// Ends what runs beside the requests, tells the store what was counted, and waits for both.
    /// The files close when the last clone is dropped after this; without it they close some time
    /// after. Calls that are made later still work.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// mainstay.close().await;
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) {
        self.tasks.stop.send_replace(true);
        let running = self.tasks.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running {
            while running.join_next().await.is_some() {}
        }
        self.inner.cache.close().await;
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

async fn open_embedded(config: &Config) -> Result<(Sqlite, SecretKey)> {
    let options = Options {
        durability: config.durability,
        cache_bytes_max: config.cache_disk_bytes,
        clock: config.clock.clone(),
    };
    let folder = config.folder.clone();
    let open = move || match folder {
        Some(folder) => Sqlite::open(&folder, &options),
        None => Sqlite::temporary(&options),
    };
    let secret = match &config.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::Unavailable { store: "folder", source: e.into() })?;
            SecretKey::load_or_create(folder)?
        }
        None => SecretKey::generate()?,
    };
    let sqlite = tokio::task::spawn_blocking(open)
        .await
        .map_err(|e| Error::Store { store: "sqlite", source: e.into() })??;
    Ok((sqlite, secret))
}

/// One app within Mainstay. Cheap to clone.
#[derive(Clone)]
pub struct AppHandle {
    mainstay: Mainstay,
    state: Arc<AppState>,
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppHandle").field("app", &self.state.app).finish_non_exhaustive()
    }
}

impl AppHandle {
    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.state.app
    }

    /// The app's sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.clone())
    }

    /// A namespace of the app's cache.
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier.
    pub fn cache(&self, namespace: &str) -> Result<Cache> {
        Cache::new(self, namespace)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        self.mainstay.inner()
    }

    pub(crate) fn count_check(&self) {
        self.state.checks.fetch_add(1, Relaxed);
    }
}
