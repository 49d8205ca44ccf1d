//! The transaction that a batch of writes shares, as one write sees it.

use std::{collections::HashMap, ops::Deref, sync::Arc};

use mainstay_core::{Error, Result, changes::Seq};
use rusqlite::{Connection, ToSql, Transaction, params, types::ToSqlOutput};

use crate::db::failed;

/// A part of the key of a sum.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeyPart {
    Text(Arc<str>),
    Int(i64),
}

impl From<&str> for KeyPart {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for KeyPart {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl ToSql for KeyPart {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.as_ref().to_sql(),
            Self::Int(n) => n.to_sql(),
        }
    }
}

/// A sum's statement, told by its address, and the two parts of its key.
type Sum = (usize, KeyPart, KeyPart);

/// One transaction. Derefs to the connection.
pub(crate) struct Tx<'a> {
    name: &'static str,
    transaction: &'a Transaction<'a>,
    /// Of the write that runs now.
    pending: Vec<(Sum, &'static str, i64)>,
    pending_logged: Option<Seq>,
    /// Of the writes that are kept.
    sums: HashMap<Sum, (&'static str, i64)>,
    logged: Option<Seq>,
    changes_before: u64,
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.transaction
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(name: &'static str, transaction: &'a Transaction<'a>) -> Self {
        Self {
            name,
            transaction,
            pending: Vec::new(),
            pending_logged: None,
            sums: HashMap::new(),
            logged: None,
            changes_before: 0,
        }
    }

    /// The name that errors carry.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Adds `delta` to a sum that is written once for the whole batch, just before the commit:
    /// `sql` gets the two parts of the key and the total as its parameters. A write that fails
    /// adds nothing.
    pub(crate) fn add(
        &mut self,
        sql: &'static str,
        a: impl Into<KeyPart>,
        b: impl Into<KeyPart>,
        delta: i64,
    ) {
        self.pending.push(((sql.as_ptr().addr(), a.into(), b.into()), sql, delta));
    }

    /// Tells those who wait for the change log of a new head, after the commit.
    pub(crate) fn logged(&mut self, seq: Seq) {
        self.pending_logged = Some(seq);
    }

    /// Begins the next write.
    pub(crate) fn begin(&mut self) {
        self.changes_before = self.transaction.total_changes();
    }

    /// Keeps what the write logged and added, or forgets it. `false`: it failed after it had
    /// changed something, so that the transaction must not be committed.
    pub(crate) fn settle(&mut self, keep: bool) -> bool {
        if keep {
            for (sum, sql, delta) in self.pending.drain(..) {
                self.sums.entry(sum).or_insert((sql, 0)).1 += delta;
            }
            self.logged = self.pending_logged.take().or(self.logged);
            return true;
        }
        self.pending.clear();
        self.pending_logged = None;
        self.transaction.total_changes() == self.changes_before
    }

    /// Writes the sums; gives the head of the change log if it moved.
    pub(crate) fn finish(&mut self) -> rusqlite::Result<Option<Seq>> {
        for ((_, a, b), (sql, total)) in self.sums.drain().filter(|(_, (_, total))| *total != 0) {
            self.transaction.prepare_cached(sql)?.execute(params![a, b, total])?;
        }
        Ok(self.logged)
    }
}

/// Turns the results of SQLite into those of Mainstay.
pub(crate) trait OrFailed<T> {
    /// The value, or the failure of the store called `name`.
    fn or_failed(self, name: &'static str) -> Result<T>;
}

impl<T> OrFailed<T> for rusqlite::Result<T> {
    fn or_failed(self, name: &'static str) -> Result<T> {
        self.map_err(|e: rusqlite::Error| -> Error { failed(name, e) })
    }
}
