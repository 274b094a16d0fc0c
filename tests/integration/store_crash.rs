//! Tests that a store survives `kill -9` at any moment.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lanes::bus::{Actor, Batch, Context, Hub, Journal, Query, Table, Write};
use lanes::store::Store;
use serde_json::json;

const STORE: &str = "LANES_TEST_CRASH_STORE";

#[tokio::test]
async fn whatever_was_acknowledged_before_kill_9_is_there_without_a_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    let mut least = 0;
    // Each round is killed after another number of answers.
    for answers in [1, 7, 60, 333, 900] {
        least = kill_after(&path, least + answers);
        let (store, opened) = Store::open(&path, Hub::new()).expect("opened");
        assert_eq!(opened.moved_aside, None);
        assert!(opened.head >= least, "{} of {least} acknowledged", opened.head);
        let page = store.read(Query { limit: 1_000_000, ..Query::default() }).await.expect("read");
        for (event, expected) in page.events.iter().zip(1..) {
            assert_eq!((event.offset, event.seq), (expected, expected));
        }
        assert_eq!(page.events.len() as u64, opened.head);
        // The record of a batch is there with its event, or neither is.
        let snapshot = store.snapshot(vec![Table::Lanes]).await.expect("read");
        let records = &snapshot.records[0].1;
        assert_eq!(records.len() as u64, opened.head);
        least = opened.head;
    }
}

#[test]
#[ignore = "the other process of these tests"]
fn child_that_appends() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let (store, _opened) = Store::open(Path::new(&path), Hub::new()).expect("opened");
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let appenders: Vec<_> = (0..8)
        .map(|appender| {
            let store = store.clone();
            runtime.spawn(async move {
                for number in 0_u64.. {
                    let events = vec![Context::new(Actor::user()).draft("a", json!({ "number": number }))];
                    let key = format!("{}-{appender}-{number}", std::process::id());
                    let writes = vec![Write::put(Table::Lanes, key, &number)];
                    let Ok(written) = store.append(Batch { events, writes }).await else { return };
                    if writeln!(std::io::stdout().lock(), "\nacknowledged {}", written[0].offset).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    runtime.block_on(async move {
        for appender in appenders {
            appender.await.expect("no panic");
        }
    });
}

/// Lets a child append until it has acknowledged `offset`, kills it, and returns the last it acknowledged.
fn kill_after(path: &Path, offset: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "store_crash::child_that_appends", "--ignored", "--nocapture"])
        .env(STORE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        let acknowledged = line.strip_prefix("acknowledged ").and_then(|number| number.parse().ok());
        last = last.max(acknowledged.unwrap_or(0));
        if last >= offset {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("gone");
    assert!(last >= offset, "the child ended at {last}");
    last
}
