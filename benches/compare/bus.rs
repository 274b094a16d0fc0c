//! The bus on its memory journal beside `tokio::sync::broadcast`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lanes::bus::{Actor, Bus, Call, Context, Delivery, Event, Handler, Hub, MemoryJournal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Comparison, Line, median, percentile, rate};

/// Events of one round to one subscriber.
const EVENTS: u64 = 200_000;
/// Events of one round to fifty subscribers; the next is published when all have the last.
const FAN_OUT_EVENTS: u64 = 1_000;
const FAN_OUT: usize = 50;
/// Requests of one round.
const REQUESTS: u64 = 5_000;
const CAPACITY: usize = 65_536;
/// How often the publisher lets the reader have the thread.
const YIELD_EVERY: u64 = 256;

pub(super) fn run(rounds: usize, rest: &[String]) -> Result<Comparison, String> {
    if let Some(unknown) = rest.first() {
        return Err(format!("bus does not know {unknown:?}"));
    }
    let runtime = Runtime::new().map_err(|error| format!("could not start a runtime: {error}"))?;
    let line = |what: &str, unit, more_is_better| Line {
        what: what.to_owned(),
        unit,
        ours: vec![],
        theirs: vec![],
        more_is_better,
    };
    let mut one = line("publish to one subscriber", "events/s", true);
    let mut given = line("hand the same event on (hub only)", "events/s", true);
    let mut middle = line("fan-out to 50 waiting, p50 of a round", "us", false);
    let mut tail = line("fan-out to 50 waiting, p95 of a round", "us", false);
    // One request causes all the events, on both sides.
    let context = Context::new(Actor::lanes());
    let make_one = |number| make(&context, number);
    // Both are made once and filled once, so that no round pays for fresh memory.
    let (bus, _hub) = bus();
    let (sender, _first) = broadcast::channel(CAPACITY);
    runtime.block_on(ours_to_one(&bus));
    runtime.block_on(theirs_to_one(&sender, make_one));
    let mut asked = line("a request is answered, p50 of a round", "us", false);
    let mut asked_tail = line("a request is answered, p95 of a round", "us", false);
    for _ in 0..rounds {
        one.ours.push(rate(EVENTS, runtime.block_on(ours_to_one(&bus))));
        one.theirs.push(rate(EVENTS, runtime.block_on(theirs_to_one(&sender, make_one))));
        given.ours.push(rate(EVENTS, runtime.block_on(hub_to_one())));
        let made = make_one(0);
        given
            .theirs
            .push(rate(EVENTS, runtime.block_on(theirs_to_one(&sender, move |_number| made.clone()))));
        let (ours, theirs) = (runtime.block_on(ours_to_fifty()), runtime.block_on(theirs_to_fifty()));
        middle.ours.push(median(&ours));
        middle.theirs.push(median(&theirs));
        tail.ours.push(percentile_95(&ours));
        tail.theirs.push(percentile_95(&theirs));
        let (ours, theirs) = (runtime.block_on(our_answers()), runtime.block_on(their_answers()));
        asked.ours.push(median(&ours));
        asked.theirs.push(median(&theirs));
        asked_tail.ours.push(percentile_95(&ours));
        asked_tail.theirs.push(percentile_95(&theirs));
    }
    Ok(Comparison {
        subject: "bus",
        ours: "lanes::bus::Bus on a MemoryJournal".to_owned(),
        theirs: "tokio::sync::broadcast with an Arc of the same event; for requests mpsc and oneshot".to_owned(),
        lines: vec![one, given, middle, tail, asked, asked_tail],
        file_system: None,
        not_comparable: [
            "broadcast has no journal, ids, offsets, seqs, validation or topics: the first line builds B's event \
             (an id, a time, a payload) but numbers and keeps nothing",
            "a lagging receiver of broadcast learns how many it missed, not which, and cannot read them again",
            "a receiver of broadcast gets everything and filters by itself; a subscription gets what it wants",
            "a request over mpsc and oneshot has no method, deadline, depth, correlation or panic barrier",
        ]
        .map(str::to_owned)
        .to_vec(),
    })
}

fn bus() -> (Bus, Hub) {
    let hub = Hub::new();
    (Bus::new(Arc::new(MemoryJournal::with_capacity(hub.clone(), CAPACITY)), hub.clone()), hub)
}

/// An event as somebody would build it who has no bus.
fn make(context: &Context, number: u64) -> Arc<Event> {
    Arc::new(Event {
        id: lanes::ids::EventId::generate(),
        topic: "bench.published".to_owned(),
        ts: lanes::clock::now(),
        offset: number,
        epoch: String::new(),
        seq: number,
        workspace_id: None,
        lane_id: None,
        task_id: None,
        session_id: None,
        actor: context.actor.clone(),
        correlation_id: context.correlation_id,
        causation_id: None,
        schema: lanes::bus::SCHEMA,
        payload: json!({ "number": number }),
    })
}

