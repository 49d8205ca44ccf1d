//! How a session stands in its row.

use std::net::IpAddr;

use mainstay_core::{
    App, Fields, Name, Page, Timestamp,
    sessions::{Device, FactorContext, PreviousToken, SecondFactor, SessionId, SessionRecord, TokenHash},
};
use rusqlite::{
    Connection, OptionalExtension, Row, named_params,
    types::{FromSqlError, Type},
};

/// Reads a live session.
pub(super) fn load(
    connection: &Connection,
    app: &App,
    id: SessionId,
    now: Timestamp,
) -> rusqlite::Result<Option<SessionRecord>> {
    connection
        .prepare_cached(include_str!("../../sql/sessions_load.sql"))?
        .query_row(named_params! {":id": id.0, ":app": app.as_str(), ":now": now.as_millis()}, record)
        .optional()
}

/// Reads a page of live sessions, newest first.
pub(super) fn list(
    connection: &Connection,
    app: &App,
    user: &Name,
    before: SessionId,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Page<SessionRecord>> {
    let mut find = connection.prepare_cached(include_str!("../../sql/sessions_list.sql"))?;
    let mut items = find
        .query_map(
            named_params! {
                ":app": app.as_str(), ":user": user.as_str(), ":before": before.0,
                ":now": now.as_millis(), ":limit": i64::from(limit) + 1,
            },
            record,
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Page { items, next })
}

/// Reads a row of the columns that `sessions_load.sql` names.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    let time = |i| row.get(i).map(Timestamp::from_millis);
    let previous = match row.get::<_, Option<[u8; 32]>>(2)? {
        Some(hash) => {
            Some(PreviousToken { token: TokenHash(hash), valid_until: time(3)?, rotated_at: time(4)? })
        }
        None => None,
    };
    let second_factor = match row.get::<_, Option<String>>(12)? {
        Some(context) => Some(SecondFactor { context: parse_factor(&context)?, verified_at: time(13)? }),
        None => None,
    };
    Ok(SessionRecord {
        id: SessionId(row.get(0)?),
        token: TokenHash(row.get(1)?),
        previous,
        user: name(row, 5)?,
        kind: name(row, 6)?,
        data: fields(row, 7)?,
        metadata: fields(row, 8)?,
        device: Device {
            user_agent: row.get(9)?,
            ip: row.get::<_, Option<String>>(10)?.map(|ip| decoded(10, ip.parse::<IpAddr>())).transpose()?,
            name: row.get(11)?,
        },
        second_factor,
        created_at: time(14)?,
        last_seen_at: time(15)?,
        idle_ms: row.get::<_, i64>(16)?.unsigned_abs(),
        idle_expires_at: time(17)?,
        absolute_expires_at: time(18)?,
    })
}

/// How the context of a second factor is stored.
pub(super) fn factor(context: FactorContext) -> &'static str {
    match context {
        FactorContext::Login => "login",
        FactorContext::Signing => "signing",
        FactorContext::Both => "both",
    }
}

fn parse_factor(text: &str) -> rusqlite::Result<FactorContext> {
    match text {
        "login" => Ok(FactorContext::Login),
        "signing" => Ok(FactorContext::Signing),
        "both" => Ok(FactorContext::Both),
        _ => Err(FromSqlError::InvalidType.into()),
    }
}

fn name(row: &Row<'_>, i: usize) -> rusqlite::Result<Name> {
    decoded(i, Name::new("name", &row.get::<_, String>(i)?))
}

fn fields(row: &Row<'_>, i: usize) -> rusqlite::Result<Fields> {
    let text: String = row.get(i)?;
    if text == "{}" { Ok(Fields::default()) } else { decoded(i, Fields::from_json(&text)) }
}

fn decoded<T, E: std::error::Error + Send + Sync + 'static>(
    i: usize,
    value: Result<T, E>,
) -> rusqlite::Result<T> {
    value.map_err(|e| rusqlite::Error::FromSqlConversionFailure(i, Type::Text, Box::new(e)))
}
