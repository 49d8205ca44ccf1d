//! The key that tokens are hashed and derived with.

use std::{fmt, fs, io::Write, path::Path};

use hmac::{Hmac, KeyInit, Mac};
use mainstay_core::{Error, Result};
use sha2::{Digest, Sha256};

const KEY_BYTES: usize = 32;

/// 256 secret bits. They stand in `secret.key` beside the files of the store, so that a copy of the
/// database alone does not let anyone test or derive a token.
#[derive(Clone)]
pub(crate) struct SecretKey(Hmac<Sha256>);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A key that is forgotten with the process.
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self::new(&random()?))
    }

    /// Reads the key of `folder`, or makes one for a folder that holds no data yet.
    pub(crate) fn load_or_create(folder: &Path) -> Result<Self> {
        let path = folder.join("secret.key");
        let fail = |what: &str| Error::Store {
            store: "secret.key",
            source: format!("{} {what}", path.display()).into(),
        };
        match fs::read(&path) {
            Ok(bytes) => <[u8; KEY_BYTES]>::try_from(bytes)
                .map(|key| Self::new(&key))
                .map_err(|_| fail("is damaged; restore it from a backup")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder.join("mainstay.db").exists() => {
                Err(fail(
                    "is missing although there is data: no session could be checked. Restore it from a backup, \
                 or start with an empty folder",
                ))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = random()?;
                create(folder, &path, &key).map_err(|e| fail(&format!("cannot be written: {e}")))?;
                Ok(Self::new(&key))
            }
            Err(e) => Err(fail(&format!("cannot be read: {e}"))),
        }
    }

    #[expect(clippy::expect_used, reason = "an invariant")]
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Hmac::new_from_slice(key).expect("invariant: HMAC takes keys of any length"))
    }

    /// HMAC-SHA-256 of `parts`, each with its length, so that no two lists of parts are alike.
    pub(crate) fn keyed_hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Writes a file that is whole or not there, for its owner only.
fn create(folder: &Path, path: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("secret.key.").tempfile_in(folder)?;
    file.write_all(key)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    fs::File::open(folder)?.sync_all()
}

/// Bytes from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Error::Unavailable { store: "random generator", source: e.to_string().into() })?;
    Ok(bytes)
}

/// SHA-256, for secrets that are random enough to need no key.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
