//! What a connection is doing, told by its requests, without a timer per request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The state of one connection. The connection's task writes it, but for HTTP/2, where requests
/// have tasks of their own; no decision needs more order than one variable has.
#[derive(Debug)]
pub(super) struct Activity {
    /// Grows whenever a limit on time starts anew.
    steps: AtomicU64,
    /// Requests that are not answered yet.
    open: AtomicU32,
    /// Whether a request has begun to arrive and is not whole yet. True at first: who connects
    /// has something to ask.
    in_head: AtomicBool,
    /// Whether the bytes are frames, which may be no request at all.
    has_frames: AtomicBool,
    /// Whether the body of the last request was not read to its end.
    has_unread: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            steps: AtomicU64::new(0),
            open: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            has_frames: AtomicBool::new(false),
            has_unread: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// A request has arrived; it is open until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Open {
        if version == Version::HTTP_2 {
            self.has_frames.store(true, Relaxed);
        }
        self.in_head.store(false, Relaxed);
        self.open.fetch_add(1, Relaxed);
        self.steps.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// The body of a request, which tells when it was read to its end.
    pub(super) fn watch_body(self: &Arc<Self>, body: Incoming) -> WatchedBody {
        self.has_unread.store(!body.is_end_stream(), Relaxed);
        WatchedBody { body, activity: self.clone() }
    }

    /// Whether the connection has to end with this answer, since the rest of the request is still
    /// to come. Streams of HTTP/2 end one by one.
    pub(super) fn must_close(&self) -> bool {
        self.has_unread.load(Relaxed) && !self.has_frames.load(Relaxed)
    }

    /// Whether the client may still be sending something that nobody will read.
    pub(super) fn may_send(&self) -> bool {
        self.has_unread.load(Relaxed) || self.in_head.load(Relaxed)
    }

    pub(super) fn read(&self) {
        if self.open.load(Relaxed) == 0 && !self.in_head.load(Relaxed) && !self.has_frames.load(Relaxed) {
            self.in_head.store(true, Relaxed);
            self.steps.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn wrote(&self) {
        // What is written before a request is whole is protocol, as in HTTP/2, and no answer.
        if !self.in_head.load(Relaxed) {
            self.steps.fetch_add(1, Relaxed);
        }
    }

    /// Whether no request has arrived yet.
    pub(super) fn is_new(&self) -> bool {
        self.steps.load(Relaxed) == 0
    }
}

/// A request that is not answered yet.
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.steps.fetch_add(1, Relaxed);
    }
}

/// How long a connection may go on without a step.
#[derive(Debug)]
pub(super) struct Patience {
    look: Duration,
    header: Duration,
    idle: Duration,
    seen: u64,
    still_for: Duration,
}

impl Patience {
    /// `look` is the time between two calls of [`Patience::is_over`].
    pub(super) fn new(look: Duration, header: Duration, idle: Duration) -> Self {
        Self { look, header, idle, seen: u64::MAX, still_for: Duration::ZERO }
    }

    /// Whether the connection has been still for longer than it may.
    pub(super) fn is_over(&mut self, activity: &Activity) -> bool {
        let steps = activity.steps.load(Relaxed);
        // A request that is being answered has limits of its own.
        if steps != self.seen || activity.open.load(Relaxed) > 0 {
            self.seen = steps;
            self.still_for = Duration::ZERO;
            return false;
        }
        self.still_for += self.look;
        let limit = if activity.in_head.load(Relaxed) { self.header } else { self.idle };
        self.still_for >= limit
    }
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || frame.is_none() {
            self.activity.has_unread.store(false, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many looks it takes until the connection is given up; at most 99.
    fn looks(activity: &Activity, mut between: impl FnMut()) -> u32 {
        let mut patience =
            Patience::new(Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(20));
        for look in 1..100 {
            if patience.is_over(activity) {
                return look;
            }
            between();
        }
        99
    }

    #[test]
    fn half_a_request_is_given_up_however_steadily_it_drips() {
        let activity = Arc::new(Activity::default());
        assert_eq!(looks(&activity, || activity.read()), 5);
        drop(activity.begin(Version::HTTP_11));
        activity.read();
        assert_eq!(looks(&activity, || activity.read()), 5);
    }

    #[test]
    fn a_silent_connection_has_the_idle_time() {
        let activity = Arc::new(Activity::default());
        drop(activity.begin(Version::HTTP_11));
        assert_eq!(looks(&activity, || {}), 21);
    }

    #[test]
    fn a_request_that_is_answered_or_an_answer_that_is_read_is_not_idle() {
        let activity = Arc::new(Activity::default());
        let open = activity.begin(Version::HTTP_11);
        assert_eq!(looks(&activity, || {}), 99);
        drop(open);
        assert_eq!(looks(&activity, || activity.wrote()), 99);
    }
}
