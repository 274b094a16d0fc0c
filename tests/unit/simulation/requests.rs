//! What is asked of the runtime in a simulated life, handled as `src/runtime/` handles it.

use lanes::bus::{Actor, Context};
use lanes::clock::Timestamp;
use lanes::failure::Failure;
use lanes::ids::{LaneId, SessionId, TaskId, TaskKind, WorkspaceId};
use lanes::lanes::lane::{Lane, Task};
use lanes::lanes::machine::Input;
use lanes::lanes::table::State as LaneState;
use lanes::lanes::{Handle, Launch, Registry};
use lanes::raw::Raw;
use lanes::worktree::{Base, Branch, Order};

use super::git::{Whose, oid};
use super::sim::{HOME, ROOT, Sim};
use crate::records;

/// The only workspace.
pub const WORKSPACE: WorkspaceId = WorkspaceId::from_u128(7);
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const CAPACITY: usize = 3;

/// A caller of the runtime.
#[derive(Clone)]
pub struct Caller {
    pub sim: Sim,
    pub registry: Registry,
}

fn context() -> Context {
    Context::new(Actor::user())
}

/// What a lane is to be.
pub fn order(id: LaneId, name: &str, home: &str, base: usize, branch: Branch) -> Order {
    Order {
        token: format!("token of {id}"),
        home: home.into(),
        root: ROOT.into(),
        path: Raw::from(format!("{ROOT}/{name}").as_str()),
        base: Base { rev: "main".into(), sha: oid(base), target: None },
        branch,
        lock_reason: format!("lanes {id} boot 1"),
        submodules: false,
        ..records::order(id, name, WORKSPACE)
    }
}

impl Caller {
    /// One request, chosen now; its future may be waited for or left.
    pub fn ask(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let open: Vec<String> = self.registry.all().iter().map(|one| one.lane().name().to_owned()).collect();
        let (choice, name) = {
            let mut state = self.sim.lock();
            state.counts.requests += 1;
            let choice = state.rng.below(100);
            let any = NAMES[state.rng.below(NAMES.len())].to_owned();
            let name = if choice < 25 { any } else { state.rng.pick(&open).unwrap_or(any) };
            (choice, name)
        };
        let caller = self.clone();
        match choice {
            0..=24 => Box::pin(async move { caller.create(&name).await.unwrap_or_default() }),
            25..=54 => Box::pin(async move { caller.start(&name).await.unwrap_or_default() }),
            55..=67 => Box::pin(async move { caller.facts(&name).await.unwrap_or_default() }),
            68..=84 => Box::pin(async move { caller.cleanup(&name).await }),
            85..=94 => Box::pin(async move { caller.restore().await.unwrap_or_default() }),
            _empty => Box::pin(async move { caller.empty().await }),
        }
    }

    async fn freed(&self, name: &str) {
        if let Some(handle) = self.registry.by_name(WORKSPACE, name)
            && handle.lane().state() == LaneState::Closed
        {
            handle.ended().await;
        }
    }

    async fn create(&self, name: &str) -> Result<(), Failure> {
        self.freed(name).await;
        let id = LaneId::generate();
        let reservation = self.registry.reserve(WORKSPACE, name, id, CAPACITY)?;
        self.sim.sure_step().await;
        let wanted = {
            let mut state = self.sim.lock();
            let base = state.git.branches["main"];
            let taken = state.git.branches.contains_key(&format!("lanes/{name}"));
            let free = state.git.branches.keys().filter(|b| b.starts_with("theirs/")).cloned();
            let theirs: Vec<String> = free.filter(|branch| !state.git.is_used(branch)).collect();
            let existing = state.rng.chance(15).then(|| state.rng.pick(&theirs)).flatten();
            state.note(|| format!("create {name}"));
            match existing {
                Some(branch) => Some((state.git.branches[&branch], Branch { name: branch, created: false })),
                None => (!taken).then(|| (base, Branch { name: format!("lanes/{name}"), created: true })),
            }
        };
        let Some((base, branch)) = wanted else { return Ok(()) };
        let order = order(id, name, HOME, base, branch);
        let lane = Lane::new(order, "/r".into(), "/r/.git".into(), Timestamp(1));
        let handle = self.registry.own(lane, reservation, Vec::new());
        self.provision(&handle).await
    }

