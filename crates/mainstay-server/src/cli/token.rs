//! `mainstay token`: makes, lists and revokes API tokens.

use clap::{Args, Subcommand};
use mainstay::tokens::NewApiToken;
use mainstay_core::{App, Timestamp};
use serde_json::{Value, json};

use super::{
    Global,
    client::{Client, escape},
    exit::{Exit, Failure},
    output::Output,
    runtime,
};

const COLUMNS: [&str; 6] = ["id", "app", "name", "scopes", "created_at", "expires_at"];

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Makes a token and prints its secret, once.
    Create(Create),
    /// Lists tokens, newest first: of all apps, or of the one that --app names.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Revokes a token.
    Revoke {
        /// Its public id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it.
    name: String,
    /// What it may do, as in sessions:write or admin; may be repeated.
    #[arg(long = "scope", required = true)]
    scopes: Vec<String>,
    /// When it stops being accepted, as in 2027-01-01T00:00:00.000Z; never unless given.
    #[arg(long)]
    expires_at: Option<String>,
    /// Open the store of --data-dir instead of asking a server. No server may run on it.
    #[arg(long)]
    offline: bool,
}

impl Token {
    pub(super) fn run(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Create(create) => create.run(global, output)?,
            Self::Ls { limit } => {
                let items = Client::new(global).list("/v1/tokens", limit as usize)?;
                output.list(&items, &COLUMNS)?;
            }
            Self::Revoke { id } => {
                Client::new(global).delete(&format!("/v1/tokens/{}", escape(&id)))?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl Create {
    fn run(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let created = if self.offline { self.in_store(global)? } else { self.at_server(global)? };
        output.value(&created, |created| created["token"].as_str().unwrap_or_default().to_owned())?;
        Ok(())
    }

    fn at_server(self, global: &Global) -> Result<Value, Failure> {
        let mut body = json!({ "name": self.name, "scopes": self.scopes });
        if let Some(expires_at) = self.expires_at {
            body["expires_at"] = expires_at.into();
        }
        if let Some(app) = &global.app {
            body["app"] = app.as_str().into();
        }
        Client::new(global).post("/v1/tokens", &body)?.json()
    }

    fn in_store(self, global: &Global) -> Result<Value, Failure> {
        let config = global.settings(Vec::new())?.config;
        let app = global.app.as_deref().map(App::new).transpose()?.unwrap_or_default();
        let expires_at =
            self.expires_at.as_deref().map(|text| Timestamp::parse("expires_at", text)).transpose()?;
        let new = NewApiToken { name: self.name, app, scopes: self.scopes, expires_at, idempotency: None };
        runtime()?.block_on(async {
            let mainstay = crate::open(&config).await?;
            let created = mainstay.tokens().create(new).await;
            mainstay.close().await;
            let created = created?;
            let mut body = serde_json::to_value(&created.token).unwrap_or_default();
            body["token"] = created.secret.into();
            Ok(body)
        })
    }
}
