//! A journal in memory: for embedders, tests and benches that need no durable history.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::subscription::Filter;
use super::{
    Batch, BoxFuture, DEFAULT_PAGE, Draft, Event, Hub, Journal, Page, Pattern, Query, Snapshot, Table, Write,
};
use crate::clock;
use crate::failure::Failure;
use crate::ids::EventId;

/// How many events a memory journal keeps: about a hundred megabytes of small ones.
pub const DEFAULT_EVENTS: usize = 131_072;

/// A journal that forgets everything with the process. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Hub,
    epoch: String,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    head: u64,
    seqs: HashMap<String, u64>,
    /// The newest events; the last one has the offset `head`.
    events: VecDeque<Arc<Event>>,
    records: BTreeMap<Table, BTreeMap<String, Value>>,
}

impl MemoryJournal {
    /// A journal that keeps the newest [`DEFAULT_EVENTS`] events.
    pub fn new(hub: Hub) -> Self {
        Self::with_capacity(hub, DEFAULT_EVENTS)
    }

    /// A journal that keeps the newest `events` (at least one).
    pub fn with_capacity(hub: Hub, events: usize) -> Self {
        let epoch = uuid::Uuid::new_v4().simple().to_string();
        let shared = Shared { hub, epoch, capacity: events.max(1), state: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, batch: Batch) -> Vec<Arc<Event>> {
        let mut state = self.lock();
        let mut events = Vec::with_capacity(batch.events.len());
        for draft in batch.events {
            let event = Arc::new(state.number(draft, &self.shared.epoch));
            if state.events.len() == self.shared.capacity {
                state.events.pop_front();
            }
            state.events.push_back(event.clone());
            events.push(event);
        }
        for write in batch.writes {
            state.put(write);
        }
        // Under our lock, because the hub wants events in order; waking runs the code of others and waits.
        let wakers = self.shared.hub.offer(&events);
        drop(state);
        wakers.wake();
        events
    }

    fn page(&self, query: &Query) -> Result<Page, Failure> {
        let filter = Filter { patterns: Pattern::parse_all(&query.patterns)?, lane: query.lane };
        let limit = if query.limit == 0 { DEFAULT_PAGE } else { query.limit };
        let state = self.lock();
        let head = state.head;
        let trimmed = head - state.events.len() as u64;
        let gap = (query.since < trimmed).then(|| (query.since + 1, trimmed));
        let skip = usize::try_from(query.since.saturating_sub(trimmed)).unwrap_or(usize::MAX);
        let mut events = Vec::new();
        let mut next = head;
        for event in state.events.iter().skip(skip).filter(|event| filter.matches(event)) {
            events.push(event.clone());
            if events.len() == limit {
                next = event.offset;
                break;
            }
        }
        Ok(Page { events, gap, next, head })
    }
}

impl State {
    fn number(&mut self, draft: Draft, epoch: &str) -> Event {
        let mut event = draft.into_event(EventId::generate(), clock::now(), epoch);
        self.head += 1;
        event.offset = self.head;
        event.seq = match self.seqs.get_mut(&event.topic) {
            Some(seq) => {
                *seq += 1;
                *seq
            }
            None => {
                self.seqs.insert(event.topic.clone(), 1);
                1
            }
        };
        event
    }

    fn put(&mut self, write: Write) {
        let records = self.records.entry(write.table).or_default();
        match write.body {
            Some(body) => drop(records.insert(write.key, body)),
            None => drop(records.remove(&write.key)),
        }
    }
}

impl Journal for MemoryJournal {
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Vec<Arc<Event>>, Failure>> {
        Box::pin(ready(Ok(self.write(batch))))
    }

    fn read(&self, query: Query) -> BoxFuture<'static, Result<Page, Failure>> {
        Box::pin(ready(self.page(&query)))
    }

    fn snapshot(&self, tables: Vec<Table>) -> BoxFuture<'static, Result<Snapshot, Failure>> {
        let state = self.lock();
        let rows =
            |table: &Table| state.records.get(table).cloned().unwrap_or_default().into_iter().collect();
        let records = tables.iter().map(|table| (*table, rows(table))).collect();
        let snapshot = Snapshot { offset: state.head, epoch: self.shared.epoch.clone(), records };
        Box::pin(ready(Ok(snapshot)))
    }

    fn get(&self, table: Table, key: String) -> BoxFuture<'static, Result<Option<Value>, Failure>> {
        let body = self.lock().records.get(&table).and_then(|records| records.get(&key)).cloned();
        Box::pin(ready(Ok(body)))
    }

    fn head(&self) -> (u64, String) {
        (self.lock().head, self.shared.epoch.clone())
    }
}
