//! The token that a client holds: 16 bytes that say which session, 32 random ones that prove it.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use mainstay_core::sessions::SessionId;
use uuid::Uuid;

const ID_BYTES: usize = 16;
const BYTES: usize = ID_BYTES + 32;
const CHARS: usize = BYTES / 3 * 4;

/// A token that somebody shows. Written as 64 characters of base64url.
pub(super) struct Shown {
    pub(super) id: SessionId,
    pub(super) secret: [u8; 32],
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        bytes[..ID_BYTES].copy_from_slice(self.id.0.as_bytes());
        bytes[ID_BYTES..].copy_from_slice(&self.secret);
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Not a token of ours.
#[derive(Debug)]
pub(super) struct Malformed;

impl FromStr for Shown {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() != CHARS {
            return Err(Malformed);
        }
        let mut bytes = [0; BYTES];
        BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| Malformed)?;
        let (id, secret) = bytes.split_at(ID_BYTES);
        Ok(Self {
            id: SessionId(Uuid::from_slice(id).map_err(|_| Malformed)?),
            secret: secret.try_into().map_err(|_| Malformed)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back(id: [u8; 16], secret: [u8; 32]) {
            let text = Shown { id: SessionId(Uuid::from_bytes(id)), secret }.to_string();
            let shown: Shown = text.parse().unwrap();
            prop_assert_eq!(text.len(), 64);
            prop_assert_eq!(shown.id.0.into_bytes(), id);
            prop_assert_eq!(shown.secret, secret);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Shown>();
        }

        #[test]
        fn a_cut_token_is_malformed(id: [u8; 16], secret: [u8; 32], keep in 0_usize..64) {
            let text = Shown { id: SessionId(Uuid::from_bytes(id)), secret }.to_string();
            prop_assert!(text[..keep].parse::<Shown>().is_err());
        }
    }
}
