//! What session routes take and give.

use std::collections::BTreeMap;

use mainstay_core::{
    Fields, Name, Timestamp,
    sessions::{Device, FactorContext, OnMax, SecondFactor, SessionCounts, SessionId, SessionRecord},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

use super::super::{Id, Identifier};
use crate::{json::Object, secret::Secret};

/// A session to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSession {
    /// Whose it is.
    #[schema(value_type = Identifier)]
    pub(crate) user: Name,
    /// What it is for; it decides the timeouts that are not given.
    #[schema(value_type = Option<Identifier>, default = "login")]
    pub(crate) kind: Option<Name>,
    /// The application's fields.
    #[schema(value_type = Option<Object>)]
    pub(crate) data: Option<Fields>,
    /// Notes for people who look after sessions.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Fields>,
    /// Where it is used from.
    #[schema(value_type = Option<DeviceBody>)]
    pub(crate) device: Option<Object<Device>>,
    /// It ends when it was not used for so long.
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub(crate) idle_ms: Option<u64>,
    /// It ends so long after its creation, however much it is used.
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub(crate) absolute_ms: Option<u64>,
    /// How many sessions the user may have, this one included.
    #[schema(minimum = 1, maximum = 10_000)]
    pub(crate) max_per_user: Option<u32>,
    /// What happens to one more.
    #[schema(value_type = Option<OnMaxBody>)]
    pub(crate) on_max: Option<OnMax>,
}

/// What happens when a user has as many sessions as allowed.
#[derive(ToSchema)]
#[schema(as = OnMax, rename_all = "snake_case")]
#[allow(dead_code)]
pub(crate) enum OnMaxBody {
    /// The sessions that were created first are revoked.
    EvictOldest,
    /// None is created.
    Reject,
}

/// Where a session is used from.
#[derive(ToSchema)]
#[schema(as = Device)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct DeviceBody {
    /// What the client calls itself.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    user_agent: Option<String>,
    /// The client's address, as the caller has verified it.
    ip: Option<IpBody>,
    /// What the user calls it.
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: Option<String>,
}

/// An address of the Internet, for the documents.
pub(crate) struct IpBody;

impl PartialSchema for IpBody {
    fn schema() -> RefOr<Schema> {
        let version = |format| {
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
        };
        OneOfBuilder::new().item(version(KnownFormat::Ipv4)).item(version(KnownFormat::Ipv6)).into()
    }
}

impl ToSchema for IpBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "Ip".into()
    }
}

/// A token to be checked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckSession {
    /// The session's token.
    #[schema(value_type = String)]
    pub(crate) token: Secret,
    /// Whether this counts as a use of the session.
    #[schema(default = true)]
    pub(crate) touch: Option<bool>,
}

/// A token to be replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateSession {
    /// The session's token.
    #[schema(value_type = String)]
    pub(crate) token: Secret,
    /// How long it stays valid; 0 ends it at once.
    #[schema(default = 30_000, minimum = 0, maximum = 86_400_000)]
    pub(crate) grace_ms: Option<u64>,
}

/// A change of a session's fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateSession {
    /// Fields to take over; `null` removes one.
    #[schema(value_type = Option<Object>)]
    pub(crate) data: Option<Fields>,
    /// Notes to take over; `null` removes one.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Fields>,
    /// A second factor that was verified now; `null` takes it back.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<VerifiedFactor>)]
    pub(crate) second_factor: Option<Option<Object<VerifiedFactor>>>,
}

/// Tells `null` from a field that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a second factor was verified for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifiedFactor {
    /// What it opens.
    #[schema(value_type = FactorContextBody)]
    pub(crate) context: FactorContext,
}

/// What a second factor opens.
#[derive(ToSchema)]
#[schema(as = FactorContext, rename_all = "snake_case")]
#[allow(dead_code)]
pub(crate) enum FactorContextBody {
    /// Logging in.
    Login,
    /// Signing.
    Signing,
    /// Logging in and signing.
    Both,
}

/// More time for a session.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtendSession {
    /// Let it live at least so long from now without use.
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub(crate) idle_ms: Option<u64>,
    /// Move its absolute end to at least so long from now.
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub(crate) absolute_ms: Option<u64>,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody<'a> {
    /// Its public id: for lists and revoking. It opens nothing.
    #[schema(value_type = Id)]
    id: SessionId,
    /// Whose it is.
    #[schema(value_type = Identifier)]
    user: &'a Name,
    /// What it is for.
    #[schema(value_type = Identifier)]
    kind: &'a Name,
    /// The application's fields.
    #[schema(value_type = Object)]
    data: &'a Fields,
    /// Notes for people who look after sessions.
    #[schema(value_type = Object)]
    metadata: &'a Fields,
    /// Where it is used from.
    #[schema(value_type = DeviceBody)]
    device: &'a Device,
    /// A second factor that was verified within this session.
    #[schema(value_type = Option<FactorBody>, required)]
    second_factor: Option<SecondFactor>,
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = "date-time")]
    last_seen_at: Timestamp,
    /// When it ends unless it is used.
    #[schema(value_type = String, format = "date-time")]
    idle_expires_at: Timestamp,
    /// When it ends in any case.
    #[schema(value_type = String, format = "date-time")]
    absolute_expires_at: Timestamp,
    /// Whether it is the one that `current` named; only in lists that were asked so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    current: Option<bool>,
}

/// A second factor that was verified.
#[derive(ToSchema)]
#[schema(as = SecondFactor)]
#[allow(dead_code)]
pub(crate) struct FactorBody {
    /// What it opens.
    context: FactorContextBody,
    /// When.
    #[schema(format = "date-time")]
    verified_at: String,
}

impl<'a> SessionBody<'a> {
    pub(crate) fn of(session: &'a SessionRecord) -> Self {
        Self {
            id: session.id,
            user: &session.user,
            kind: &session.kind,
            data: &session.data,
            metadata: &session.metadata,
            device: &session.device,
            second_factor: session.second_factor,
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            idle_expires_at: session.idle_expires_at,
            absolute_expires_at: session.absolute_expires_at,
            current: None,
        }
    }

    /// In a list that was asked for by the session `current`, if it was told.
    pub(crate) fn in_list(session: &'a SessionRecord, current: Option<SessionId>) -> Self {
        Self { current: current.map(|current| current == session.id), ..Self::of(session) }
    }
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer<'a> {
    pub(crate) session: SessionBody<'a>,
}

/// A session and its token.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionWithToken)]
pub(crate) struct CreatedBody<'a> {
    /// The secret that opens the session.
    pub(crate) token: String,
    pub(crate) session: SessionBody<'a>,
}

/// How many sessions were revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// Those that were live.
    #[schema(minimum = 0)]
    pub(crate) revoked: u64,
}

/// How many sessions there are.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionStats)]
pub(crate) struct StatsBody {
    /// Live sessions.
    active: u64,
    /// Sessions created within the last 60 minutes.
    created_last_hour: u64,
    /// Checks within the last 60 minutes, as far as they were written down.
    checks_last_hour: u64,
    /// Live sessions of each kind.
    by_kind: BTreeMap<String, u64>,
}

impl From<SessionCounts> for StatsBody {
    fn from(counts: SessionCounts) -> Self {
        Self {
            active: counts.active_by_kind.iter().map(|(_, count)| count).sum(),
            created_last_hour: counts.created_last_hour,
            checks_last_hour: counts.checks_last_hour,
            by_kind: counts.active_by_kind.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        }
    }
}
