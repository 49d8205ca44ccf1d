//! What is read from the file into memory when it is opened.

use std::{path::Path, sync::Arc};

use mainstay_core::{App, CacheKey, Name, Result, changes::Seq};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::{
    ENTRY_OVERHEAD_BYTES, NAME,
    marks::{Marks, Space},
    state::Spaces,
};
use crate::db::failed;

/// What was read.
pub(crate) struct Loaded {
    pub(crate) marks: Marks,
    pub(crate) spaces: Spaces,
    pub(crate) size_bytes: u64,
    pub(crate) applied: Seq,
}

/// Reads what is kept in memory.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(NAME, e))?;
    load_from(&connection).map_err(|e| failed(NAME, e))
}

fn load_from(connection: &Connection) -> rusqlite::Result<Loaded> {
    let marks = Marks::new(seq(connection, "base")?, seq(connection, "tag_floor")?);
    let mut tags = connection.prepare("SELECT app, tag, seq FROM tag_marks")?;
    let mut rows = tags.query([])?;
    while let Some(row) = rows.next()? {
        let _ = marks.note_tag(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, seq_at(row, 2)?);
    }
    let (spaces, size_bytes) = load_spaces(connection)?;
    Ok(Loaded { marks, spaces, size_bytes, applied: seq(connection, "applied")? })
}

fn load_spaces(connection: &Connection) -> rusqlite::Result<(Spaces, u64)> {
    let mut spaces = Spaces::default();
    let mut size_bytes = 0;
    let mut of = connection.prepare("SELECT id, app, ns, mark, entries, bytes FROM spaces")?;
    let mut rows = of.query([])?;
    while let Some(row) = rows.next()? {
        let (app, ns) = (row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        // Names were checked when they were written.
        if let (Ok(app), Ok(ns)) = (App::new(&app), Name::new("ns", &ns)) {
            spaces.insert(&app, &ns, Arc::new(Space::new(row.get(0)?, seq_at(row, 3)?)));
        }
        size_bytes += seq_at(row, 4)? * ENTRY_OVERHEAD_BYTES + seq_at(row, 5)?;
    }
    let mut of = connection.prepare("SELECT space, prefix, seq FROM prefix_marks")?;
    let mut rows = of.query([])?;
    while let Some(row) = rows.next()? {
        if let (Some(space), Ok(prefix)) =
            (spaces.by_id(row.get(0)?), CacheKey::new(&row.get::<_, String>(1)?))
        {
            let _ = space.note_prefix(&prefix, seq_at(row, 2)?);
        }
    }
    Ok((spaces, size_bytes))
}

/// A number that is never negative.
pub(crate) fn seq_at(row: &Row<'_>, i: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(i).map(|n| u64::try_from(n).unwrap_or(0))
}

fn seq(connection: &Connection, name: &str) -> rusqlite::Result<Seq> {
    Ok(get::<i64>(connection, name)?.map_or(0, |n| u64::try_from(n).unwrap_or(0)))
}

fn get<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Sets a value of `meta`.
pub(crate) fn set(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(drop)
}
