//! One process at a time has a data folder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use mainstay_core::{Error, Result};

/// The folder is ours while this lives. The system gives it back when the process ends, however
/// it ends.
#[derive(Debug)]
pub(crate) struct FolderLock(#[allow(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    /// Takes the folder, or says who has it.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let fail = |e: std::io::Error| Error::Unavailable { store: "sqlite", source: e.into() };
        let path = folder.join("mainstay.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                file.read_to_string(&mut owner).map_err(fail)?;
                return Err(Error::Unavailable {
                    store: "sqlite",
                    source: format!(
                        "process {} has {} open; stop it, or talk to its server over HTTP (mainstay --url ...), \
                         or use another folder",
                        owner.trim(),
                        folder.display()
                    )
                    .into(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        write!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self(file))
    }
}
