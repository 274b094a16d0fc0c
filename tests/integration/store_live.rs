//! Tests of `src/store/live.rs`: a store on a real disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lanes::bus::{Actor, Batch, Bus, Context, Delivery, Hub, Journal, Query, Table, Write};
use lanes::failure::{Code, Failure};
use lanes::ids::LaneId;
use lanes::store::{Opened, Retention, Store};
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_durable_publishes_at_once_have_no_inversion() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Hub::new();
    let (store, _opened) = open(folder.path(), &hub);
    let bus = Bus::new(store, hub);
    let mut subscription = bus.subscribe::<&str>(&[], None, 20_000).expect("open");
    let topics = ["a.x", "a.y", "b"];
    let mut running = JoinSet::new();
    for number in 0..10_000_usize {
        let bus = bus.clone();
        running.spawn(async move { bus.publish(context().draft(topics[number % 3], json!({}))).await });
    }
    for published in running.join_all().await {
        published.expect("written");
    }
    let mut seqs: HashMap<String, u64> = HashMap::new();
    for offset in 1..=10_000 {
        let Some(Delivery::Event(event)) = subscription.try_next() else { panic!("nothing at {offset}") };
        let seq = seqs.entry(event.topic.clone()).or_default();
        *seq += 1;
        assert_eq!((event.offset, event.seq), (offset, *seq));
    }
    let page = bus.read(Query { limit: 20_000, ..Query::default() }).await.expect("read");
    assert_eq!(page.events.len(), 10_000);
}

#[tokio::test]
async fn what_comes_back_is_what_was_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened) = open(folder.path(), &Hub::new());
    let lane = LaneId::generate();
    let mut draft = context().draft("lane.created", json!({ "name": "ünï\u{0}\u{1}code", "n": 1.5 }));
    draft.lane_id = Some(lane);
    let written =
        append(&store, vec![context().draft("a", json!({})), draft], vec![]).await.expect("written");
    assert_eq!(written[1].epoch, opened.epoch);
    let page = store.read(Query { lane: Some(lane), ..Query::default() }).await.expect("read");
    assert_eq!(page.events, written[1..]);
    assert_eq!((page.next, page.head, page.gap), (2, 2, None));
}

#[tokio::test]
async fn pages_follow_patterns_and_say_where_to_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    let topics = ["lane.a", "lanes", "lane.a.b", "lane", "other.x", "lane.z"];
    for topic in topics {
        append(&store, vec![context().draft(topic, json!({}))], vec![]).await.expect("written");
    }
    for (since, limit, patterns, expected, next) in [
        (0, 0, vec!["lane.*"], vec![1, 3, 6], 6),
        (0, 2, vec!["lane.*"], vec![1, 3], 3),
        (3, 2, vec!["lane.*"], vec![6], 6),
        (0, 0, vec!["lane", "other.*"], vec![4, 5], 6),
        (0, 0, vec!["lane", "*"], vec![1, 2, 3, 4, 5, 6], 6),
        (6, 0, vec![], vec![], 6),
        (u64::MAX, 0, vec![], vec![], 6),
    ] {
        let patterns: Vec<_> = patterns.into_iter().map(str::to_owned).collect();
        let page = store.read(Query { since, limit, patterns, lane: None }).await.expect("read");
        let offsets: Vec<_> = page.events.iter().map(|event| event.offset).collect();
        assert_eq!((offsets, page.next), (expected, next));
    }
    let refused = store.read(Query { patterns: vec!["*'; --".into()], ..Query::default() }).await;
    assert_eq!(refused.map(|_page| ()).map_err(|failure| failure.code), Err(Code::ValidationError));
}

#[tokio::test]
async fn a_restart_keeps_offset_seq_epoch_and_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, first) = open(folder.path(), &Hub::new());
    append(&store, vec![context().draft("a", json!({})), context().draft("b", json!({}))], vec![put("k", 1)])
        .await
        .expect("written");
    drop(store);
    let (store, second) = open(folder.path(), &Hub::new());
    assert_eq!((second.created, second.moved_aside, second.head), (false, None, 2));
    assert_eq!(second.epoch, first.epoch);
    assert_eq!(store.head(), (2, first.epoch));
    let written = append(&store, vec![context().draft("a", json!({}))], vec![]).await.expect("written");
    assert_eq!((written[0].offset, written[0].seq), (3, 2));
    assert_eq!(store.get(Table::Lanes, "k".into()).await, Ok(Some(json!(1))));
}

#[tokio::test]
async fn a_batch_is_written_whole_and_its_future_may_be_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    drop(store.append(Batch { events: vec![context().draft("a", json!({}))], writes: vec![put("k", 1)] }));
    // An empty batch comes after what is queued.
    append(&store, vec![], vec![]).await.expect("written");
    assert_eq!(store.head().0, 1);
    append(&store, vec![], vec![put("k", 2), Write::remove(Table::Lanes, "k")]).await.expect("written");
    assert_eq!(store.get(Table::Lanes, "k".into()).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_offset_while_others_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened) = open(folder.path(), &Hub::new());
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for number in 1..=500_u64 {
            let events = vec![context().draft("a", json!({ "number": number }))];
            let writes = vec![put("x", number), Write::put(Table::Tasks, "y", &number)];
            writer.append(Batch { events, writes }).await.expect("written");
        }
    });
    let mut last = 0;
    while last < 500 {
        let snapshot = store.snapshot(vec![Table::Lanes, Table::Tasks]).await.expect("read");
        assert_eq!(snapshot.epoch, opened.epoch);
        assert!(snapshot.offset >= last);
        last = snapshot.offset;
        for (table, records) in snapshot.records {
            let values: Vec<_> = records.into_iter().map(|(_key, body)| body).collect();
            let expected = if last == 0 { vec![] } else { vec![json!(last)] };
            assert_eq!(values, expected, "{table:?} as of {last}");
        }
    }
    writing.await.expect("no panic");
}

