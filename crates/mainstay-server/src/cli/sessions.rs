//! `mainstay sessions`: looks at sessions and revokes them.

use clap::Subcommand;

use super::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::Output,
};

const COLUMNS: [&str; 6] = ["id", "kind", "device", "created_at", "last_seen_at", "idle_expires_at"];

#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// Lists the live sessions of a user, newest first.
    Ls {
        /// Whose sessions.
        user: String,
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Shows a session.
    Show {
        /// Its public id.
        id: String,
    },
    /// Revokes a session.
    Revoke {
        /// Its public id.
        id: String,
    },
    /// Revokes all sessions of a user.
    RevokeAll {
        /// Whose sessions.
        user: String,
        /// The session that stays.
        #[arg(long, value_name = "ID")]
        except: Option<String>,
    },
    /// Counts sessions.
    Stats,
}

impl Sessions {
    pub(super) fn run(self, client: &Client, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Ls { user, limit } => {
                let items = client.list(&format!("/v1/users/{}/sessions", escape(&user)), limit as usize)?;
                output.list(&items, &COLUMNS)?;
            }
            Self::Show { id } => {
                let answer = client.get(&format!("/v1/sessions/{}", escape(&id)))?.json()?;
                output.fields(&answer["session"])?;
            }
            Self::Revoke { id } => {
                client.delete(&format!("/v1/sessions/{}", escape(&id)))?;
            }
            Self::RevokeAll { user, except } => {
                let mut path = format!("/v1/users/{}/sessions", escape(&user));
                if let Some(except) = except {
                    path.push_str(&format!("?except={}", escape(&except)));
                }
                output.fields(&client.delete(&path)?.json()?)?;
            }
            Self::Stats => output.fields(&client.get("/v1/sessions/stats")?.json()?)?,
        }
        Ok(Exit::Ok)
    }
}
