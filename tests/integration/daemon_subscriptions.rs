//! Tests of `src/daemon/subscriptions.rs` and of `Events` in `src/api/client.rs`.

use std::sync::Arc;

use lanes::api::{Events, Notification, Subscribe};
use lanes::bus::{Actor, Bus, Context, Hub, MemoryJournal};
use lanes::ids::LaneId;
use serde_json::{Value, json};

use crate::support::server::{Running, World, soon};

async fn publish(bus: &Bus, topic: &'static str, lane: Option<LaneId>) -> u64 {
    let mut draft = Context::new(Actor::lanes()).draft(topic, json!({}));
    draft.lane_id = lane;
    bus.publish(draft).await.expect("it is published").offset
}

async fn next(events: &mut Events) -> Notification {
    soon(events.next()).await.expect("it goes on").expect("it is well")
}

/// The offset of the next event.
async fn next_offset(events: &mut Events) -> u64 {
    next(events).await.event.expect("an event").offset
}

#[tokio::test]
async fn a_subscription_without_since_starts_now_and_ends_when_dropped() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    publish(&world.bus, "test.before", None).await;
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let mut events = client.subscribe(Subscribe::default()).await.expect("it begins");
    assert_eq!(events.head(), 1);
    assert_eq!(events.epoch(), client.hello().epoch);
    publish(&world.bus, "test.after", None).await;
    assert_eq!(next_offset(&mut events).await, 2);
    drop(events);
    // Whoever reads the connection next has read the end of the subscription.
    soon(client.request("test.echo", json!({}))).await.expect("it answers");
    assert_eq!(soon(client.subscribe(Subscribe::default())).await.expect("it begins").head(), 2);
    running.stop().await;
}

#[tokio::test]
async fn topics_and_lane_filter_past_and_coming_events() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let lane = LaneId::generate();
    publish(&world.bus, "lane.created", Some(lane)).await;
    publish(&world.bus, "lane.created", Some(LaneId::generate())).await;
    publish(&world.bus, "daemon.started", None).await;
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let named = serde_json::from_value(json!({ "lane": lane })).expect("a lane");
    let subscribe = Subscribe { since: Some(0), topics: vec!["lane.*".into()], lane: Some(named) };
    let mut events = client.subscribe(subscribe).await.expect("it begins");
    publish(&world.bus, "daemon.noted", Some(lane)).await;
    publish(&world.bus, "lane.closed", Some(lane)).await;
    assert_eq!(next_offset(&mut events).await, 1);
    assert_eq!(next_offset(&mut events).await, 5);

    let bad = Subscribe { topics: vec!["*.x".into()], ..Subscribe::default() };
    let failure = soon(client.subscribe(bad)).await.expect_err("no pattern");
    assert_eq!(failure.code, lanes::failure::Code::ValidationError);
    running.stop().await;
}

#[tokio::test]
async fn everything_since_zero_comes_without_hole_or_double_while_others_publish() {
    const TOTAL: u64 = 4_000;
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    for _ in 0..TOTAL / 2 {
        publish(&world.bus, "test.happened", None).await;
    }
    let running = Running::start(home.path(), &world);
    let bus = world.bus.clone();
    let publishing = tokio::spawn(async move {
        for _ in 0..TOTAL / 2 {
            publish(&bus, "test.happened", None).await;
            tokio::task::yield_now().await;
        }
    });
    let subscribe = Subscribe { since: Some(0), ..Subscribe::default() };
    let mut events = running.client().await.subscribe(subscribe).await.expect("it begins");
    let mut at = 0;
    while at < TOTAL {
        let notification = next(&mut events).await;
        match (notification.event, notification.lagged) {
            (Some(event), None) => {
                assert_eq!(event.offset, at + 1);
                at = event.offset;
            }
            // Told exactly, should this machine be so busy that we are slow.
            (None, Some(span)) => {
                assert_eq!(span.from, at + 1);
                at = span.to;
            }
            other => panic!("{other:?}"),
        }
    }
    soon(publishing).await.expect("it ends");
    running.stop().await;
}

