//! Rows: what is written for a batch, and what is read of it again.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Transaction, params, params_from_iter};
use serde_json::Value;

use super::StoreError;
use crate::bus::{DEFAULT_PAGE, Event, Page, Pattern, Query, Snapshot, Table, Write};

/// A page ends after so many bytes of events, so that a thousand large ones do not fill the memory.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What must go on where it stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) head: u64,
    pub(super) trimmed: u64,
    pub(super) seqs: HashMap<String, u64>,
}

impl Counters {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let (head, trimmed) =
            connection.query_row("SELECT head, trimmed FROM journal WHERE id = 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let mut statement = connection.prepare("SELECT topic, seq FROM topics")?;
        let seqs = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<HashMap<String, u64>>>()?;
        Ok(Self { head, trimmed, seqs })
    }
}

/// What a transaction has counted so far; becomes part of the counters when it is committed.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    counters: &'a Counters,
    head: u64,
    seqs: BTreeMap<String, u64>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(counters: &'a Counters) -> Self {
        Self { counters, head: counters.head, seqs: BTreeMap::new() }
    }

    /// Gives an event its place.
    pub(super) fn number(&mut self, event: &mut Event) {
        self.head += 1;
        event.offset = self.head;
        if let Some(seq) = self.seqs.get_mut(&event.topic) {
            *seq += 1;
            event.seq = *seq;
            return;
        }
        event.seq = self.counters.seqs.get(&event.topic).copied().unwrap_or(0) + 1;
        self.seqs.insert(event.topic.clone(), event.seq);
    }

    /// True when the store holds the counters that we know: nobody else writes here.
    pub(super) fn continues(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        let mut journal = transaction.prepare_cached("SELECT head FROM journal WHERE id = 1")?;
        journal.query_row([], |row| row.get::<_, u64>(0)).map(|head| head == self.counters.head)
    }

    /// Writes the counters down.
    pub(super) fn save(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.prepare_cached("UPDATE journal SET head = ?1 WHERE id = 1")?.execute([self.head])?;
        let mut topics = transaction.prepare_cached(
            "INSERT INTO topics (topic, seq) VALUES (?1, ?2)
             ON CONFLICT (topic) DO UPDATE SET seq = excluded.seq",
        )?;
        for (topic, seq) in &self.seqs {
            topics.execute(params![topic, seq])?;
        }
        Ok(())
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    pub(super) fn into_parts(self) -> (u64, BTreeMap<String, u64>) {
        (self.head, self.seqs)
    }
}

/// Writes one event; `body` is all of it as JSON.
pub(super) fn insert_event(
    transaction: &Transaction<'_>,
    event: &Event,
    body: &str,
) -> rusqlite::Result<usize> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO events (offset, id, topic, seq, ts, workspace_id, lane_id, task_id, session_id,
                             correlation_id, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let workspace = event.workspace_id.map(crate::ids::WorkspaceId::text);
    let lane = event.lane_id.map(crate::ids::LaneId::text);
    let task = event.task_id.map(crate::ids::TaskId::text);
    let session = event.session_id.map(crate::ids::SessionId::text);
    statement.execute(params![
        event.offset,
        event.id.text().as_str(),
        event.topic,
        event.seq,
        event.ts.as_ms(),
        workspace.as_ref().map(|text| text.as_str()),
        lane.as_ref().map(|text| text.as_str()),
        task.as_ref().map(|text| text.as_str()),
        session.as_ref().map(|text| text.as_str()),
        event.correlation_id.text().as_str(),
        body,
    ])
}

/// Writes one record, as of `offset`.
pub(super) fn apply(transaction: &Transaction<'_>, write: &Write, offset: u64) -> rusqlite::Result<usize> {
    let table = write.table.name();
    match &write.body {
        Some(body) => transaction
            .prepare_cached(&format!(
                "INSERT INTO {table} (key, body, updated_offset) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET body = excluded.body, updated_offset = excluded.updated_offset"
            ))?
            .execute(params![write.key, body.to_string(), offset]),
        None => transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))?
            .execute(params![write.key]),
    }
}

