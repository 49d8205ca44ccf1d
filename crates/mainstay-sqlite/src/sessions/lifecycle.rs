//! What happens to one session, each within its own write.

use mainstay_core::{
    App, Result, Timestamp,
    changes::Change,
    once::{Effect, Once},
    planted::planted,
    sessions::{
        Created, FactorContext, NewSession, OnMax, PreviousToken, Rotated, Rotation, SecondFactor, SessionId,
        SessionRecord, SessionUpdate, UserLimit,
    },
};
use rusqlite::{OptionalExtension, named_params, params};

use super::{COUNT_CREATED, COUNT_LIVE, MINUTE_MS, epoch, row};
use crate::{
    changes::log,
    once,
    tx::{OrFailed, Tx},
};

pub(super) fn create(
    tx: &mut Tx<'_>,
    app: &App,
    new: &NewSession,
    once: Option<&Once>,
    now: Timestamp,
) -> Result<Created> {
    if let Some(once) = once
        && let Some((session, salt)) = once::replay(tx, app, once, now)?
    {
        return Ok(Created::Session(Box::new(Effect::Replayed(session, salt))));
    }
    let epoch = epoch(tx, app, &new.user).or_failed(tx.name())?;
    if let Some(limit) = new.limit
        && !make_room(tx, app, new, epoch, limit, now)?
    {
        return Ok(Created::Full);
    }
    let session = fresh(new, now);
    insert(tx, app, epoch, &session).or_failed(tx.name())?;
    tx.add(COUNT_LIVE, app.as_str(), new.kind.as_str(), 1);
    tx.add(COUNT_CREATED, app.as_str(), now.as_millis() / MINUTE_MS, 1);
    if let Some(once) = once {
        once::remember(tx, app, once, &session, now)?;
    }
    Ok(Created::Session(Box::new(Effect::Done(session))))
}

fn fresh(new: &NewSession, now: Timestamp) -> SessionRecord {
    let absolute_expires_at = now.plus(new.absolute.duration());
    SessionRecord {
        id: new.id,
        token: new.token,
        previous: None,
        user: new.user.clone(),
        kind: new.kind.clone(),
        data: new.data.clone(),
        metadata: new.metadata.clone(),
        device: new.device.clone(),
        second_factor: None,
        created_at: now,
        last_seen_at: now,
        idle_ms: new.idle.as_millis(),
        idle_expires_at: now.plus(new.idle.duration()).min(absolute_expires_at),
        absolute_expires_at,
    }
}

fn insert(tx: &Tx<'_>, app: &App, epoch: i64, session: &SessionRecord) -> rusqlite::Result<()> {
    tx.prepare_cached(include_str!("../../sql/sessions_create.sql"))?.execute(named_params! {
        ":id": session.id.0, ":app": app.as_str(), ":user": session.user.as_str(), ":epoch": epoch,
        ":kind": session.kind.as_str(), ":token": session.token.0,
        ":data": session.data.to_json(), ":metadata": session.metadata.to_json(),
        ":user_agent": session.device.user_agent, ":ip": session.device.ip.map(|ip| ip.to_string()),
        ":device_name": session.device.name, ":now": session.created_at.as_millis(),
        ":idle_ms": session.idle_ms.cast_signed(),
        ":idle_expires_at": session.idle_expires_at.as_millis(),
        ":absolute_expires_at": session.absolute_expires_at.as_millis(),
    })?;
    Ok(())
}

/// Applies the limit of a user before one more session. `false`: there is no room.
fn make_room(
    tx: &mut Tx<'_>,
    app: &App,
    new: &NewSession,
    epoch: i64,
    limit: UserLimit,
    now: Timestamp,
) -> Result<bool> {
    let live: Vec<SessionId> = tx
        .prepare_cached(
            "SELECT id FROM sessions WHERE app = ?1 AND user = ?2 AND epoch = ?3 AND idle_expires_at > ?4
             ORDER BY id",
        )
        .and_then(|mut find| {
            find.query_map(params![app.as_str(), new.user.as_str(), epoch, now.as_millis()], |row| {
                row.get(0).map(SessionId)
            })?
            .collect()
        })
        .or_failed(tx.name())?;
    let over = (live.len() + 1).saturating_sub(limit.max.max(1) as usize);
    if over > 0 && limit.on_max == OnMax::Reject {
        return Ok(false);
    }
    for id in live.into_iter().take(over) {
        revoke(tx, app, id, now)?;
    }
    Ok(true)
}

