//! Whether the file is what it was when it was last written.
//!
//! Commits are not synced one by one, so a loss of power can leave the file rolled back to values
//! that had been replaced. While it is in use a note beside it names the start of the system. If the
//! note is found again under another start, the file is removed. The end of the process alone takes
//! nothing away: what was written is then with the system.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mainstay_core::{Error, Result};

use super::NAME;

/// The file is in use while this lives; dropped last, after the file was closed.
#[derive(Debug)]
pub(crate) struct InUse {
    file: PathBuf,
    note: PathBuf,
}

impl InUse {
    /// Removes the file if it cannot be trusted, and notes that it is in use.
    pub(crate) fn begin(file: &Path) -> Result<Self> {
        Self::begin_at(file, current_start().as_deref())
    }

    fn begin_at(file: &Path, start: Option<&str>) -> Result<Self> {
        let this = Self { file: file.to_owned(), note: beside(file, "-in-use") };
        this.begin_with(start).map_err(|e| Error::Unavailable { store: NAME, source: e.into() })?;
        Ok(this)
    }

    fn begin_with(&self, start: Option<&str>) -> io::Result<()> {
        let noted = match fs::read_to_string(&self.note) {
            Ok(noted) => Some(noted),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if noted.is_some_and(|noted| start != Some(noted.as_str())) {
            for suffix in ["", "-wal", "-shm"] {
                remove(&beside(&self.file, suffix))?;
            }
        }
        let mut note = File::create(&self.note)?;
        note.write_all(start.unwrap_or_default().as_bytes())?;
        note.sync_all()?;
        self.sync_folder()
    }

    fn end(&self) -> io::Result<()> {
        File::open(&self.file)?.sync_all()?;
        // That the write-ahead log is gone has to last before the note goes.
        self.sync_folder()?;
        remove(&self.note)
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        // Without it the next start is colder.
        let _ = self.end();
    }
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What tells one start of the system from the next; `None` where it does not say, and then no file
/// that was left in use is trusted.
fn current_start() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        fs::write(&path, "values").unwrap();
        fs::write(beside(&path, "-wal"), "more values").unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_that_was_in_use_when_the_system_went_down_is_removed() {
        let (_folder, path) = file();
        std::mem::forget(InUse::begin_at(&path, Some("one")).unwrap());
        let _in_use = InUse::begin_at(&path, Some("two")).unwrap();
        assert!(!path.exists());
        assert!(!beside(&path, "-wal").exists());
    }

    #[test]
    fn a_file_that_was_closed_before_the_system_went_down_is_kept() {
        let (_folder, path) = file();
        drop(InUse::begin_at(&path, Some("one")).unwrap());
        assert!(!beside(&path, "-in-use").exists());
        let _in_use = InUse::begin_at(&path, Some("two")).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_file_whose_process_was_killed_is_kept() {
        let (_folder, path) = file();
        std::mem::forget(InUse::begin_at(&path, Some("one")).unwrap());
        let _in_use = InUse::begin_at(&path, Some("one")).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_file_left_in_use_is_removed_where_the_system_names_no_start() {
        let (_folder, path) = file();
        std::mem::forget(InUse::begin_at(&path, None).unwrap());
        let _in_use = InUse::begin_at(&path, None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_note_that_was_cut_off_does_not_make_a_file_trusted() {
        let (_folder, path) = file();
        std::mem::forget(InUse::begin_at(&path, Some("one")).unwrap());
        fs::write(beside(&path, "-in-use"), "").unwrap();
        let _in_use = InUse::begin_at(&path, Some("one")).unwrap();
        assert!(!path.exists());
    }
}
