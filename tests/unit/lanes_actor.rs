//! Tests of `src/lanes/actor.rs`, `handle.rs` and `registry.rs`: owners of lanes on a memory journal,
//! with a world that does what the test says.

use std::sync::Arc;
use std::time::Duration;

use lanes::bus::{Actor, Bus, Context, Hub, MemoryJournal, Query};
use lanes::clock::Timestamp;
use lanes::failure::Code;
use lanes::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::lanes::lane::{Lane, Stage, Task};
use lanes::lanes::machine::Input;
use lanes::lanes::table::State;
use lanes::lanes::{Handle, Launch, Registry, World};

use crate::quiet::Quiet;
use crate::records::{order, task};

struct Bench {
    bus: Bus,
    world: Arc<Quiet>,
    registry: Registry,
    workspace: WorkspaceId,
}

fn bench() -> Bench {
    let hub = Hub::new();
    let bus = Bus::new(Arc::new(MemoryJournal::new(hub.clone())), hub);
    let world = Arc::new(Quiet::default());
    let registry = Registry::new(bus.clone(), Arc::clone(&world) as Arc<dyn World>);
    Bench { bus, world, registry, workspace: WorkspaceId::generate() }
}

fn context() -> Context {
    Context::new(Actor::user())
}

impl Bench {
    fn lane(&self, name: &str) -> Handle {
        let id = LaneId::generate();
        let order = order(id, name, self.workspace);
        let reservation = self.registry.reserve(self.workspace, name, id, 50).expect("there is a place");
        let lane = Lane::new(order, "/r".into(), "/r/.git".into(), Timestamp(1));
        self.registry.own(lane, reservation, Vec::new())
    }

    async fn ready(&self, name: &str) -> Handle {
        let handle = self.lane(name);
        handle.apply(Input::Create, context()).await.expect("create");
        handle.left(State::Provisioning).await.expect("told").expect("provisioned");
        handle
    }

    async fn changes(&self, lane: LaneId) -> Vec<(String, String)> {
        let query =
            Query { since: 0, limit: 10_000, patterns: vec!["lane.state.changed".into()], lane: Some(lane) };
        let page = self.bus.read(query).await.expect("the journal reads");
        let word =
            |event: &lanes::bus::Event, key: &str| event.payload[key].as_str().unwrap_or_default().to_owned();
        page.events.iter().map(|event| (word(event, "from"), word(event, "to"))).collect()
    }
}

fn run(lane: &Lane) -> Task {
    task(TaskId::generate(TaskKind::Run), lane.id, lane.workspace_id())
}

/// Waits for `future`; the limit is only a safety net.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it should not take so long")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_lanes_by_eight_callers_keep_their_order_and_none_waits_for_a_stuck_one() {
    let bench = Arc::new(bench());
    let stuck = bench.lane("stuck");
    let _never_told = bench.world.hold(stuck.id());
    soon(stuck.apply(Input::Create, context())).await.expect("create");
    let mut handles = Vec::new();
    for n in 1..50 {
        handles.push(soon(bench.ready(&format!("lane-{n}"))).await);
    }
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let handles = handles.clone();
        callers.spawn(async move {
            for round in 0..20 {
                for handle in handles.iter().skip((caller + round) % 7).step_by(3) {
                    let input = if (caller + round) % 2 == 0 { Input::Share } else { Input::Unshare };
                    match handle.apply(input, context()).await {
                        Ok(_) => {}
                        Err(refusal) => assert!(matches!(refusal.code, Code::InvalidTransition | Code::Busy)),
                    }
                }
            }
        });
    }
    soon(async { while callers.join_next().await.transpose().expect("no caller panics").is_some() {} }).await;
    for handle in &handles {
        let changes = bench.changes(handle.id()).await;
        for pair in changes.windows(2) {
            assert_eq!(pair[0].1, pair[1].0, "each transition starts where the one before ended");
        }
        assert_eq!(changes.last().map(|(_from, to)| to.as_str()), Some(handle.lane().state().name()));
    }
    assert_eq!(stuck.lane().state(), State::Provisioning);
}

#[tokio::test]
async fn the_place_after_the_last_is_refused_and_freed_by_closing() {
    let bench = bench();
    let mut handles = Vec::new();
    for n in 0..50 {
        handles.push(bench.lane(&format!("lane-{n}")));
    }
    let full = bench.registry.reserve(bench.workspace, "more", LaneId::generate(), 50).map(drop);
    assert_eq!(full.expect_err("full").code, Code::AtCapacity);
    let other = bench.registry.reserve(WorkspaceId::generate(), "more", LaneId::generate(), 50);
    assert!(other.is_ok(), "another workspace has places of its own");
    handles[0].apply(Input::Cleanup { force: false }, context()).await.expect("cleanup of a new lane");
    soon(handles[0].ended()).await;
    assert!(bench.registry.reserve(bench.workspace, "more", LaneId::generate(), 50).is_ok());
}

