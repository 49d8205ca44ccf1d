//! Opening the file: whether it can be trusted, and what is read into memory.

use std::{fs, io, path::Path, sync::Arc};

use mainstay_core::{App, CacheKey, Error, Name, Result, changes::Seq};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

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

/// Removes a file that may not be what it was.
///
/// Without a sync at every commit a loss of power can roll the file back, to values that had been
/// replaced since. If it was not closed and the system has been started anew, that may have
/// happened. The end of the process alone takes nothing away.
pub(crate) fn remove_untrusted(path: &Path) -> Result<()> {
    let trusted = match Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        Ok(connection) => is_trusted(&connection),
        Err(_) if !path.exists() => return Ok(()),
        Err(error) => Err(error),
    };
    match trusted {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(e)
            if matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
            ) => {}
        Err(error) => return Err(failed(NAME, error)),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Unavailable { store: NAME, source: e.into() });
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_trusted(connection: &Connection) -> rusqlite::Result<bool> {
    let ours: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'meta')",
        [],
        |row| row.get(0),
    )?;
    if !ours {
        // Empty, or of another program: opening it for good will say which.
        return Ok(true);
    }
    let boot: Option<String> = get(connection, "boot")?;
    let clean: Option<i64> = get(connection, "clean")?;
    Ok(clean == Some(1) || (boot.is_some() && boot == current_boot()))
}

/// What tells one start of the system from the next; `None` where the system does not say.
fn current_boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Reads what is kept in memory, and notes that the file is in use.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    let connection = Connection::open(path).map_err(|e| failed(NAME, e))?;
    load_from(&connection).map_err(|e| failed(NAME, e))
}

fn load_from(connection: &Connection) -> rusqlite::Result<Loaded> {
    // A file that is rolled back to before this would look as if it had been closed.
    connection.pragma_update(None, "synchronous", "FULL")?;
    set(connection, "clean", 0)?;
    match current_boot() {
        Some(boot) => set(connection, "boot", boot)?,
        None => connection.execute("DELETE FROM meta WHERE name = 'boot'", []).map(drop)?,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(boot: &str, clean: i64) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(super::super::MIGRATIONS[0]).unwrap();
        set(&connection, "boot", boot).unwrap();
        set(&connection, "clean", clean).unwrap();
        drop(connection);
        (folder, path)
    }

    #[test]
    fn a_file_that_was_open_when_the_system_went_down_is_removed() {
        let (_folder, path) = file_with("another start", 0);
        remove_untrusted(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_was_closed_before_the_system_went_down_is_kept() {
        let (_folder, path) = file_with("another start", 1);
        remove_untrusted(&path).unwrap();
        assert!(path.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_whose_process_was_killed_is_kept() {
        let (_folder, path) = file_with(&current_boot().unwrap(), 0);
        remove_untrusted(&path).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let (_folder, path) = file_with("another start", 1);
        fs::write(&path, vec![7; 8192]).unwrap();
        remove_untrusted(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn no_file_is_as_good_as_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        remove_untrusted(&folder.path().join("cache.db")).unwrap();
    }
}
