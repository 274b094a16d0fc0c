//! Tests of `src/bus/follow.rs`.

use std::sync::Arc;

use lanes::bus::{Actor, Bus, Context, Followed, Follower, Hub, MemoryJournal, Query};
use serde_json::json;

fn bus(events: usize) -> Bus {
    let hub = Hub::new();
    Bus::new(Arc::new(MemoryJournal::with_capacity(hub.clone(), events)), hub)
}

async fn publish(bus: &Bus, topics: &[&'static str]) {
    let context = Context::new(Actor::lanes());
    for topic in topics {
        bus.publish(context.draft(topic, json!({}))).await.expect("invariant: memory takes it");
    }
}

/// What `follower` gives until it has given `last`.
async fn until(follower: &mut Follower, last: u64) -> String {
    let mut texts = Vec::new();
    loop {
        let (text, offset) = match follower.next().await.expect("invariant: memory answers") {
            Some(Followed::Event(event)) => (event.offset.to_string(), event.offset),
            Some(Followed::Gap { from, to }) => (format!("gap {from}-{to}"), 0),
            None => return texts.join(" "),
        };
        texts.push(text);
        if offset == last {
            return texts.join(" ");
        }
    }
}

fn query(since: u64, patterns: &[&str]) -> Query {
    Query { since, limit: 2, patterns: patterns.iter().map(ToString::to_string).collect(), lane: None }
}

#[tokio::test]
async fn history_and_what_comes_are_one_sequence() {
    let bus = bus(100);
    publish(&bus, &["a", "b", "a", "a"]).await;
    let mut follower = bus.follow(query(0, &["a"]), 10).expect("invariant: open");
    publish(&bus, &["a", "b", "a"]).await;
    assert_eq!(until(&mut follower, 7).await, "1 3 4 5 7");
    publish(&bus, &["a"]).await;
    assert_eq!(until(&mut follower, 8).await, "8");
}

#[tokio::test]
async fn one_that_falls_behind_is_fed_from_the_journal() {
    let bus = bus(1000);
    let mut follower = bus.follow(query(0, &["a"]), 2).expect("invariant: open");
    for _ in 0..20 {
        publish(&bus, &["a", "b"]).await;
    }
    let expected: Vec<_> = (1..40).step_by(2).map(|offset| offset.to_string()).collect();
    assert_eq!(until(&mut follower, 39).await, expected.join(" "));
}

#[tokio::test]
async fn what_is_trimmed_is_told_and_the_rest_follows() {
    let bus = bus(3);
    publish(&bus, &["a"; 5]).await;
    let mut follower = bus.follow(query(1, &[]), 10).expect("invariant: open");
    assert_eq!(until(&mut follower, 5).await, "gap 2-2 3 4 5");
}

#[tokio::test]
async fn it_ends_with_the_bus() {
    let bus = bus(10);
    publish(&bus, &["a"]).await;
    let mut follower = bus.follow(query(0, &[]), 10).expect("invariant: open");
    bus.close();
    assert_eq!(until(&mut follower, 99).await, "1");
}
