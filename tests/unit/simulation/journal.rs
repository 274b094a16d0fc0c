//! A journal that outlives the runtime: a batch is written whole or not at all, may fail, and may be the last
//! thing that happens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lanes::bus::{Batch, BoxFuture, Event, Hub, Journal, MemoryJournal, Page, Query, Snapshot, Table};
use lanes::failure::{Code, Failure};
use lanes::lanes::lane::Stage;
use serde_json::Value;

use super::sim::{Planted, Sim, State};

/// What is durable.
struct Durable {
    memory: MemoryJournal,
    hub: Hub,
    /// Every batch, so that the end of them can be taken away.
    log: Vec<Batch>,
    /// Batches that were acknowledged, and those that are written.
    acknowledged: BTreeSet<u64>,
    written: BTreeSet<u64>,
    next: u64,
}

/// The journal of a simulated world.
#[derive(Clone)]
pub struct SimJournal {
    sim: Sim,
    durable: Arc<Mutex<Durable>>,
}

impl SimJournal {
    pub fn new(sim: Sim) -> Self {
        let hub = Hub::new();
        let durable = Durable {
            memory: MemoryJournal::new(hub.clone()),
            hub,
            log: Vec::new(),
            acknowledged: BTreeSet::new(),
            written: BTreeSet::new(),
            next: 0,
        };
        Self { sim, durable: Arc::new(Mutex::new(durable)) }
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, Durable> {
        self.durable.lock().expect("nobody panics while holding it")
    }

    pub fn hub(&self) -> Hub {
        self.durable().hub.clone()
    }

    /// The machine takes the newest batches with it; all of them are the loss of the store.
    pub fn set_back(&self, keep: usize) {
        let mut durable = self.durable();
        durable.log.truncate(keep);
        durable.hub = Hub::new();
        durable.memory = MemoryJournal::new(durable.hub.clone());
        (durable.acknowledged, durable.written) = Default::default();
        let memory = durable.memory.clone();
        let mut state = self.sim.lock();
        state.recorded.clear();
        state.unended.clear();
        for batch in &durable.log {
            record(&mut state, batch);
            let _at_once = now(memory.append(batch.clone()));
        }
    }

    pub fn batches(&self) -> usize {
        self.durable().log.len()
    }

    /// Everything, in order.
    pub fn events(&self) -> Vec<Arc<Event>> {
        let memory = self.durable().memory.clone();
        let query = Query { limit: usize::MAX, ..Query::default() };
        now(memory.read(query)).expect("it reads").events
    }

    /// Something that was acknowledged and is not there.
    pub fn forgotten(&self) -> Option<u64> {
        let durable = self.durable();
        durable.acknowledged.difference(&durable.written).next().copied()
    }

    fn write(&self, number: u64, batch: Batch) -> Vec<Arc<Event>> {
        let mut durable = self.durable();
        durable.log.push(batch.clone());
        durable.written.insert(number);
        let memory = durable.memory.clone();
        drop(durable);
        {
            let mut state = self.sim.lock();
            for event in &batch.events {
                state.counts.events += 1;
                state.note(|| format!("    {} {}", event.topic, event.payload));
            }
            record(&mut state, &batch);
        }
        now(memory.append(batch)).expect("memory takes it")
    }

    async fn take(self, batch: Batch) -> Result<Vec<Arc<Event>>, Failure> {
        let number = {
            let mut durable = self.durable();
            durable.next += 1;
            durable.next
        };
        if self.sim.lock().planted == Some(Planted::AckBeforeJournal) {
            let scratch = MemoryJournal::new(Hub::new());
            let events = scratch.append(batch.clone()).await?;
            self.durable().acknowledged.insert(number);
            let later = self.clone();
            tokio::spawn(async move {
                later.sim.sure_step().await;
                later.write(number, batch);
            });
            return Ok(events);
        }
        if self.sim.step("writing to the store").await.is_err() {
            return Err(Failure::new(Code::Io, "the store cannot be written"));
        }
        let events = self.write(number, batch);
        // Written, and nobody is told: the machine may stop here too.
        self.sim.sure_step().await;
        self.durable().acknowledged.insert(number);
        Ok(events)
    }
}

/// Keeps what the checks need of a batch.
fn record(state: &mut State, batch: &Batch) {
    for write in &batch.writes {
        match (write.table, &write.body) {
            (Table::Lanes, Some(body)) => {
                let id = write.key.parse().expect("a lane");
                let lane = serde_json::from_value(body["state"].clone()).expect("a state");
                if state.recorded.insert(id, lane).is_none() {
                    state.counts.lanes += 1;
                }
            }
            (Table::Tasks, body) => {
                let id = write.key.parse().expect("a task");
                let read = |key: &str| body.as_ref().map(|body| body[key].clone()).unwrap_or_default();
                let stage: Option<Stage> = serde_json::from_value(read("stage")).ok();
                if stage.is_some_and(|stage| stage != Stage::Ended) {
                    let lane = serde_json::from_value(read("lane_id")).expect("a lane");
                    state.unended.insert(id, lane);
                } else {
                    state.unended.remove(&id);
                }
            }
            (
                Table::Lanes
                | Table::Workspaces
                | Table::Plans
                | Table::Trash
                | Table::Requests
                | Table::Meta,
                _body,
            ) => {}
        }
    }
}

/// What a future that is ready has.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("memory never waits"),
    }
}

impl Journal for SimJournal {
    fn append(&self, batch: Batch) -> BoxFuture<'static, Result<Vec<Arc<Event>>, Failure>> {
        Box::pin(self.clone().take(batch))
    }

    fn read(&self, query: Query) -> BoxFuture<'static, Result<Page, Failure>> {
        self.durable().memory.read(query)
    }

    fn snapshot(&self, tables: Vec<Table>) -> BoxFuture<'static, Result<Snapshot, Failure>> {
        self.durable().memory.snapshot(tables)
    }

    fn get(&self, table: Table, key: String) -> BoxFuture<'static, Result<Option<Value>, Failure>> {
        self.durable().memory.get(table, key)
    }

    fn head(&self) -> (u64, String) {
        self.durable().memory.head()
    }
}
