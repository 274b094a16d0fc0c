//! The bus itself: a journal, a hub and the methods behind one handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::error::shorten;
use super::methods::Methods;
use super::size::{MAX_PAYLOAD, fits};
use super::topic::is_name;
use super::{
    Batch, BusError, Call, Draft, Event, Follower, Handler, Hub, Journal, Page, Pattern, Query, Snapshot,
    Subscription, Table,
};
use crate::failure::Failure;
use crate::ids::LaneId;

/// Facts in order, and requests with one handler each. Clones are the same bus.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Arc<dyn Journal>,
    hub: Hub,
    methods: Methods,
    refuses_calls: AtomicBool,
    closed: AtomicBool,
}

impl Bus {
    /// A bus on `journal`, which gives its events to `hub`.
    pub fn new(journal: Arc<dyn Journal>, hub: Hub) -> Self {
        let shared = Shared {
            journal,
            hub,
            methods: Methods::default(),
            refuses_calls: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Writes facts and records down together, then tells the subscribers. The events come back in the
    /// order of their drafts. Once this was polled the batch is on its way, also when the future is dropped.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for a malformed topic, a payload that is no object or too large; what the
    /// journal says; `DAEMON_DOWN` after [`Bus::close`]. Nothing of the batch is written then.
    pub async fn commit(&self, batch: Batch) -> Result<Vec<Arc<Event>>, Failure> {
        self.open()?;
        batch.events.iter().try_for_each(validate)?;
        self.shared.journal.append(batch).await
    }

    /// Writes one fact down and tells the subscribers.
    ///
    /// # Errors
    /// As [`Bus::commit`].
    pub async fn publish(&self, draft: Draft) -> Result<Arc<Event>, Failure> {
        let events = self.commit(Batch { events: vec![draft], writes: Vec::new() }).await?;
        Ok(events.into_iter().next().expect("invariant: a journal returns one event for one draft"))
    }

    /// Opens a subscription to what is published from now on; see [`Hub::subscribe`].
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for a malformed pattern, `DAEMON_DOWN` after [`Bus::close`].
    pub fn subscribe<S: AsRef<str>>(
        &self,
        patterns: &[S],
        lane: Option<LaneId>,
        capacity: usize,
    ) -> Result<Subscription, Failure> {
        self.open()?;
        Ok(self.shared.hub.subscribe(patterns, lane, capacity)?)
    }

    /// Reads the journal from `query.since` and then follows what is published, without a hole and without
    /// doubles; a reader that falls behind is fed from the journal again.
    ///
    /// # Errors
    /// As [`Bus::subscribe`].
    pub fn follow(&self, query: Query, capacity: usize) -> Result<Follower, Failure> {
        let live = self.subscribe(&query.patterns, query.lane, capacity)?;
        Ok(Follower::new(self.shared.journal.clone(), live, query))
    }

    /// Reads a part of the journal.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` for a malformed pattern, and what the journal says.
    pub async fn read(&self, query: Query) -> Result<Page, Failure> {
        Pattern::parse_all(&query.patterns)?;
        self.shared.journal.read(query).await
    }

    /// Reads whole tables as of one offset.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn snapshot(&self, tables: Vec<Table>) -> Result<Snapshot, Failure> {
        self.shared.journal.snapshot(tables).await
    }

    /// Reads one record.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn get(&self, table: Table, key: impl Into<String>) -> Result<Option<Value>, Failure> {
        self.shared.journal.get(table, key.into()).await
    }

    /// The newest offset and its epoch.
    pub fn head(&self) -> (u64, String) {
        self.shared.journal.head()
    }

    /// Gives `method` its handler.
    ///
    /// # Errors
    /// [`BusError::Register`] when it has one, [`BusError::Method`] when it is no name.
    pub fn register(&self, method: &'static str, handler: Handler) -> Result<(), BusError> {
        self.shared.methods.register(method, handler)
    }

    /// The methods that have a handler, in order.
    pub fn methods(&self) -> Vec<&'static str> {
        self.shared.methods.names()
    }

    /// Runs the handler of a method, in the future that this returns, and gives its answer.
    ///
    /// The handler gets the context of the call one step deeper in its chain; the drafts it makes from it
    /// carry the correlation of the call. When the caller stops waiting (time-out, dropped future) the
    /// handler is dropped where it stands: what must go on belongs to an owner, not to a handler.
    ///
    /// # Errors
    /// `VALIDATION_ERROR`, `METHOD_NOT_FOUND`, `TIMEOUT`, `BACKPRESSURE`, `HANDLER_ERROR` for a panic,
    /// `DAEMON_DOWN` after [`Bus::close_calls`] or [`Bus::close`], and whatever the handler answers.
    pub async fn dispatch(&self, call: Call) -> Result<Value, Failure> {
        if self.shared.refuses_calls.load(Ordering::Acquire) {
            return Err(BusError::Closed.into());
        }
        self.shared.methods.dispatch(call).await
    }

    /// Refuses new calls; what is being handled goes on and may still commit.
    pub fn close_calls(&self) {
        self.shared.refuses_calls.store(true, Ordering::Release);
    }

    /// Refuses new calls, commits and subscriptions; open subscriptions end after what they have waiting.
    pub fn close(&self) {
        self.close_calls();
        self.shared.closed.store(true, Ordering::Release);
        self.shared.hub.close();
    }

    fn open(&self) -> Result<(), BusError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(BusError::Closed);
        }
        Ok(())
    }
}

fn validate(draft: &Draft) -> Result<(), BusError> {
    if !is_name(&draft.topic) {
        return Err(BusError::Topic { topic: shorten(&draft.topic) });
    }
    if !draft.payload.is_object() {
        return Err(BusError::PayloadShape { topic: draft.topic.to_string() });
    }
    if !fits(&draft.payload, MAX_PAYLOAD) {
        return Err(BusError::PayloadSize { of: draft.topic.to_string() });
    }
    Ok(())
}
