//! The checker: reads a history and names what should not have happened.
//!
//! It knows no more than the clients were told. A call with an unknown outcome may have happened at
//! any time after its start, or never; whatever it concerns may be either way. Everything else is
//! held against the rules:
//!
//! - a session whose creation was acknowledged is accepted until a call may have ended it;
//! - no check that started after a revoke was acknowledged is accepted;
//! - acknowledged fields are in every later answer, with that value or a later one;
//! - one idempotency key makes one session;
//! - a replaced token is refused after its grace;
//! - a list holds what is live and nothing else;
//! - an invalidated or replaced value is in no later answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::history::{Action, Answer, Event, Fields, Id, Token};

/// The server counts whole milliseconds and reads a clock that ticks every 10 ms or less.
const CLOCK_SLACK: Duration = Duration::from_millis(25);

/// Everything that the history says about one session.
#[derive(Debug, Default)]
struct Story {
    user: String,
    /// When its creation was acknowledged.
    created: Duration,
    /// From when on it must be refused.
    dead: Option<Duration>,
    /// From when on it may be refused, since a call to end it had started.
    may_be_dead: Option<Duration>,
    /// Field, value and end of each acknowledged change.
    patches: Vec<(String, u64, Duration)>,
}

/// Everything that the history says about one token.
#[derive(Debug)]
struct TokenStory {
    id: Id,
    /// When it was handed out.
    learned: Duration,
    /// From when on it may be refused, since a rotation had started.
    may_be_old: Option<Duration>,
    /// From when on it must be refused.
    old: Option<Duration>,
}

#[derive(Debug, Default)]
struct Stories {
    sessions: BTreeMap<Id, Story>,
    tokens: BTreeMap<Token, TokenStory>,
    /// Sessions that may exist without anybody having been told their id, by user.
    unknown_creates: BTreeMap<String, usize>,
    ids_of_key: BTreeMap<String, BTreeSet<Id>>,
}

/// Reads a whole history and returns each violation in words.
pub(crate) fn check(history: &[Event]) -> Vec<String> {
    let stories = Stories::of(history);
    let mut violations: Vec<String> = Vec::new();
    for (key, ids) in &stories.ids_of_key {
        if ids.len() > 1 {
            violations.push(format!("idempotency key {key} made {} sessions: {ids:?}", ids.len()));
        }
    }
    for event in history {
        let found = match (&event.action, &event.answer) {
            (_, Answer::Broken(what)) => Some(what.clone()),
            (Action::Check { token }, Answer::Session { fields, .. }) => {
                stories.accepted(event, token, fields)
            }
            (Action::Check { token }, Answer::Refused) => stories.token_refused(event, token),
            (Action::Patch { id, .. }, Answer::Refused) => stories.refused(event, id),
            (Action::Patch { id, .. }, Answer::Session { fields, .. }) => {
                stories.fields_missing(event, id, fields)
            }
            (Action::List { user }, Answer::Listed(ids)) => stories.listed(event, user, ids),
            (Action::CacheGet { key }, Answer::Cached(Some(value))) => cached(history, event, key, *value),
            _ => None,
        };
        violations.extend(found.map(|what| format!("{what}\n    {event:?}")));
    }
    violations
}

impl Stories {
    fn of(history: &[Event]) -> Self {
        let mut stories = Self::default();
        // Creations and rotations first: a call may concern a session that another client made.
        for event in history {
            stories.learn_tokens(event);
        }
        for event in history {
            stories.learn_ends(event);
        }
        stories
    }

    fn learn_tokens(&mut self, event: &Event) {
        match (&event.action, &event.answer) {
            (Action::Create { user, key }, Answer::Session { id, token, .. }) => {
                let story = self.sessions.entry(id.clone()).or_default();
                if story.user.is_empty() {
                    story.user.clone_from(user);
                    story.created = event.end;
                }
                story.created = story.created.min(event.end);
                self.learn_token(token.as_ref(), id, event.end);
                if let Some(key) = key {
                    self.ids_of_key.entry(key.clone()).or_default().insert(id.clone());
                }
            }
            (Action::Create { user, .. }, Answer::Unknown) => {
                *self.unknown_creates.entry(user.clone()).or_default() += 1;
            }
            (Action::Rotate { .. }, Answer::Session { id, token, .. }) => {
                self.learn_token(token.as_ref(), id, event.end);
            }
            _ => {}
        }
    }

    fn learn_token(&mut self, token: Option<&Token>, id: &Id, learned: Duration) {
        if let Some(token) = token {
            let story = TokenStory { id: id.clone(), learned, may_be_old: None, old: None };
            self.tokens.entry(token.clone()).or_insert(story);
        }
    }

