//! Copies of sessions in this process.

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use mainstay_core::{
    App, Name, Result,
    changes::{Change, LoggedChange, Seq},
    planted::planted,
    sessions::{SessionId, SessionRecord},
};
use quick_cache::{Weighter, sync::Cache};

use crate::{
    marks::{AsOf, Marks},
    tail::Follower,
};

/// What a copy takes beside its fields, roughly.
const COPY_BYTES: usize = 512;

/// 1 MiB: at 5,000 changes a second, a copy is put out of use by a stranger's change every 26 s.
const MARKS: usize = 1 << 17;

/// A session as it was read.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(super) app: App,
    pub(super) record: SessionRecord,
    /// Somebody is writing down its use.
    pub(super) touching: AtomicBool,
    read: AsOf,
}

impl Copy {
    pub(super) fn new(app: App, record: SessionRecord, read: AsOf) -> Arc<Self> {
        Arc::new(Self { app, record, touching: AtomicBool::new(false), read })
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<SessionId, Arc<Copy>> for ByBytes {
    fn weight(&self, _: &SessionId, copy: &Arc<Copy>) -> u64 {
        (COPY_BYTES + copy.record.data.json_bytes() + copy.record.metadata.json_bytes()) as u64
    }
}

/// What a copy depends on.
#[derive(Hash)]
enum Subject<'a> {
    Session(SessionId),
    User(&'a App, &'a Name),
}

/// Recently used sessions, bounded by bytes.
#[derive(Debug)]
pub(crate) struct SessionMemory {
    copies: Cache<SessionId, Arc<Copy>, ByBytes>,
    marks: Marks,
}

impl SessionMemory {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / COPY_BYTES as u64).unwrap_or(usize::MAX);
        Self {
            copies: Cache::with_weighter(items.clamp(16, 1 << 16), bytes_max, ByBytes),
            marks: Marks::new(MARKS),
        }
    }

    /// To be asked before a session is read from the truth.
    pub(super) fn as_of(&self) -> AsOf {
        self.marks.as_of()
    }

    /// The copy of a session, if nothing has changed it since it was read.
    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Copy>> {
        let copy = self.copies.get(&id)?;
        let current = self.marks.is_current(&Subject::Session(id), copy.read)
            && self.marks.is_current(&Subject::User(&copy.app, &copy.record.user), copy.read);
        current.then_some(copy)
    }

    /// Keeps a copy, if there is room.
    pub(super) fn keep(&self, copy: &Arc<Copy>) {
        self.copies.insert(copy.record.id, Arc::clone(copy));
    }

    /// Puts the copies of a session out of use.
    pub(super) fn forget(&self, id: SessionId) {
        if planted("revoke_keeps_memory_copy") {
            return;
        }
        self.marks.mark(&Subject::Session(id));
        self.copies.remove(&id);
    }

    /// Puts the copies of a user's sessions out of use.
    pub(super) fn forget_user(&self, app: &App, user: &Name) {
        if planted("revoke_keeps_memory_copy") {
            return;
        }
        self.marks.mark(&Subject::User(app, user));
    }
}

#[async_trait]
impl Follower for SessionMemory {
    async fn apply(&self, changes: &[LoggedChange]) -> Result<()> {
        for logged in changes {
            match &logged.change {
                Change::Session(id) => self.forget(*id),
                Change::User(app, user) => self.forget_user(app, user),
                Change::Token(_) | Change::Cache(..) => {}
            }
        }
        Ok(())
    }

    async fn lost(&self, _: Seq) -> Result<()> {
        self.marks.mark_all();
        self.copies.clear();
        Ok(())
    }
}
