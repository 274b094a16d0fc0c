//! Events and requests through the bus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lanes::bus::{
    Actor, Batch, Bus, Call, Context, Delivery, Handler, Hub, MemoryJournal, Query, Subscription,
};
use lanes::store::Store;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How many publishers write at once in the durable bench.
const PUBLISHERS: u64 = 64;
const FAN_OUT: usize = 50;

fn bus(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    publish(criterion, &runtime);
    fan_out(criterion, &runtime);
    dispatch(criterion, &runtime);
    replay(criterion, &runtime);
    durable(criterion, &runtime);
}

fn publish(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("bus");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an event in memory reaches its one subscriber", |bencher| {
        let bus = in_memory();
        let context = context();
        bencher.to_async(runtime).iter_custom(|count| {
            let (bus, context) = (bus.clone(), context.clone());
            let mut subscription = subscribe(&bus);
            async move {
                let start = Instant::now();
                let reading = tokio::spawn(async move { read(&mut subscription, count).await });
                for number in 0..count {
                    bus.publish(context.draft("bench.published", payload(number))).await.expect("published");
                    if number % 256 == 255 {
                        tokio::task::yield_now().await;
                    }
                }
                reading.await.expect("read");
                start.elapsed()
            }
        });
    });
    group.finish();
}

fn fan_out(criterion: &mut Criterion, runtime: &Runtime) {
    criterion.bench_function("bus/an event reaches fifty waiting subscribers", |bencher| {
        let bus = in_memory();
        let context = context();
        bencher.to_async(runtime).iter_custom(|count| {
            let (bus, context) = (bus.clone(), context.clone());
            async move {
                let (told, mut heard) = tokio::sync::mpsc::channel(FAN_OUT);
                let mut readers = JoinSet::new();
                for _ in 0..FAN_OUT {
                    let (mut subscription, told) = (subscribe(&bus), told.clone());
                    readers.spawn(async move {
                        while subscription.next().await.is_some() && told.send(()).await.is_ok() {}
                    });
                }
                let mut total = Duration::ZERO;
                for number in 0..count {
                    let start = Instant::now();
                    bus.publish(context.draft("bench.published", payload(number))).await.expect("published");
                    for _ in 0..FAN_OUT {
                        heard.recv().await.expect("heard");
                    }
                    total += start.elapsed();
                }
                total
            }
        });
    });
}

fn dispatch(criterion: &mut Criterion, runtime: &Runtime) {
    let bus = in_memory();
    let echo: Handler = Arc::new(|params, _context| Box::pin(async move { Ok(params) }));
    bus.register("bench.echo", echo).expect("free");
    criterion.bench_function("bus/a request reaches its handler and is answered", |bencher| {
        bencher.to_async(runtime).iter(|| {
            let bus = bus.clone();
            async move {
                let method = "bench.echo".to_owned();
                let timeout = Some(Duration::from_secs(1));
                bus.dispatch(Call { method, params: payload(1), context: context(), timeout }).await
            }
        });
    });
}

fn replay(criterion: &mut Criterion, runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = on_disk(&folder);
    let events = (0..10_000).map(|number| context().draft("bench.published", payload(number))).collect();
    runtime.block_on(bus.commit(Batch { events, writes: Vec::new() })).expect("written");
    let mut group = criterion.benchmark_group("bus");
    group.throughput(Throughput::Elements(10_000)).sample_size(20);
    group.bench_function("ten thousand durable events are replayed", |bencher| {
        bencher.to_async(runtime).iter_batched(
            || bus.clone(),
            |bus| async move {
                let mut query = Query::default();
                while query.since < 10_000 {
                    query.since = bus.read(query.clone()).await.expect("read").next;
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn durable(criterion: &mut Criterion, runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = on_disk(&folder);
    let mut group = criterion.benchmark_group("bus");
    group.throughput(Throughput::Elements(PUBLISHERS * 100)).sample_size(20);
    group.bench_function("64 publishers write 100 durable events each", |bencher| {
        bencher.to_async(runtime).iter(|| {
            let bus = bus.clone();
            async move {
                let mut running = JoinSet::new();
                for _ in 0..PUBLISHERS {
                    let bus = bus.clone();
                    running.spawn(async move {
                        let context = context();
                        for number in 0..100 {
                            let draft = context.draft("bench.published", payload(number));
                            bus.publish(draft).await.expect("written");
                        }
                    });
                }
                running.join_all().await;
            }
        });
    });
    group.finish();
}

fn in_memory() -> Bus {
    let hub = Hub::new();
    Bus::new(Arc::new(MemoryJournal::with_capacity(hub.clone(), 65_536)), hub)
}

fn on_disk(folder: &tempfile::TempDir) -> Bus {
    let hub = Hub::new();
    let (store, _opened) = Store::open(folder.path().join("lanes.db"), hub.clone()).expect("opened");
    Bus::new(Arc::new(store), hub)
}

fn subscribe(bus: &Bus) -> Subscription {
    bus.subscribe(&["bench.*"], None, lanes::bus::MAX_CAPACITY).expect("open")
}

fn context() -> Context {
    Context::new(Actor::lanes())
}

fn payload(number: u64) -> Value {
    json!({ "number": number })
}

/// Reads until `count` events were told, be it as lost ones.
async fn read(subscription: &mut Subscription, count: u64) {
    let mut seen = 0;
    while seen < count {
        match subscription.next().await.expect("open") {
            Delivery::Event(_event) => seen += 1,
            Delivery::Lagged { from, to } => seen += to - from + 1,
        }
    }
}

criterion_group!(benches, bus);
criterion_main!(benches);