    fn learn_ends(&mut self, event: &Event) {
        let acknowledged = event.answer.is_acknowledged();
        match &event.action {
            Action::Patch { id, field, value } if matches!(event.answer, Answer::Session { .. }) => {
                if let Some(story) = self.sessions.get_mut(id) {
                    story.patches.push((field.clone(), *value, event.end));
                }
            }
            Action::Rotate { token, grace } => {
                if let Some(story) = self.tokens.get_mut(token) {
                    earlier(&mut story.may_be_old, event.start);
                    if matches!(event.answer, Answer::Session { .. }) {
                        earlier(&mut story.old, event.end + *grace + CLOCK_SLACK);
                    }
                }
            }
            Action::Revoke { id } => {
                if let Some(story) = self.sessions.get_mut(id) {
                    story.end(event, acknowledged);
                }
            }
            Action::RevokeAll { user, except } => {
                for (id, story) in &mut self.sessions {
                    if story.user == *user && except.as_ref() != Some(id) {
                        // One that was being created meanwhile may have come after.
                        story.end(event, acknowledged && story.created < event.start);
                    }
                }
            }
            _ => {}
        }
    }

    fn accepted(&self, event: &Event, token: &Token, fields: &Fields) -> Option<String> {
        let token = self.tokens.get(token)?;
        let story = self.sessions.get(&token.id)?;
        if story.dead.is_some_and(|dead| event.start > dead) {
            return Some(format!("session {} was accepted after its revoke was acknowledged", token.id));
        }
        if token.old.is_some_and(|old| event.start > old) {
            return Some(format!("a replaced token of session {} was accepted after its grace", token.id));
        }
        self.fields_missing(event, &token.id, fields)
    }

    fn token_refused(&self, event: &Event, token: &Token) -> Option<String> {
        let token = self.tokens.get(token)?;
        let may_be_old = token.may_be_old.is_some_and(|at| at < event.end);
        if may_be_old || token.learned > event.start { None } else { self.refused(event, &token.id) }
    }

    fn refused(&self, event: &Event, id: &Id) -> Option<String> {
        let story = self.sessions.get(id)?;
        let may_be_dead = story.may_be_dead.is_some_and(|at| at < event.end);
        (story.created < event.start && !may_be_dead)
            .then(|| format!("session {id} was acknowledged and is refused"))
    }

    fn fields_missing(&self, event: &Event, id: &Id, fields: &Fields) -> Option<String> {
        let story = self.sessions.get(id)?;
        let lost = story.patches.iter().find(|(field, value, end)| {
            *end < event.start && fields.get(field).is_none_or(|found| found < value)
        })?;
        let found = fields.get(&lost.0);
        Some(format!("field {} of session {id} was acknowledged as {} and is {found:?}", lost.0, lost.1))
    }

    fn listed(&self, event: &Event, user: &str, ids: &[Id]) -> Option<String> {
        let mut strangers = 0;
        for id in ids {
            match self.sessions.get(id) {
                None => strangers += 1,
                Some(story) if story.dead.is_some_and(|dead| event.start > dead) => {
                    return Some(format!("session {id} is listed after its revoke was acknowledged"));
                }
                Some(_) => {}
            }
        }
        let unknown = self.unknown_creates.get(user).copied().unwrap_or(0);
        if strangers > unknown {
            return Some(format!(
                "{strangers} sessions of {user} come from nowhere; {unknown} creates are unknown"
            ));
        }
        let listed: BTreeSet<&Id> = ids.iter().collect();
        let missing = self.sessions.iter().find(|(id, story)| {
            story.user == user
                && story.created < event.start
                && story.may_be_dead.is_none_or(|at| at > event.end)
                && !listed.contains(id)
        });
        missing.map(|(id, _)| format!("session {id} is live and is not listed"))
    }
}

impl Story {
    fn end(&mut self, event: &Event, acknowledged: bool) {
        earlier(&mut self.may_be_dead, event.start);
        if acknowledged {
            earlier(&mut self.dead, event.end);
        }
    }
}

/// Whether a cached value is older than something that was acknowledged before the read started.
fn cached(history: &[Event], read: &Event, key: &str, value: u64) -> Option<String> {
    let write = history.iter().find(
        |event| matches!(&event.action, Action::CachePut { key: k, value: v } if k == key && *v == value),
    );
    let Some(write) = write else { return Some(format!("{key} holds {value}, which nobody wrote")) };
    let written_for_sure = (write.answer == Answer::Done).then_some(write.end)?;
    history
        .iter()
        .filter(|event| {
            event.answer == Answer::Done && event.start > written_for_sure && event.end < read.start
        })
        .find_map(|event| match &event.action {
            Action::CachePut { key: k, value: newer } if k == key => {
                Some(format!("{key} holds {value} after {newer} was acknowledged"))
            }
            Action::CacheInvalidate { key: k, .. } if k == key => {
                Some(format!("{key} holds {value} after its invalidation was acknowledged"))
            }
            _ => None,
        })
}

fn earlier(at: &mut Option<Duration>, candidate: Duration) {
    *at = Some(at.map_or(candidate, |known| known.min(candidate)));
}

#[cfg(test)]
mod tests;
