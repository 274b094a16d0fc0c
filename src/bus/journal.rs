//! The journal as the bus sees it: what writes facts and records down before anybody is told.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::{Draft, Event};
use crate::failure::Failure;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a record lives. The journal keeps bodies; it does not know what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One per repository.
    Workspaces,
    /// One per lane, closed ones included.
    Lanes,
    /// One per task.
    Tasks,
    /// Plans of the orchestrator.
    Plans,
    /// What can be restored.
    Trash,
    /// Replies by idempotency key.
    Requests,
    /// Small settings of the runtime itself.
    Meta,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 7] =
        [Self::Workspaces, Self::Lanes, Self::Tasks, Self::Plans, Self::Trash, Self::Requests, Self::Meta];

    /// Its name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workspaces => "workspaces",
            Self::Lanes => "lanes",
            Self::Tasks => "tasks",
            Self::Plans => "plans",
            Self::Trash => "trash",
            Self::Requests => "requests",
            Self::Meta => "meta",
        }
    }
}

/// One record put in place, or taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: String,
    /// The body (JSON), or `None` to take it out.
    pub body: Option<Value>,
}

impl Write {
    /// Puts `body` at `key`.
    ///
    /// # Panics
    /// When `body` cannot be written as JSON, which our own records always can.
    pub fn put(table: Table, key: impl ToString, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_value(body).expect("invariant: our records are JSON");
        Self { table, key: key.to_string(), body: Some(body) }
    }

    /// Takes `key` out.
    pub fn remove(table: Table, key: impl ToString) -> Self {
        Self { table, key: key.to_string(), body: None }
    }
}

/// Facts and records that are written together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In this order.
    pub events: Vec<Draft>,
    /// In this order.
    pub writes: Vec<Write>,
}

/// How many events a page has when nobody says otherwise.
pub const DEFAULT_PAGE: usize = 1_000;

/// Which part of the journal somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only events with a larger offset.
    pub since: u64,
    /// At most so many events; 0 means the default of the journal (1,000).
    pub limit: usize,
    /// Exact topics, prefixes (`lane.*`) or `*`; none means all.
    pub patterns: Vec<String>,
    /// Only events about this lane.
    pub lane: Option<crate::ids::LaneId>,
}

/// A part of the journal.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order of offset.
    pub events: Vec<Arc<Event>>,
    /// What retention has trimmed of what was asked for, both inclusive.
    pub gap: Option<(u64, u64)>,
    /// The offset to ask from next; equal to the head when there is no more.
    pub next: u64,
    /// The newest offset when this page was read.
    pub head: u64,
}

/// Records as of one offset.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The newest event that these records include.
    pub offset: u64,
    /// The epoch of that offset.
    pub epoch: String,
    /// For each table asked for, its records by key.
    pub records: Vec<(Table, Vec<(String, Value)>)>,
}

/// What writes facts and records down, and reads them again.
///
/// After a batch is durable (as durable as the journal is) and before `append` resolves, its events are
/// given to the hub, in the order of their offsets. Dropping the future of `append` does not take the
/// batch back.
pub trait Journal: Send + Sync + 'static {
    /// Writes a batch down and tells the hub. The events come back in the order of their drafts.
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Vec<Arc<Event>>, Failure>>;

    /// Reads events with `offset > since`, at most `limit`, whose topic matches one of `patterns`
    /// (none: all) and whose lane is `lane` when given.
    fn read(&self, query: Query) -> BoxFuture<'static, Result<Page, Failure>>;

    /// Reads whole tables, all as of one offset.
    fn snapshot(&self, tables: Vec<Table>) -> BoxFuture<'static, Result<Snapshot, Failure>>;

    /// Reads one record.
    fn get(&self, table: Table, key: String) -> BoxFuture<'static, Result<Option<Value>, Failure>>;

    /// The newest offset and the epoch.
    fn head(&self) -> (u64, String);
}
