//! Lanes: one transition through its owner, and a real lane from create to cleanup.

#[path = "../tests/support/quiet.rs"]
mod quiet;
#[path = "../tests/support/records.rs"]
mod records;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lanes::api::Create;
use lanes::bus::{Actor, Bus, Context, Hub, Journal, MemoryJournal};
use lanes::clock::Timestamp;
use lanes::ids::{LaneId, WorkspaceId};
use lanes::lanes::lane::Lane;
use lanes::lanes::machine::{self, Input};
use lanes::lanes::table::State;
use lanes::lanes::{Handle, Registry, World};
use lanes::runtime::Options;
use lanes::store::Store;
use lanes::task::KeeperChoice;
use quiet::Quiet;
use tokio::runtime::Runtime;

/// Lanes that change side by side.
const LANES: u64 = 50;
/// Files of the repository that real lanes are made of.
const FILES: usize = 300;

fn lanes(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    decide(criterion);
    transitions(criterion, &runtime, "in memory", &|hub| Arc::new(MemoryJournal::new(hub)));
    transitions(criterion, &runtime, "on disk", &|hub| {
        let file = folder.path().join(format!("{}.db", next()));
        Arc::new(Store::open(&file, hub).expect("a store").0)
    });
    real(criterion, &runtime);
}

fn decide(criterion: &mut Criterion) {
    let order = records::order(LaneId::generate(), "lane", WorkspaceId::generate());
    let new = Lane::new(order, "/r".into(), "/r/.git".into(), Timestamp(1));
    criterion.bench_function("lanes/a transition is decided", |bencher| {
        bencher.iter(|| machine::apply(&new, Input::Create, Timestamp(2)));
    });
}

fn transitions(
    criterion: &mut Criterion,
    runtime: &Runtime,
    where_: &str,
    journal: &dyn Fn(Hub) -> Arc<dyn Journal>,
) {
    let _inside = runtime.enter();
    let hub = Hub::new();
    let bus = Bus::new(journal(hub.clone()), hub);
    let registry = Registry::new(bus, Arc::new(Quiet::default()) as Arc<dyn World>);
    let workspace = WorkspaceId::generate();
    let ready: Vec<Handle> =
        (0..LANES).map(|number| runtime.block_on(lane(&registry, workspace, number))).collect();
    let mut group = criterion.benchmark_group("lanes");
    group.sample_size(20).throughput(Throughput::Elements(2));
    group.bench_function(format!("two transitions of one lane, {where_}"), |bencher| {
        bencher.to_async(runtime).iter(|| there_and_back(ready[0].clone()));
    });
    group.throughput(Throughput::Elements(2 * LANES));
    group.bench_function(format!("two transitions of each of 50 lanes at once, {where_}"), |bencher| {
        bencher.to_async(runtime).iter(|| {
            let all: tokio::task::JoinSet<()> = ready.iter().cloned().map(there_and_back).collect();
            all.join_all()
        });
    });
    group.finish();
    runtime.block_on(registry.stop());
}

async fn lane(registry: &Registry, workspace: WorkspaceId, number: u64) -> Handle {
    let (id, name) = (LaneId::generate(), format!("lane-{number}"));
    let reservation = registry.reserve(workspace, &name, id, 50).expect("there is a place");
    let order = records::order(id, &name, workspace);
    let lane = Lane::new(order, "/r".into(), "/r/.git".into(), Timestamp(1));
    let handle = registry.own(lane, reservation, Vec::new());
    handle.apply(Input::Create, context()).await.expect("begun");
    handle.left(State::Provisioning).await.expect("ready");
    handle
}

async fn there_and_back(handle: Handle) {
    handle.apply(Input::Share, context()).await.expect("shared");
    handle.apply(Input::Unshare, context()).await.expect("unshared");
}

/// Real git, real trees, the store on the disk; what the background does afterwards is not waited for.
fn real(criterion: &mut Criterion, runtime: &Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let repo = repository(folder.path());
    let mut options = Options::new(folder.path().join("home"), KeeperChoice::InProcess);
    options.serve = false;
    let lanes = runtime.block_on(lanes::runtime::Runtime::open(options)).expect("a runtime of lanes");
    let mut group = criterion.benchmark_group("lanes");
    group.sample_size(10);
    group.bench_function(format!("a lane of {FILES} files from create to cleanup"), |bencher| {
        bencher.to_async(runtime).iter(|| async {
            let name = Some(format!("lane-{}", next()));
            let wanted = Create { cwd: repo.as_path().into(), name, ..Create::default() };
            let made = lanes.create(wanted).await.expect("made");
            lanes.close(made.lane.id, false).await.expect("closed")
        });
    });
    group.finish();
    runtime.block_on(lanes.shut_down());
}

fn repository(folder: &Path) -> PathBuf {
    let repo = folder.canonicalize().expect("it is there").join("repo");
    for number in 0..FILES {
        let path = repo.join(format!("part_{}/file_{number}.txt", number % 100));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, format!("file {number}\n").repeat(number)).expect("written");
    }
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"];
    let commit = [&who[..], &["commit", "--quiet", "-m", "first"]].concat();
    for arguments in [vec!["init", "--quiet", "--initial-branch=main"], vec!["add", "-A"], commit] {
        let done = Command::new("git").arg("-C").arg(&repo).args(arguments).status().expect("git runs");
        assert!(done.success(), "git could not make a repository");
    }
    repo
}

fn context() -> Context {
    Context::new(Actor::user())
}

/// A number nobody had before.
fn next() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

criterion_group!(benches, lanes);
criterion_main!(benches);