#[tokio::test]
async fn a_name_is_taken_without_regard_to_case_until_its_lane_is_closed() {
    let bench = bench();
    let handle = bench.ready("Alpha").await;
    let taken = bench.registry.reserve(bench.workspace, "alpha", LaneId::generate(), 50).map(drop);
    assert_eq!(taken.expect_err("taken").code, Code::NameTaken);
    handle.apply(Input::Cleanup { force: false }, context()).await.expect("cleanup");
    soon(handle.ended()).await;
    assert!(bench.registry.reserve(bench.workspace, "alpha", LaneId::generate(), 50).is_ok());
}

#[tokio::test]
async fn cleanup_while_a_command_runs_starts_at_once() {
    let bench = bench();
    let handle = bench.ready("a").await;
    let task = run(&handle.lane());
    soon(handle.start(task.clone(), Launch::default(), context())).await.expect("start");
    assert_eq!(handle.lane().state(), State::Running);
    handle.apply(Input::Cleanup { force: false }, context()).await.expect("cleanup");
    let lane = soon(handle.ended()).await;
    assert_eq!(lane.state(), State::Closed);
    assert_eq!(lane.tasks[&task.id].stage, Stage::Ended);
    assert!(lane.tasks[&task.id].exit.is_some(), "the exit is written down, late or not");
}

#[tokio::test]
async fn two_callers_of_cleanup_get_one_cleanup_and_a_failed_one_is_resumed() {
    let bench = bench();
    let handle = bench.ready("a").await;
    bench.world.failures.lock().expect("not poisoned").insert(handle.id(), 1);
    let (one, two) = tokio::join!(
        handle.apply(Input::Cleanup { force: false }, context()),
        handle.apply(Input::Cleanup { force: false }, context())
    );
    assert!(one.is_ok() && two.is_ok());
    soon(handle.until(|lane| lane.cleanup_failure.clone())).await.expect("it failed");
    assert_eq!(handle.lane().state(), State::Cleaning);
    assert_eq!(bench.world.times_cleaned(handle.id()), 1);
    handle.apply(Input::Cleanup { force: false }, context()).await.expect("again");
    assert_eq!(soon(handle.ended()).await.state(), State::Closed);
    assert_eq!(bench.world.times_cleaned(handle.id()), 2);
}

#[tokio::test]
async fn cleanup_while_provisioning_is_taken_when_the_tree_is_there() {
    let bench = bench();
    let handle = bench.lane("a");
    let go = bench.world.hold(handle.id());
    let (create, cleanup) = (context(), context());
    handle.apply(Input::Create, create.clone()).await.expect("create");
    let lane = handle.apply(Input::Cleanup { force: false }, cleanup.clone()).await.expect("pending");
    assert!(lane.cleanup_pending);
    go.notify_one();
    assert_eq!(soon(handle.ended()).await.state(), State::Closed);
    let states: Vec<String> = bench.changes(handle.id()).await.into_iter().map(|(_from, to)| to).collect();
    assert_eq!(states, ["provisioning", "provisioning", "ready", "cleaning", "closed"]);
    let page = bench.bus.read(Query::default()).await.expect("the journal reads");
    let changes = page.events.iter().filter(|event| event.topic == "lane.state.changed");
    let causes: Vec<_> = changes.map(|event| event.correlation_id).collect();
    let (create, cleanup) = (create.correlation_id, cleanup.correlation_id);
    assert_eq!(causes, [create, cleanup, create, cleanup, cleanup]);
}

#[tokio::test]
async fn every_event_carries_the_correlation_of_the_request_that_caused_it() {
    let bench = bench();
    let handle = bench.lane("a");
    let (create, start, cleanup) = (context(), context(), context());
    handle.apply(Input::Create, create.clone()).await.expect("create");
    handle.left(State::Provisioning).await.expect("told").expect("provisioned");
    let task = run(&handle.lane());
    handle.start(task.clone(), Launch::default(), start.clone()).await.expect("start");
    bench.world.end(task.id);
    soon(handle.until(|lane| (lane.state() == State::Ready).then_some(()))).await.expect("ready again");
    handle.apply(Input::Cleanup { force: false }, cleanup.clone()).await.expect("cleanup");
    soon(handle.ended()).await;
    let page = bench.bus.read(Query::default()).await.expect("the journal reads");
    let caused = |context: &Context| -> Vec<&str> {
        page.events
            .iter()
            .filter(|event| event.correlation_id == context.correlation_id)
            .map(|event| event.topic.as_str())
            .collect()
    };
    assert_eq!(
        caused(&create),
        ["lane.created", "lane.state.changed", "lane.state.changed", "lane.worktree.provisioned"]
    );
    let started = caused(&start);
    assert_eq!(started[..3], ["lane.state.changed", "lane.par_task.bound", "lane.command.started"]);
    assert_eq!(started[3..5], ["lane.command.completed", "lane.state.changed"]);
    let ended = caused(&cleanup);
    assert_eq!(ended, ["lane.state.changed", "lane.cleaning", "lane.state.changed", "lane.closed"]);
    let all = caused(&create).len() + started.len() + ended.len();
    assert_eq!(all, page.events.len());
}