/// Reads a page, all of it as of one moment.
pub(super) fn page(
    transaction: &Transaction<'_>,
    query: &Query,
    patterns: &[Pattern],
) -> Result<Page, ReadError> {
    let (head, trimmed): (u64, u64) = transaction
        .prepare_cached("SELECT head, trimmed FROM journal WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let gap = (query.since < trimmed).then(|| (query.since + 1, trimmed));
    let limit = if query.limit == 0 { DEFAULT_PAGE } else { query.limit };
    let (sql, values) = select(query, patterns, limit);
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut page = Page { events: Vec::new(), gap, next: head, head };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let offset: u64 = row.get(0)?;
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let event = serde_json::from_str::<Event>(body)
            .map_err(|source| StoreError::Decode { key: format!("offset {offset}"), source })?;
        bytes += body.len();
        page.events.push(Arc::new(event));
        if page.events.len() == limit || bytes >= PAGE_BYTES {
            page.next = offset;
            break;
        }
    }
    Ok(page)
}

fn select(query: &Query, patterns: &[Pattern], limit: usize) -> (String, Vec<Sql>) {
    let since = i64::try_from(query.since).unwrap_or(i64::MAX);
    let mut sql = String::from("SELECT offset, body FROM events WHERE offset > ?");
    let mut values = vec![Sql::from(since)];
    if let Some(lane) = query.lane {
        sql.push_str(" AND lane_id = ?");
        values.push(Sql::from(lane.to_string()));
    }
    if !patterns.contains(&Pattern::All) {
        sql.push_str(" AND (");
        for (number, pattern) in patterns.iter().enumerate() {
            sql.push_str(if number == 0 { "" } else { " OR " });
            match pattern {
                Pattern::All => sql.push('1'),
                Pattern::Exact(topic) => {
                    sql.push_str("topic = ?");
                    values.push(Sql::from(topic.clone()));
                }
                // `/` is what follows `.` in ASCII.
                Pattern::Prefix(prefix) => {
                    sql.push_str("(topic > ? AND topic < ?)");
                    values.push(Sql::from(prefix.clone()));
                    values.push(Sql::from(format!("{}/", prefix.trim_end_matches('.'))));
                }
            }
        }
        sql.push(')');
    }
    sql.push_str(" ORDER BY offset LIMIT ?");
    values.push(Sql::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    (sql, values)
}

/// Reads whole tables, all as of one moment.
pub(super) fn snapshot(transaction: &Transaction<'_>, tables: &[Table]) -> Result<Snapshot, ReadError> {
    let (epoch, offset) =
        transaction.query_row("SELECT epoch, head FROM journal WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut records = Vec::with_capacity(tables.len());
    for table in tables {
        let sql = format!("SELECT key, body FROM {} ORDER BY key", table.name());
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut of_table = Vec::new();
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            let body = decode(&key, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            of_table.push((key, body));
        }
        records.push((*table, of_table));
    }
    Ok(Snapshot { offset, epoch, records })
}

/// Reads one record.
pub(super) fn get(connection: &Connection, table: Table, key: &str) -> Result<Option<Value>, ReadError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT body FROM {} WHERE key = ?1", table.name()))?;
    let body: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
    Ok(body.map(|body| decode(key, &body)).transpose()?)
}

fn decode(key: &str, body: &str) -> Result<Value, StoreError> {
    serde_json::from_str(body).map_err(|source| StoreError::Decode { key: key.to_owned(), source })
}

/// Takes out at most `step` of the oldest events: what is beyond `keep` newest, and what is older than
/// `before_ms`. Returns the offset up to which events are gone now.
pub(super) fn trim(
    transaction: &Transaction<'_>,
    counters: &Counters,
    keep: u64,
    before_ms: u64,
    step: u64,
) -> rusqlite::Result<u64> {
    let by_count = counters.head.saturating_sub(keep);
    let by_age: u64 = transaction
        .prepare_cached(
            "SELECT coalesce(max(offset), 0) FROM
                (SELECT offset, ts FROM events ORDER BY offset LIMIT ?1) WHERE ts < ?2",
        )?
        .query_row(params![step, before_ms], |row| row.get(0))?;
    let upto = by_count.max(by_age).min(counters.trimmed + step);
    if upto <= counters.trimmed {
        return Ok(counters.trimmed);
    }
    transaction.prepare_cached("DELETE FROM events WHERE offset <= ?1")?.execute([upto])?;
    transaction.prepare_cached("UPDATE journal SET trimmed = ?1 WHERE id = 1")?.execute([upto])?;
    Ok(upto)
}

/// Why something could not be read, before it is known of which file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}
