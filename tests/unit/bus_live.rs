//! Tests of `src/bus/live.rs` and `src/bus/methods.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lanes::bus::{
    Actor, Batch, Bus, BusError, Call, Context, Delivery, Handler, Hub, MAX_DEPTH, MAX_IN_FLIGHT,
    MAX_PAYLOAD, MemoryJournal, Query, Table, Write,
};
use lanes::failure::{Code, Failure};
use lanes::ids::CorrelationId;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The code that a call answers.
async fn check(bus: &Bus, call: Call, expected: Code) -> Failure {
    let method = call.method.clone();
    let failure = bus.dispatch(call).await.expect_err("invariant: this call is refused");
    assert_eq!(failure.code, expected, "{method}: {failure}");
    failure
}

#[tokio::test]
async fn a_call_reaches_its_handler_and_answers() {
    let bus = bus();
    register(&bus, "echo", |params, _context| async move { Ok(params) });
    assert_eq!(bus.dispatch(call("echo", json!([1]))).await, Ok(json!([1])));
    assert_eq!(bus.methods(), ["echo"]);
}

#[test]
fn a_method_has_one_handler() {
    let bus = bus();
    register(&bus, "a.b", |params, _context| async move { Ok(params) });
    let again: Handler = Arc::new(|_params, _context| Box::pin(async { Ok(Value::Null) }));
    assert_eq!(bus.register("a.b", again.clone()), Err(BusError::Register { method: "a.b" }));
    assert_eq!(bus.register("A", again), Err(BusError::Method { method: "A".into() }));
}

