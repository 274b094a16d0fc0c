//! Tests of `src/bus/hub.rs` and `src/bus/subscription.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use lanes::bus::{Actor, BusError, Delivery, Event, Hub, SCHEMA, Subscription};
use lanes::clock::Timestamp;
use lanes::ids::{CorrelationId, EventId, LaneId};
use proptest::prelude::*;
use serde_json::json;

/// What a subscription with `patterns` and `capacity` holds after `topics` were published from offset 1.
#[track_caller]
fn check(patterns: &[&str], capacity: usize, topics: &[&str], expected: &str) {
    let hub = Hub::new();
    let mut subscription = subscribe(&hub, patterns, capacity);
    for (number, topic) in topics.iter().enumerate() {
        hub.publish(&[event(number as u64 + 1, topic)]);
    }
    assert_eq!(rest(&mut subscription), expected);
}

#[test]
fn a_subscription_gets_what_it_wants_in_order() {
    check(&[], 9, &["a", "b", "a"], "1 2 3");
    check(&["a"], 9, &["a", "b", "a"], "1 3");
    check(&["a.*", "b"], 9, &["a", "a.x", "b", "a.y.z"], "2 3 4");
}

#[test]
fn a_full_subscription_is_told_the_range_that_it_missed() {
    check(&[], 2, &["a"; 5], "1 2 3-5");
    check(&["a"], 2, &["a", "b", "a", "b", "a", "a", "b", "b"], "1 3 5-6");
    check(&[], 1, &["a"; 2], "1 2-2");
}

#[test]
fn one_that_fell_behind_is_let_catch_up_to_half_before_it_gets_more() {
    let hub = Hub::new();
    let mut subscription = subscribe(&hub, &[], 4);
    let publish = |range: std::ops::RangeInclusive<u64>| range.for_each(|at| hub.publish(&[event(at, "a")]));
    publish(1..=5);
    assert_eq!(take(&mut subscription, 1), "1");
    publish(6..=6);
    assert_eq!(take(&mut subscription, 1), "2");
    publish(7..=7);
    assert_eq!(rest(&mut subscription), "3 4 5-6 7");
}

#[test]
fn a_subscription_may_be_about_one_lane() {
    let hub = Hub::new();
    let lane = LaneId::generate();
    let Ok(mut subscription) = hub.subscribe::<&str>(&[], Some(lane), 9) else { panic!("refused") };
    let mut ours = Event::clone(&event(2, "a"));
    ours.lane_id = Some(lane);
    hub.publish(&[event(1, "a"), Arc::new(ours), event(3, "a")]);
    assert_eq!(rest(&mut subscription), "2");
}

#[test]
fn one_that_stops_reading_keeps_nothing_from_the_others() {
    let hub = Hub::new();
    let stuck = subscribe(&hub, &[], 1);
    let mut reader = subscribe(&hub, &[], 100);
    for at in 1..=50 {
        hub.publish(&[event(at, "a")]);
    }
    assert_eq!(rest(&mut reader).split(' ').count(), 50);
    drop(stuck);
    assert_eq!(hub.subscribers(), 1);
}

struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("an executor of somebody else");
    }
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    let hub = Hub::new();
    let mut bomb = subscribe(&hub, &[], 9);
    let mut reader = subscribe(&hub, &[], 9);
    assert!(bomb.poll_next(&mut Context::from_waker(&Waker::from(Arc::new(Bomb)))).is_pending());
    hub.publish(&[event(1, "a")]);
    hub.publish(&[event(2, "a")]);
    assert_eq!(rest(&mut reader), "1 2");
    assert_eq!(rest(&mut bomb), "1 2");
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_waiting_reader_is_woken_by_what_it_wants_and_by_the_end() {
    let hub = Hub::new();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let mut subscription = subscribe(&hub, &["a"], 9);
    assert!(subscription.poll_next(&mut cx).is_pending());
    hub.publish(&[event(1, "b")]);
    assert!(!flag.0.load(Ordering::Acquire));
    hub.publish(&[event(2, "a")]);
    assert!(flag.0.swap(false, Ordering::AcqRel));
    assert!(matches!(subscription.poll_next(&mut cx), Poll::Ready(Some(Delivery::Event(_)))));
    assert!(subscription.poll_next(&mut cx).is_pending());
    drop(hub);
    assert!(flag.0.load(Ordering::Acquire));
    assert_eq!(subscription.poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn a_closed_hub_lets_readers_finish_and_takes_no_new_ones() {
    let hub = Hub::new();
    let mut subscription = subscribe(&hub, &[], 9);
    hub.publish(&[event(1, "a")]);
    hub.close();
    hub.publish(&[event(2, "a")]);
    assert!(matches!(hub.subscribe::<&str>(&[], None, 9), Err(BusError::Closed)));
    assert_eq!(rest(&mut subscription), "1");
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(subscription.poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn what_is_no_pattern_is_refused() {
    assert!(matches!(Hub::new().subscribe(&["a", "*a"], None, 9), Err(BusError::Pattern { .. })));
}

proptest! {
    /// Whatever the order of publishing and reading: events and ranges together are what matched, in order.
    #[test]
    fn nothing_is_lost_without_being_told(
        capacity in 1_usize..6,
        steps in proptest::collection::vec(prop_oneof![Just(None), "[ab]".prop_map(Some)], 0..80),
    ) {
        let hub = Hub::new();
        let mut subscription = subscribe(&hub, &["a"], capacity);
        let mut published = Vec::new();
        let mut got = Vec::new();
        let mut offset = 0;
        let mut waiting = 0_usize;
        for step in steps {
            match step {
                Some(topic) => {
                    offset += 1;
                    hub.publish(&[event(offset, &topic)]);
                    if topic == "a" {
                        published.push(offset);
                        waiting += 1;
                    }
                }
                None => got.extend(subscription.try_next()),
            }
        }
        prop_assert!(waiting == published.len());
        while let Some(delivery) = subscription.try_next() {
            got.push(delivery);
        }
        let mut expected = published.iter().copied();
        for delivery in got {
            match delivery {
                Delivery::Event(event) => prop_assert_eq!(Some(event.offset), expected.next()),
                Delivery::Lagged { from, to } => {
                    prop_assert_eq!(Some(from), expected.next());
                    let mut last = from;
                    while last < to {
                        last = expected.next().unwrap_or(u64::MAX);
                    }
                    prop_assert_eq!(last, to);
                }
            }
        }
        prop_assert_eq!(expected.next(), None);
    }
}

fn subscribe(hub: &Hub, patterns: &[&str], capacity: usize) -> Subscription {
    hub.subscribe(patterns, None, capacity).unwrap_or_else(|error| panic!("{error}"))
}

fn take(subscription: &mut Subscription, count: usize) -> String {
    let deliveries = std::iter::from_fn(|| subscription.try_next()).take(count);
    let texts = deliveries.map(|delivery| match delivery {
        Delivery::Event(event) => event.offset.to_string(),
        Delivery::Lagged { from, to } => format!("{from}-{to}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn rest(subscription: &mut Subscription) -> String {
    take(subscription, usize::MAX)
}

fn event(offset: u64, topic: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId::from_u128(u128::from(offset)),
        topic: topic.to_owned(),
        ts: Timestamp(offset),
        offset,
        epoch: "e".into(),
        seq: offset,
        workspace_id: None,
        lane_id: None,
        task_id: None,
        session_id: None,
        actor: Actor::lanes(),
        correlation_id: CorrelationId::from_u128(1),
        causation_id: None,
        schema: SCHEMA,
        payload: json!({}),
    })
}