pub(super) fn touch(tx: &Tx<'_>, app: &App, id: SessionId, now: Timestamp) -> Result<Option<SessionRecord>> {
    tx.prepare_cached(include_str!("../../sql/sessions_touch.sql"))
        .and_then(|mut touch| {
            touch
                .query_row(
                    named_params! {":id": id.0, ":app": app.as_str(), ":now": now.as_millis()},
                    row::record,
                )
                .optional()
        })
        .or_failed(tx.name())
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    app: &App,
    id: SessionId,
    update: &SessionUpdate,
    now: Timestamp,
) -> Result<Option<SessionRecord>> {
    let Some(mut session) = row::load(tx, app, id, now).or_failed(tx.name())? else { return Ok(None) };
    if planted("merge_overwrites_fields") && !update.data.is_empty() {
        session.data = update.data.clone();
    }
    session.data.merge(&update.data);
    session.data.check("data")?;
    session.metadata.merge(&update.metadata);
    session.metadata.check("metadata")?;
    if let Some(factor) = update.second_factor {
        session.second_factor =
            factor.map(|context: FactorContext| SecondFactor { context, verified_at: now });
    }
    if let Some(absolute) = update.absolute {
        session.absolute_expires_at = session.absolute_expires_at.max(now.plus(absolute.duration()));
    }
    if let Some(idle) = update.idle {
        let end = now.plus(idle.duration()).min(session.absolute_expires_at);
        session.idle_expires_at = session.idle_expires_at.max(end);
    }
    save(tx, &session)?;
    log(tx, &Change::Session(id), now)?;
    Ok(Some(session))
}

fn save(tx: &Tx<'_>, session: &SessionRecord) -> Result<()> {
    let previous = session.previous.as_ref();
    tx.prepare_cached(include_str!("../../sql/sessions_save.sql"))
        .and_then(|mut save| {
            save.execute(named_params! {
                ":id": session.id.0, ":token": session.token.0,
                ":previous": previous.map(|p| p.token.0),
                ":previous_until": previous.map(|p| p.valid_until.as_millis()),
                ":rotated_at": previous.map(|p| p.rotated_at.as_millis()),
                ":data": session.data.to_json(), ":metadata": session.metadata.to_json(),
                ":factor_context": session.second_factor.map(|f| row::factor(f.context)),
                ":factor_at": session.second_factor.map(|f| f.verified_at.as_millis()),
                ":last_seen_at": session.last_seen_at.as_millis(),
                ":idle_expires_at": session.idle_expires_at.as_millis(),
                ":absolute_expires_at": session.absolute_expires_at.as_millis(),
            })
        })
        .or_failed(tx.name())?;
    Ok(())
}

pub(super) fn rotate(
    tx: &mut Tx<'_>,
    app: &App,
    id: SessionId,
    rotation: &Rotation,
    now: Timestamp,
) -> Result<Rotated> {
    let Some(mut session) = row::load(tx, app, id, now).or_failed(tx.name())? else {
        return Ok(Rotated::Refused);
    };
    if session.token == rotation.shown {
        session.previous = Some(PreviousToken {
            token: rotation.shown,
            valid_until: now.plus(rotation.grace),
            rotated_at: now,
        });
        session.token = rotation.next;
        session.last_seen_at = session.last_seen_at.max(now);
        save(tx, &session)?;
        log(tx, &Change::Session(id), now)?;
        return Ok(Rotated::Done(Box::new(session)));
    }
    match session.previous {
        Some(previous) if previous.token == rotation.shown => {
            if now < previous.valid_until && session.token == rotation.next {
                return Ok(Rotated::Done(Box::new(session)));
            }
            if now < previous.valid_until.max(previous.rotated_at.plus(rotation.reuse_window)) {
                return Ok(Rotated::Refused);
            }
            revoke(tx, app, id, now)?;
            Ok(Rotated::Reused(Box::new(session)))
        }
        _ => Ok(Rotated::Refused),
    }
}

pub(super) fn revoke(tx: &mut Tx<'_>, app: &App, id: SessionId, now: Timestamp) -> Result<bool> {
    if planted("revoke_not_written") {
        return Ok(row::load(tx, app, id, now).or_failed(tx.name())?.is_some());
    }
    let kind: Option<String> = tx
        .prepare_cached(include_str!("../../sql/sessions_revoke.sql"))
        .and_then(|mut delete| {
            delete
                .query_row(
                    named_params! {":id": id.0, ":app": app.as_str(), ":now": now.as_millis()},
                    |row| row.get(0),
                )
                .optional()
        })
        .or_failed(tx.name())?;
    let Some(kind) = kind else { return Ok(false) };
    tx.add(COUNT_LIVE, app.as_str(), kind.as_str(), -1);
    log(tx, &Change::Session(id), now)?;
    Ok(true)
}