    async fn provision(&self, handle: &Handle) -> Result<(), Failure> {
        handle.apply(Input::Create, context()).await?;
        let _ready_or_closed = handle.left(LaneState::Provisioning).await;
        Ok(())
    }

    async fn start(&self, name: &str) -> Result<(), Failure> {
        let Some(handle) = self.registry.by_name(WORKSPACE, name) else { return Ok(()) };
        let terminal = self.sim.lock().rng.chance(50);
        let kind = if terminal { TaskKind::Terminal } else { TaskKind::Run };
        let id = TaskId::generate(kind);
        let agent = self.sim.lock().rng.chance(40).then(|| "ada".to_owned());
        self.sim.lock().note(|| format!("start {id} in {name}"));
        let task = Task {
            command: vec!["agent".into()],
            agent,
            secret: format!("secret of {id}"),
            ..records::task(id, handle.id(), WORKSPACE)
        };
        handle.start(task, Launch::default(), context()).await.map(drop)
    }

    async fn facts(&self, name: &str) -> Result<(), Failure> {
        let Some(handle) = self.registry.by_name(WORKSPACE, name) else { return Ok(()) };
        let which = self.sim.lock().rng.below(7);
        let input = match which {
            0 => Input::Share,
            1 => Input::Unshare,
            2 => Input::Join { agent: "ada".into(), session_id: SessionId::generate() },
            3 => Input::Join { agent: "bob".into(), session_id: SessionId::generate() },
            4 => Input::Leave { agent: "ada".into() },
            5 => Input::Block { reason: "it asks".into() },
            _rest => Input::Unblock,
        };
        self.sim.lock().note(|| format!("{input:?} in {name}"));
        handle.apply(input, context()).await.map(drop)
    }

    async fn cleanup(&self, name: &str) {
        let Some(handle) = self.registry.by_name(WORKSPACE, name) else { return };
        let force = self.sim.lock().rng.chance(60);
        self.sim.lock().note(|| format!("cleanup {name}"));
        if handle.apply(Input::Cleanup { force }, context()).await.is_ok() {
            let done = |lane: &Lane| {
                let failed = lane.cleanup_failure.is_some() && lane.state() == LaneState::Cleaning;
                (lane.state() == LaneState::Closed || failed).then_some(())
            };
            let _closed = handle.until(done).await;
        }
    }

    async fn restore(&self) -> Result<(), Failure> {
        let wanted = {
            let mut state = self.sim.lock();
            let ours = state.git.trash.values().filter(|spot| spot.whose == Whose::Ours);
            let orders: Vec<Order> = ours.map(|spot| spot.entry.order.clone()).collect();
            state.rng.pick(&orders)
        };
        let Some(from) = wanted else { return Ok(()) };
        self.freed(&from.name).await;
        let id = LaneId::generate();
        let reservation = self.registry.reserve(WORKSPACE, &from.name, id, CAPACITY)?;
        self.sim.lock().note(|| format!("restore {}", from.name));
        let order = Order {
            lane_id: id,
            token: format!("token of {id}"),
            lock_reason: format!("lanes {id} boot 1"),
            ..from.clone()
        };
        let mut lane = Lane::new(order, "/r".into(), "/r/.git".into(), Timestamp(1));
        lane.restored_from = Some(from.lane_id);
        let handle = self.registry.own(lane, reservation, Vec::new());
        self.provision(&handle).await
    }

    async fn empty(&self) {
        let ids: Vec<LaneId> = {
            let mut state = self.sim.lock();
            let all = state.git.trash.iter().filter(|(_id, spot)| spot.whose == Whose::Ours);
            let all: Vec<LaneId> = all.map(|(id, _spot)| *id).collect();
            state.rng.pick(&all).into_iter().collect()
        };
        self.sim.lock().note(|| format!("trash empty {ids:?}"));
        self.sim.empty(&ids).await;
    }
}