#[tokio::test]
async fn a_malformed_call_never_reaches_a_handler() {
    let bus = bus();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    register(&bus, "count", move |_params, _context| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(Value::Null) }
    });
    for method in ["", "Count", "count ", "../count", "count\n", ".count"] {
        check(&bus, call(method, Value::Null), Code::ValidationError).await;
    }
    let large = Value::String("x".repeat(MAX_PAYLOAD));
    check(&bus, call("count", large), Code::ValidationError).await;
    let deep = Call { context: Context { depth: MAX_DEPTH, ..context() }, ..call("count", Value::Null) };
    check(&bus, deep, Code::ValidationError).await;
    check(&bus, call("nothing", Value::Null), Code::MethodNotFound).await;
    assert_eq!(reached.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_payload_of_exactly_the_cap_passes() {
    let bus = bus();
    register(&bus, "len", |params, _context| async move { Ok(json!(params.to_string().len())) });
    let largest = Value::String("x".repeat(MAX_PAYLOAD - 2));
    assert_eq!(bus.dispatch(call("len", largest)).await, Ok(json!(MAX_PAYLOAD)));
}

#[tokio::test]
async fn a_malformed_draft_is_refused_with_all_of_its_batch() {
    let bus = bus();
    let good = context().draft("a", json!({}));
    for bad in [
        context().draft("A", json!({})),
        context().draft("a.", json!({})),
        context().draft("a", json!("text")),
        context().draft("a", json!({ "large": "x".repeat(MAX_PAYLOAD) })),
    ] {
        let writes = vec![Write::put(Table::Meta, "k", &1)];
        let refused = bus.commit(Batch { events: vec![good.clone(), bad], writes }).await;
        assert_eq!(refused.map(|_events| ()).map_err(|failure| failure.code), Err(Code::ValidationError));
    }
    assert_eq!(bus.head().0, 0);
    assert_eq!(bus.get(Table::Meta, "k").await, Ok(None));
}

#[tokio::test]
async fn a_handler_that_panics_is_an_error_without_its_reason() {
    let bus = bus();
    register(&bus, "late", |_params, _context| async move { panic!("at /secret/path") });
    let early: Handler = Arc::new(|_params, _context| panic!("at /secret/path"));
    bus.register("early", early).expect("invariant: free");
    for method in ["late", "early"] {
        let failure = check(&bus, call(method, Value::Null), Code::HandlerError).await;
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    register(&bus, "fine", |_params, _context| async { Ok(json!(1)) });
    assert_eq!(bus.dispatch(call("fine", Value::Null)).await, Ok(json!(1)));
}

#[tokio::test]
async fn a_failure_of_the_handler_is_passed_on() {
    let bus = bus();
    register(&bus, "busy", |_params, _context| async { Err(Failure::new(Code::LaneBusy, "one at a time")) });
    check(&bus, call("busy", Value::Null), Code::LaneBusy).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_dropped() {
    let bus = bus();
    register(&bus, "never", |_params, _context| std::future::pending());
    let call = Call { timeout: Some(Duration::from_millis(20)), ..call("never", Value::Null) };
    let failure = check(&bus, call, Code::Timeout).await;
    assert_eq!(failure.to_string(), "never did not answer within 20ms");
    assert!(failure.retryable);
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_room_comes_back() {
    let bus = bus();
    let gate = Arc::new(Semaphore::new(0));
    let (waits, entered) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let inside = entered.clone();
    register(&bus, "wait", move |_params, _context| {
        let waits = waits.clone();
        inside.fetch_add(1, Ordering::Relaxed);
        async move {
            let _passed = waits.acquire().await.expect("invariant: open");
            Ok(Value::Null)
        }
    });
    let mut running = JoinSet::new();
    for _ in 0..MAX_IN_FLIGHT {
        let bus = bus.clone();
        running.spawn(async move { bus.dispatch(call("wait", Value::Null)).await });
    }
    while entered.load(Ordering::Relaxed) < MAX_IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    check(&bus, call("wait", Value::Null), Code::Backpressure).await;
    gate.add_permits(1);
    while let Some(ended) = running.join_next().await {
        assert_eq!(ended.expect("invariant: no panic"), Ok(Value::Null));
    }
    assert_eq!(bus.dispatch(call("wait", Value::Null)).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_circle_of_handlers_ends_at_the_depth_of_its_chain() {
    let bus = bus();
    let depths = Arc::new(AtomicUsize::new(0));
    let (inner, count) = (bus.clone(), depths.clone());
    register(&bus, "again", move |params, context| {
        count.fetch_add(1, Ordering::Relaxed);
        let bus = inner.clone();
        async move { bus.dispatch(Call { method: "again".into(), params, context, timeout: None }).await }
    });
    // Side by side: the depth is of a chain, not of the bus.
    let chains = 20;
    let mut running = JoinSet::new();
    for _ in 0..chains {
        let bus = bus.clone();
        running.spawn(async move { check(&bus, call("again", Value::Null), Code::ValidationError).await });
    }
    running.join_all().await;
    assert_eq!(depths.load(Ordering::Relaxed), chains * usize::from(MAX_DEPTH));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_commands_at_once_never_mix_their_correlation() {
    let bus = bus();
    let all = bus.subscribe(&["work.*"], None, 10_000).expect("invariant: open");
    let publisher = bus.clone();
    register(&bus, "work", move |params, context| {
        let bus = publisher.clone();
        async move {
            for step in 0..50 {
                let draft = context.draft("work.step", json!({ "of": params, "step": step }));
                bus.publish(draft).await?;
                tokio::task::yield_now().await;
            }
            Ok(json!(context.correlation_id))
        }
    });
    let mut running = JoinSet::new();
    for number in 0..20 {
        let bus = bus.clone();
        running.spawn(async move {
            let call = call("work", json!(number));
            let correlation = call.context.correlation_id;
            assert_eq!(bus.dispatch(call).await, Ok(json!(correlation)));
            (number, correlation)
        });
    }
    let asked: HashMap<i64, CorrelationId> = running.join_all().await.into_iter().collect();
    let mut all = all;
    let mut seen = 0;
    while let Some(delivery) = all.try_next() {
        let Delivery::Event(event) = delivery else { panic!("lagged") };
        let of = event.payload["of"].as_i64().expect("invariant: a number");
        assert_eq!(asked.get(&of), Some(&event.correlation_id));
        seen += 1;
    }
    assert_eq!(seen, 20 * 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_publishes_at_once_have_no_inversion() {
    let bus = bus();
    let mut subscription = bus.subscribe::<&str>(&[], None, 20_000).expect("invariant: open");
    let topics = ["a.x", "a.y", "b"];
    let mut running = JoinSet::new();
    for number in 0..10_000_usize {
        let bus = bus.clone();
        running.spawn(async move { bus.publish(context().draft(topics[number % 3], json!({}))).await });
    }
    for published in running.join_all().await {
        published.expect("invariant: memory takes it");
    }
    let mut seqs: HashMap<String, u64> = HashMap::new();
    for offset in 1..=10_000 {
        let Some(Delivery::Event(event)) = subscription.try_next() else { panic!("nothing at {offset}") };
        assert_eq!(event.offset, offset);
        let seq = seqs.entry(event.topic.clone()).or_default();
        *seq += 1;
        assert_eq!(event.seq, *seq);
    }
    assert_eq!(subscription.try_next(), None);
}

#[tokio::test]
async fn a_lag_is_told_exactly_and_replay_closes_it() {
    let bus = bus();
    let mut subscription = bus.subscribe(&["a"], None, 3).expect("invariant: open");
    for number in 0..20 {
        let topic = if number % 2 == 0 { "a" } else { "b" };
        bus.publish(context().draft(topic, json!({}))).await.expect("invariant: memory takes it");
    }
    let mut offsets = Vec::new();
    while let Some(delivery) = subscription.try_next() {
        match delivery {
            Delivery::Event(event) => offsets.push(event.offset),
            Delivery::Lagged { from, to } => {
                assert_eq!((from, to), (7, 19));
                let query = Query { since: from - 1, patterns: vec!["a".into()], ..Query::default() };
                let page = bus.read(query).await.expect("invariant: memory answers");
                offsets.extend(page.events.iter().map(|event| event.offset).filter(|offset| *offset <= to));
            }
        }
    }
    assert_eq!(offsets, (1..20).step_by(2).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_bus_answers_everybody() {
    let bus = bus();
    register(&bus, "echo", |params, _context| async move { Ok(params) });
    let mut subscription = bus.subscribe::<&str>(&[], None, 3).expect("invariant: open");
    bus.close_calls();
    check(&bus, call("echo", Value::Null), Code::DaemonDown).await;
    bus.publish(context().draft("a", json!({}))).await.expect("invariant: what is going on may commit");
    bus.close();
    let refused = bus.publish(context().draft("a", json!({}))).await;
    assert_eq!(refused.map(|_event| ()).map_err(|failure| failure.code), Err(Code::DaemonDown));
    assert!(bus.subscribe::<&str>(&[], None, 3).is_err());
    assert!(matches!(subscription.next().await, Some(Delivery::Event(_))));
    assert_eq!(subscription.next().await, None);
}

fn bus() -> Bus {
    let hub = Hub::new();
    Bus::new(Arc::new(MemoryJournal::new(hub.clone())), hub)
}

fn context() -> Context {
    Context::new(Actor::user())
}

fn call(method: &str, params: Value) -> Call {
    Call { method: method.into(), params, context: context(), timeout: None }
}

fn register<F, R>(bus: &Bus, method: &'static str, handler: F)
where
    F: Fn(Value, Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, Failure>> + Send + 'static,
{
    let handler: Handler = Arc::new(move |params, context| Box::pin(handler(params, context)));
    bus.register(method, handler).expect("invariant: the name is free");
}
