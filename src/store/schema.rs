//! The schema: numbered migrations, each applied once and never changed afterwards.

use rusqlite::{Connection, TransactionBehavior};

/// Migrations in order; the version of a store is how many it has had.
///
/// `journal` has one row: what must outlive retention and restarts. `topics` likewise, one per topic.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch TEXT NOT NULL,
        head INTEGER NOT NULL,
        trimmed INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE topics (topic TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE events (
        offset INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        topic TEXT NOT NULL,
        seq INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        workspace_id TEXT,
        lane_id TEXT,
        task_id TEXT,
        session_id TEXT,
        correlation_id TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_by_lane ON events (lane_id, offset) WHERE lane_id IS NOT NULL;
    CREATE TABLE workspaces (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE lanes (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE tasks (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE plans (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE trash (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE requests (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, body TEXT NOT NULL, updated_offset INTEGER NOT NULL) STRICT;
"];

/// The version that this program writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Reads the version of a store; 0 for an empty file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// What the counters say should be there and is not: a store that lost its newest events would reuse offsets.
pub(super) fn missing(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    let agrees: bool = connection.query_row(
        "SELECT coalesce((SELECT max(offset) FROM events), trimmed) = head FROM journal WHERE id = 1",
        [],
        |row| row.get(0),
    )?;
    Ok((!agrees).then_some("its newest events are missing"))
}

/// Applies what is missing, each migration in a transaction of its own, and gives a new store its `epoch`.
/// Returns true when the store was new.
pub(super) fn migrate(connection: &mut Connection, epoch: &str) -> rusqlite::Result<bool> {
    let found = version(connection)?;
    let done = usize::try_from(found).unwrap_or(0);
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        if number == 0 {
            transaction
                .execute("INSERT INTO journal (id, epoch, head, trimmed) VALUES (1, ?1, 0, 0)", [epoch])?;
        }
        transaction.pragma_update(None, "user_version", number as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(found == 0)
}