/// A journal that takes nothing until it is told to.
#[derive(Clone)]
struct Full {
    memory: MemoryJournal,
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl lanes::bus::Journal for Full {
    fn append(
        &self,
        batch: lanes::bus::Batch,
    ) -> lanes::bus::BoxFuture<'static, Result<Vec<Arc<lanes::bus::Event>>, lanes::failure::Failure>> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Box::pin(async { Err(lanes::failure::Failure::new(Code::DiskLow, "the disk is full")) });
        }
        self.memory.append(batch)
    }
    fn read(
        &self,
        query: Query,
    ) -> lanes::bus::BoxFuture<'static, Result<lanes::bus::Page, lanes::failure::Failure>> {
        self.memory.read(query)
    }
    fn snapshot(
        &self,
        tables: Vec<lanes::bus::Table>,
    ) -> lanes::bus::BoxFuture<'static, Result<lanes::bus::Snapshot, lanes::failure::Failure>> {
        self.memory.snapshot(tables)
    }
    fn get(
        &self,
        table: lanes::bus::Table,
        key: String,
    ) -> lanes::bus::BoxFuture<'static, Result<Option<serde_json::Value>, lanes::failure::Failure>> {
        self.memory.get(table, key)
    }
    fn head(&self) -> (u64, String) {
        self.memory.head()
    }
}

/// A bench whose journal takes nothing while the switch is on.
fn bench_that_fills() -> (Bench, Arc<std::sync::atomic::AtomicBool>) {
    let hub = Hub::new();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let journal = Full { memory: MemoryJournal::new(hub.clone()), full: Arc::clone(&full) };
    let bus = Bus::new(Arc::new(journal), hub);
    let world = Arc::new(Quiet::default());
    let registry = Registry::new(bus.clone(), Arc::clone(&world) as Arc<dyn World>);
    (Bench { bus, world, registry, workspace: WorkspaceId::generate() }, full)
}

#[tokio::test(start_paused = true)]
async fn what_a_full_journal_cannot_take_waits_and_whoever_waits_for_it_is_told() {
    let (bench, full) = bench_that_fills();
    let full = |is: bool| full.store(is, std::sync::atomic::Ordering::Relaxed);
    let handle = bench.lane("a");
    let made = bench.world.hold(handle.id());
    handle.apply(Input::Create, context()).await.expect("create");
    full(true);
    made.notify_one();
    let told = handle.left(State::Provisioning).await.expect_err("it cannot be written down");
    let hint = told.hint.unwrap_or_default();
    assert!(told.code == Code::DiskLow && hint.contains("goes on by itself"), "{hint}");
    // Requests are answered meanwhile.
    let refused = handle.apply(Input::Share, context()).await.expect_err("it is not ready");
    assert_eq!(refused.code, Code::InvalidTransition);
    full(false);
    let ready = |lane: &Lane| (lane.state() == State::Ready).then_some(());
    handle.until(ready).await.expect("it goes on by itself");
    // A command that runs does so whether it can be written down or not, and its end is not forgotten.
    let task = run(&handle.lane());
    let id = task.id;
    let started = handle.start(task, Launch::default(), context());
    started.await.expect("it runs");
    full(true);
    bench.world.end(id);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(handle.lane().tasks[&id].stage, Stage::Live);
    full(false);
    // Who asks as soon as there is room does not hear of the trouble before.
    handle.apply(Input::Share, context()).await.expect("there is room");
    let ended = |lane: &Lane| lane.tasks[&id].exit.is_some().then_some(());
    let written = handle.until_told(ended).await.expect("nothing is stuck");
    written.expect("it is written down");
}

#[tokio::test]
async fn a_lane_that_could_not_be_written_down_frees_its_name() {
    let (bench, full) = bench_that_fills();
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    let handle = bench.lane("a");
    let refused = handle.apply(Input::Create, context()).await.expect_err("the disk is full");
    assert_eq!(refused.code, Code::DiskLow);
    soon(handle.ended()).await;
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(soon(bench.ready("a")).await.lane().state(), State::Ready);
}
