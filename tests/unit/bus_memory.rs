//! Tests of `src/bus/memory.rs`.

use lanes::bus::{Actor, Batch, Context, Hub, Journal, MemoryJournal, Page, Query, Table, Write};
use lanes::failure::Code;
use serde_json::{Value, json};

async fn append(journal: &MemoryJournal, topics: &[&'static str]) {
    let context = Context::new(Actor::lanes());
    let events = topics.iter().map(|topic| context.draft(topic, json!({}))).collect();
    journal.append(Batch { events, writes: Vec::new() }).await.expect("invariant: memory takes it");
}

async fn page(journal: &MemoryJournal, since: u64, limit: usize, patterns: &[&str]) -> Page {
    let patterns = patterns.iter().map(ToString::to_string).collect();
    let query = Query { since, limit, patterns, lane: None };
    journal.read(query).await.expect("invariant: memory answers")
}

fn offsets(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.offset).collect()
}

#[tokio::test]
async fn offsets_and_seqs_count_from_one() {
    let journal = MemoryJournal::new(Hub::new());
    append(&journal, &["a", "b", "a"]).await;
    let places: Vec<_> = page(&journal, 0, 0, &[])
        .await
        .events
        .iter()
        .map(|event| (event.topic.clone(), event.offset, event.seq))
        .collect();
    assert_eq!(places, [("a".into(), 1, 1), ("b".into(), 2, 1), ("a".into(), 3, 2)]);
    assert_eq!(journal.head().0, 3);
}

#[tokio::test]
async fn a_page_says_where_to_go_on() {
    let journal = MemoryJournal::new(Hub::new());
    append(&journal, &["a", "b", "a", "b", "a", "b"]).await;
    let first = page(&journal, 0, 2, &["a"]).await;
    assert_eq!((offsets(&first), first.next, first.head), (vec![1, 3], 3, 6));
    let second = page(&journal, first.next, 2, &["a"]).await;
    assert_eq!((offsets(&second), second.next), (vec![5], 6));
    assert_eq!(offsets(&page(&journal, u64::MAX, 0, &[]).await), [0; 0]);
}

#[tokio::test]
async fn what_the_ring_has_dropped_is_told_as_a_gap() {
    let journal = MemoryJournal::with_capacity(Hub::new(), 2);
    append(&journal, &["a"; 5]).await;
    let all = page(&journal, 0, 0, &[]).await;
    assert_eq!((offsets(&all), all.gap), (vec![4, 5], Some((1, 3))));
    assert_eq!(page(&journal, 2, 0, &[]).await.gap, Some((3, 3)));
    assert_eq!(page(&journal, 3, 0, &[]).await.gap, None);
}

#[tokio::test]
async fn records_are_put_taken_out_and_read_in_order() {
    let journal = MemoryJournal::new(Hub::new());
    let write = |key: &str, body: Option<Value>| Write { table: Table::Lanes, key: key.into(), body };
    let writes = vec![write("b", Some(json!(2))), write("a", Some(json!(1))), write("c", Some(json!(3)))];
    journal.append(Batch { events: vec![], writes }).await.expect("invariant: memory takes it");
    let writes = vec![write("c", None), write("a", Some(json!(9)))];
    journal.append(Batch { events: vec![], writes }).await.expect("invariant: memory takes it");
    let snapshot = journal.snapshot(vec![Table::Lanes, Table::Tasks]).await.expect("invariant: answers");
    let lanes = vec![("a".to_owned(), json!(9)), ("b".to_owned(), json!(2))];
    assert_eq!(snapshot.records, [(Table::Lanes, lanes), (Table::Tasks, vec![])]);
    assert_eq!(journal.get(Table::Lanes, "b".into()).await, Ok(Some(json!(2))));
    assert_eq!(journal.get(Table::Lanes, "c".into()).await, Ok(None));
}

#[tokio::test]
async fn what_is_no_pattern_is_refused() {
    let journal = MemoryJournal::new(Hub::new());
    let refused = journal.read(Query { patterns: vec!["*x".into()], ..Query::default() }).await;
    assert_eq!(refused.map(|_page| ()).map_err(|failure| failure.code), Err(Code::ValidationError));
}