async fn ours_to_one(bus: &Bus) -> Duration {
    let reading = read_ours(bus, EVENTS);
    let context = Context::new(Actor::lanes());
    let start = Instant::now();
    for number in 0..EVENTS {
        let draft = context.draft("bench.published", json!({ "number": number }));
        bus.publish(draft).await.expect("published");
        if number % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    reading.await.expect("read");
    start.elapsed()
}

async fn hub_to_one() -> Duration {
    let (bus, hub) = bus();
    let reading = read_ours(&bus, EVENTS);
    let made = make(&Context::new(Actor::lanes()), 1);
    let start = Instant::now();
    for number in 0..EVENTS {
        hub.publish(std::slice::from_ref(&made));
        if number % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    // What the reader was too slow for is told as one range of the same offset; the end of the hub ends it.
    bus.close();
    reading.await.expect("read");
    start.elapsed()
}

fn read_ours(bus: &Bus, count: u64) -> tokio::task::JoinHandle<()> {
    let mut subscription = bus.subscribe(&["bench.*"], None, CAPACITY).expect("open");
    tokio::spawn(async move {
        let mut seen = 0;
        while seen < count {
            match subscription.next().await {
                Some(Delivery::Event(_event)) => seen += 1,
                Some(Delivery::Lagged { from, to }) => seen += to - from + 1,
                None => return,
            }
        }
    })
}

async fn theirs_to_one(sender: &broadcast::Sender<Arc<Event>>, make: impl Fn(u64) -> Arc<Event>) -> Duration {
    let mut receiver = sender.subscribe();
    let reading = tokio::spawn(async move {
        let mut seen = 0;
        while seen < EVENTS {
            match receiver.recv().await {
                Ok(_event) => seen += 1,
                Err(broadcast::error::RecvError::Lagged(missed)) => seen += missed,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    let start = Instant::now();
    for number in 0..EVENTS {
        sender.send(make(number)).expect("sent");
        if number % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    reading.await.expect("read");
    start.elapsed()
}

/// Microseconds from the publish until all fifty have said that they have it, for each event.
async fn ours_to_fifty() -> Vec<f64> {
    let (bus, _hub) = bus();
    let (told, heard) = mpsc::channel(FAN_OUT);
    let mut readers = JoinSet::new();
    for _ in 0..FAN_OUT {
        let mut subscription = bus.subscribe(&["bench.*"], None, 1024).expect("open");
        let told = told.clone();
        readers.spawn(
            async move { while subscription.next().await.is_some() && told.send(()).await.is_ok() {} },
        );
    }
    let context = Context::new(Actor::lanes());
    measure(heard, async |number| {
        bus.publish(context.draft("bench.published", json!({ "number": number }))).await.expect("published");
    })
    .await
}

async fn theirs_to_fifty() -> Vec<f64> {
    let (sender, _first) = broadcast::channel::<Arc<Event>>(1024);
    let (told, heard) = mpsc::channel(FAN_OUT);
    let mut readers = JoinSet::new();
    for _ in 0..FAN_OUT {
        let mut receiver = sender.subscribe();
        let told = told.clone();
        readers.spawn(async move { while receiver.recv().await.is_ok() && told.send(()).await.is_ok() {} });
    }
    let context = Context::new(Actor::lanes());
    measure(heard, async |number| {
        sender.send(make(&context, number)).expect("sent");
    })
    .await
}

async fn measure(mut heard: mpsc::Receiver<()>, publish: impl AsyncFn(u64)) -> Vec<f64> {
    let mut took = Vec::with_capacity(FAN_OUT_EVENTS as usize);
    for number in 0..FAN_OUT_EVENTS {
        let start = Instant::now();
        publish(number).await;
        for _ in 0..FAN_OUT {
            heard.recv().await.expect("heard");
        }
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    took
}

/// Microseconds of each of many requests, one after the other.
async fn our_answers() -> Vec<f64> {
    let (bus, _hub) = bus();
    let echo: Handler = Arc::new(|params, _context| Box::pin(async move { Ok(params) }));
    bus.register("bench.echo", echo).expect("free");
    let context = Context::new(Actor::lanes());
    let mut took = Vec::with_capacity(REQUESTS as usize);
    for number in 0..REQUESTS {
        let call = Call {
            method: "bench.echo".to_owned(),
            params: json!({ "number": number }),
            context: context.clone(),
            timeout: Some(Duration::from_secs(1)),
        };
        let start = Instant::now();
        let _echo = bus.dispatch(call).await.expect("answered");
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    took
}

async fn their_answers() -> Vec<f64> {
    let (ask, mut asked) = mpsc::channel::<(Value, oneshot::Sender<Value>)>(FAN_OUT);
    let answering = tokio::spawn(async move {
        while let Some((params, reply)) = asked.recv().await {
            let _asker_left = reply.send(params);
        }
    });
    let mut took = Vec::with_capacity(REQUESTS as usize);
    for number in 0..REQUESTS {
        let params = json!({ "number": number });
        let start = Instant::now();
        let (reply, answer) = oneshot::channel();
        ask.send((params, reply)).await.expect("asked");
        let _echo = answer.await.expect("answered");
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    drop(ask);
    answering.await.expect("ended");
    took
}

fn percentile_95(values: &[f64]) -> f64 {
    percentile(values, 95)
}