#[tokio::test]
async fn what_the_journal_has_trimmed_is_told_as_a_gap() {
    let home = tempfile::tempdir().expect("a folder");
    let hub = Hub::new();
    let bus = Bus::new(Arc::new(MemoryJournal::with_capacity(hub.clone(), 3)), hub);
    let world = World { bus, ..World::new() };
    for _ in 0..10 {
        publish(&world.bus, "test.happened", None).await;
    }
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let subscribe = Subscribe { since: Some(2), ..Subscribe::default() };
    let mut events = client.subscribe(subscribe).await.expect("it begins");
    let gap = next(&mut events).await.gap.expect("a gap");
    assert_eq!((gap.from, gap.to), (3, 7));
    for offset in 8..=10 {
        assert_eq!(next_offset(&mut events).await, offset);
    }
    let page: Value = client.request("event.replay", json!({ "since": 8 })).await.expect("a page");
    assert_eq!(page["events"].as_array().map(Vec::len), Some(2));
    assert_eq!((&page["next"], &page["head"]), (&json!(10), &json!(10)));
    running.stop().await;
}

#[tokio::test]
async fn a_page_of_replay_fits_into_a_message() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let large = json!({ "text": "x".repeat(600 << 10) });
    for _ in 0..4 {
        let draft = Context::new(Actor::lanes()).draft("test.large", large.clone());
        world.bus.publish(draft).await.expect("it is published");
    }
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let mut since = 0;
    for offset in 1..=4 {
        let page = client.request("event.replay", json!({ "since": since })).await.expect("a page");
        assert_eq!(page["events"].as_array().map(Vec::len), Some(1));
        since = page["next"].as_u64().expect("an offset");
        assert_eq!(since, offset);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_stalled_subscriber_is_told_what_it_missed_and_delays_nobody() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let mut stalled = running.greeted().await;
    stalled.say(r#"{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{}}"#).await;
    assert_eq!(stalled.hear().await["result"]["subscription"], 1);

    // Far more than fits into the socket, the outbox and the subscription together.
    const COUNT: u64 = 20_000;
    let other = running.client().await;
    let mut watching = other.subscribe(Subscribe::default()).await.expect("it begins");
    let mut seen = 0;
    while seen < COUNT {
        soon(other.request("test.publish", json!({ "count": 500 }))).await.expect("publishing goes on");
        let until = seen + 500;
        while seen < until {
            seen = next_offset(&mut watching).await;
        }
    }

    // Now it reads: each offset is delivered or told as missed, in order, and some are missed.
    let (mut at, mut lagged) = (0, 0);
    while at < COUNT {
        let notification = stalled.hear().await;
        let params = &notification["params"];
        if let Some(offset) = params["event"]["offset"].as_u64() {
            assert_eq!(offset, at + 1);
            at = offset;
        } else {
            assert_eq!(params["lagged"]["from"], at + 1, "{notification}");
            at = params["lagged"]["to"].as_u64().expect("an offset");
            lagged += 1;
        }
    }
    assert!(lagged > 0);
    running.stop().await;
}

#[tokio::test]
async fn a_reader_in_our_own_process_that_falls_behind_is_told_too() {
    let home = tempfile::tempdir().expect("a folder");
    let world = World::new();
    let running = Running::start(home.path(), &world);
    let client = running.client().await;
    let mut events = client.subscribe(Subscribe::default()).await.expect("it begins");
    for _ in 0..10 {
        soon(client.request("test.publish", json!({ "count": 500 }))).await.expect("calls go on");
    }
    let (mut at, mut lagged) = (0, 0);
    while at < 5_000 {
        let notification = next(&mut events).await;
        let span = notification.lagged.unwrap_or_else(|| {
            let offset = notification.event.expect("an event").offset;
            lanes::api::Span { from: offset, to: offset }
        });
        lagged += u64::from(notification.lagged.is_some());
        assert_eq!(span.from, at + 1);
        at = span.to;
    }
    assert!(lagged > 0);
    running.stop().await;
}