#[tokio::test]
async fn retention_is_told_as_a_gap_and_no_offset_or_seq_comes_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    let retention = Retention { events: 10, ..Retention::default() };
    let (store, _opened) = Store::open_with(&path, Hub::new(), retention, Box::new(|| true)).expect("opened");
    for _ in 0..5 {
        let events = (0..300).map(|_| context().draft("a", json!({}))).collect();
        append(&store, events, vec![]).await.expect("written");
    }
    let page = until(&store, |page| page.events.len() == 10).await;
    assert_eq!((page.gap, page.events[0].offset, page.head), (Some((1, 1490)), 1491, 1500));
    assert_eq!(store.read(Query { since: 1490, ..Query::default() }).await.expect("read").gap, None);
    drop(store);
    // Nothing is young enough: the journal is empty, and goes on where it stopped.
    let retention = Retention { age: Duration::ZERO, ..retention };
    let (store, opened) = Store::open_with(&path, Hub::new(), retention, Box::new(|| true)).expect("opened");
    assert_eq!(opened.moved_aside, None);
    let page = until(&store, |page| page.events.is_empty()).await;
    assert_eq!((page.gap, page.head), (Some((1, 1500)), 1500));
    drop(store);
    let (store, opened) = open(folder.path(), &Hub::new());
    assert_eq!((opened.moved_aside, opened.head), (None, 1500));
    let written = append(&store, vec![context().draft("a", json!({}))], vec![]).await.expect("written");
    assert_eq!((written[0].offset, written[0].seq), (1501, 1501));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_its_time_does_not_delay_the_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    let events = (0..5_000).map(|_| context().draft("a", json!({ "text": "x".repeat(200) }))).collect();
    append(&store, events, vec![]).await.expect("written");
    let reader = rusqlite::Connection::open(folder.path().join("lanes.db")).expect("opened");
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("reading");
    append(&store, vec![context().draft("a", json!({}))], vec![]).await.expect("written meanwhile");
    reader.execute_batch("COMMIT").expect("ended");
}

#[tokio::test]
async fn after_close_everybody_is_answered_and_what_was_queued_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    let queued: Vec<_> = (0..100)
        .map(|_| store.append(Batch { events: vec![context().draft("a", json!({}))], writes: vec![] }))
        .collect();
    store.close();
    store.close();
    for answer in queued {
        answer.await.expect("written");
    }
    let refused = append(&store, vec![context().draft("a", json!({}))], vec![]).await;
    assert_eq!(refused.map_err(|failure| failure.code), Err(Code::DaemonDown));
    let refused = store.read(Query::default()).await.map(|_page| ());
    assert_eq!(refused.map_err(|failure| failure.code), Err(Code::DaemonDown));
    assert!(!folder.path().join("lanes.db-wal").exists(), "the last one out empties the log");
    assert_eq!(open(folder.path(), &Hub::new()).1.head, 100);
}

#[test]
fn it_works_without_any_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    let events = vec![context().draft("a", json!({}))];
    let written = block_on(store.append(Batch { events, writes: vec![] })).expect("written");
    let page = block_on(store.read(Query::default())).expect("read");
    assert_eq!(page.events, written);
}

#[tokio::test]
async fn large_payloads_come_in_pages_that_fit_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _opened) = open(folder.path(), &Hub::new());
    let text = "x".repeat(1_000_000);
    for _ in 0..10 {
        append(&store, vec![context().draft("a", json!({ "text": text }))], vec![]).await.expect("written");
    }
    let mut since = 0;
    let mut pages = 0;
    while since < 10 {
        let page = store.read(Query { since, ..Query::default() }).await.expect("read");
        assert!(page.events.len() <= 5 && page.next > since);
        since = page.next;
        pages += 1;
    }
    assert_eq!(pages, 2);
}

fn open(folder: &Path, hub: &Hub) -> (Arc<Store>, Opened) {
    let (store, opened) = Store::open(folder.join("lanes.db"), hub.clone()).expect("opened");
    (Arc::new(store), opened)
}

fn context() -> Context {
    Context::new(Actor::user())
}

fn put(key: &str, body: u64) -> Write {
    Write::put(Table::Lanes, key, &body)
}

async fn append(
    store: &Store,
    events: Vec<lanes::bus::Draft>,
    writes: Vec<Write>,
) -> Result<Vec<Arc<lanes::bus::Event>>, Failure> {
    store.append(Batch { events, writes }).await
}

async fn until(store: &Store, done: impl Fn(&lanes::bus::Page) -> bool) -> lanes::bus::Page {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let page = store.read(Query { limit: 10_000, ..Query::default() }).await.expect("read");
        if done(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "still {} events", page.events.len());
        tokio::task::yield_now().await;
    }
}

/// The smallest executor there is: parks the thread.
fn block_on<T>(mut future: lanes::bus::BoxFuture<'static, T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        let mut cx = std::task::Context::from_waker(&waker);
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
