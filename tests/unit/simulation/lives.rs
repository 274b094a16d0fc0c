//! The lives of a runtime in one world: requests, a sudden end, recovery, and at the end everything closed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lanes::bus::{Actor, Bus, Context};
use lanes::ids::{LaneId, TaskId};
use lanes::lanes::lane::{Lane, Stage};
use lanes::lanes::machine::{Effect, Input};
use lanes::lanes::table::State as LaneState;
use lanes::lanes::{Registry, World};
use lanes::recovery::{Found, Plan, Recovery, Survey, plan};
use lanes::worktree::Branch;
use tokio::task::JoinSet;

use super::check;
use super::git::{Admin, Folder, Head, Spot, Whose, intent};
use super::journal::SimJournal;
use super::meanwhile::meanwhile;
use super::requests::{Caller, WORKSPACE, order};
use super::sim::{Counts, OTHER_HOME, Planted, ROOT, Sim};
use super::world::Life;

/// No life takes so long.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of a seed.
pub struct Outcome {
    /// What was found wrong.
    pub broken: Option<String>,
    pub counts: Counts,
    pub trace: Vec<String>,
}

/// Runs one seed from its begin to its end; its story is only told when it is asked for.
pub fn run(seed: u64, planted: Option<Planted>, traced: bool) -> Outcome {
    let sim = Sim::new(seed, planted, traced);
    let journal = SimJournal::new(sim.clone());
    let world = Everything { sim: sim.clone(), journal };
    world.begin();
    let lives = 1 + sim.lock().rng.below(2);
    for _life in 0..lives {
        world.live();
        if sim.lock().broken.is_some() {
            break;
        }
        world.between();
    }
    if sim.lock().broken.is_none() {
        world.last_life();
    }
    let mut state = sim.lock();
    Outcome { broken: state.broken.take(), counts: state.counts, trace: std::mem::take(&mut state.trace) }
}

struct Everything {
    sim: Sim,
    journal: SimJournal,
}

/// What makes up a living runtime.
struct Living {
    sim: Sim,
    bus: Bus,
    life: Life,
    registry: Registry,
    /// Owners that a planted fault makes.
    second: Vec<Registry>,
}

impl Everything {
    /// A repository with things of others in it.
    fn begin(&self) {
        let mut state = self.sim.lock();
        let state = &mut *state;
        state.git.dev = 10;
        let root = state.new_commit(Vec::new(), BTreeSet::new());
        let main = state.new_commit(vec![root], BTreeSet::new());
        state.git.branches.insert("main".into(), main);
        state.git.branches.insert("theirs/one".into(), root);
        for (id, path) in [("one", "/u/one".to_owned()), ("two", format!("{ROOT}/theirs"))] {
            let detached = state.new_commit(vec![main], BTreeSet::new());
            let admin = Admin {
                whose: Whose::Others,
                path: path.clone(),
                head: Head::At(detached),
                log: BTreeSet::from([detached]),
                order: None,
                lock: None,
            };
            state.git.admins.insert(id.into(), admin);
            let (ino, file) = (state.git.new_ino(), state.new_file());
            let files = BTreeSet::from([file]);
            state.git.trees.insert(path, Folder { whose: Whose::Others, ino, admin: Some(id.into()), files });
        }
        // Another home: an open lane, and one whose retirement was cut off.
        let branch = Branch { name: "other/b".into(), created: true };
        let theirs = order(LaneId::from_u128(100), "b-of-theirs", OTHER_HOME, main, branch);
        let head = state.new_commit(vec![main], BTreeSet::new());
        state.git.branches.insert("other/b".into(), head);
        let path = theirs.path.to_string();
        let admin = Admin {
            whose: Whose::Others,
            path: path.clone(),
            head: Head::Branch("other/b".into()),
            log: BTreeSet::from([head]),
            order: Some(theirs.clone()),
            lock: Some(theirs.lane_id),
        };
        state.git.admins.insert("b-of-theirs".into(), admin);
        let (ino, file) = (state.git.new_ino(), state.new_file());
        let files = BTreeSet::from([file]);
        let folder = Folder { whose: Whose::Others, ino, admin: Some("b-of-theirs".into()), files };
        let tree = state.git.tree_of(&theirs, &folder, "b-of-theirs", &theirs.branch);
        state.git.trees.insert(path, folder);
        let branch = Branch { name: "other/gone".into(), created: true };
        let retiring = order(LaneId::from_u128(101), "gone-of-theirs", OTHER_HOME, main, branch);
        state.git.trash.insert(
            retiring.lane_id,
            Spot {
                whose: Whose::Others,
                entry: intent(&retiring, &tree, Some(main), None),
                tree: None,
                admin: None,
                archive: None,
                staging: None,
                restoring: None,
            },
        );
        for _stranger in 0..2 {
            state.new_stranger();
        }
        state.others = state.git.others();
    }

    /// One life, which may end at any step.
    fn live(&self) {
        let (crash, failing) = {
            let mut state = self.sim.lock();
            let crash = (!state.rng.chance(15)).then(|| {
                let most = [15, 60, 160][state.rng.below(3)];
                state.rng.below(most)
            });
            (crash, [0, 0, 2, 6][state.rng.below(4)])
        };
        self.sim.lock().note(|| format!("--- a life, {crash:?} steps long; {failing} of 100 fail"));
        self.sim.live(crash, failing);
        let crashed = self.in_runtime(|living| async move {
            let mut living = living;
            living.recover().await;
            living.sim.lock().counts.crashes_in_recovery += 1;
            if living.sim.lock().rng.chance(15) {
                living.sim.calm();
                living.settle_and_check(true).await;
            }
            living.work().await;
        });
        let mut state = self.sim.lock();
        if crashed {
            state.counts.crashes += 1;
        } else {
            state.counts.crashes_in_recovery -= 1;
        }
    }

    /// The last one: nothing fails any more, everything is closed.
    fn last_life(&self) {
        self.sim.lock().note(|| "--- the last life".to_owned());
        self.sim.live(None, 0);
        self.in_runtime(|living| async move {
            let mut living = living;
            living.recover().await;
            living.settle_and_check(false).await;
            living.close_all().await;
        });
        if let Some(batch) = self.journal.forgotten() {
            self.sim.break_(format!("batch {batch} was acknowledged and is not there"));
        }
        check::events(&self.sim, &self.journal.events());
    }

    /// True when the runtime stopped dead.
    fn in_runtime<F: Future<Output = ()>>(&self, body: impl FnOnce(Living) -> F) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let bus = Bus::new(Arc::new(self.journal.clone()), self.journal.hub());
            let life = Life::begin(&self.sim, &bus);
            let registry = Registry::new(bus.clone(), Arc::new(life.clone()) as Arc<dyn World>);
            let living = Living { sim: self.sim.clone(), bus, life, registry, second: Vec::new() };
            tokio::select! {
                // The sudden end comes first: nothing may happen after it.
                biased;
                () = self.sim.stopped() => true,
                () = body(living) => false,
                // The clock of the simulation jumps there once nobody does anything any more.
                () = tokio::time::sleep(A_DAY) => {
                    self.sim.break_("somebody waits for ever");
                    false
                }
            }
        })
    }

    /// While no runtime lives.
    fn between(&self) {
        let (reboot, store) = {
            let mut state = self.sim.lock();
            (state.rng.chance(20), state.rng.below(100))
        };
        if let Some(batch) = self.journal.forgotten() {
            self.sim.break_(format!("batch {batch} was acknowledged and is not there"));
        }
        self.keepers_on_their_way();
        if reboot {
            self.sim.change(
                || "--- the machine stops and starts".to_owned(),
                |state| {
                    state.machine.reboot();
                    state.strangers.clear();
                    state.hidden.clear();
                    state.git.dev += 1;
                    state.counts.reboots += 1;
                },
            );
        }
        let batches = self.journal.batches();
        match store {
            0..=39 if reboot && batches > 0 => {
                let lost = self.sim.lock().rng.below(batches.min(15));
                self.sim.lock().note(|| format!("--- the store is set back by {lost} batches"));
                self.sim.lock().counts.set_back += 1;
                self.journal.set_back(batches - lost);
            }
            40..=44 => {
                self.sim.lock().note(|| "--- the store is lost".to_owned());
                self.sim.lock().counts.set_back += 1;
                self.journal.set_back(0);
            }
            _kept => {}
        }
        let times = self.sim.lock().rng.below(4);
        for _time in 0..times {
            meanwhile(&self.sim);
        }
    }

    /// A keeper that was being started goes on, ends, or takes its time.
    fn keepers_on_their_way(&self) {
        let coming: Vec<TaskId> = {
            let state = self.sim.lock();
            let runs = state.machine.runs.iter().filter(|(_id, run)| !run.up);
            runs.map(|(id, _run)| *id).collect()
        };
        for id in coming {
            let fate = self.sim.lock().rng.below(3);
            self.sim.change(
                || format!("the keeper of {id} is on its way: {fate}"),
                |state| match fate {
                    0 => state.machine.come_up(id),
                    1 => {
                        // Its number may be somebody else's by now.
                        let about = state.machine.runs[&id].about.clone();
                        if state.machine.keeper_alive(&about) {
                            state.machine.processes.remove(&about.keeper_pid);
                        }
                    }
                    _later => {}
                },
            );
        }
    }
}

impl Living {
    /// What a start does before it serves anybody.
    async fn recover(&mut self) -> Plan {
        self.late_keepers();
        let recovery = Recovery { bus: &self.bus, registry: &self.registry, outside: &self.life };
        let (mut survey, found) = loop {
            if let Ok(seen) = recovery.survey().await {
                break seen;
            }
        };
        let planted = self.sim.lock().planted;
        if planted == Some(Planted::CleaningIsOpen) {
            for lane in survey.lanes.iter_mut().filter(|lane| lane.state == LaneState::Cleaning) {
                lane.state = LaneState::Ready;
            }
        }
        let plan = plan(&survey);
        let context = Context::new(Actor::lanes());
        for planned in &plan.repairs {
            let (action, subject) = (planned.repair.action(), planned.repair.subject());
            self.sim.lock().note(|| format!("repair: {action} {subject}: {}", planned.reason));
            self.sim.lock().counts.repairs += 1;
            self.sim.sure_step().await;
            if let Err(failure) = recovery.repair(&planned.repair, &found, &context).await {
                self.sim.lock().note(|| format!("  the repair failed: {failure}"));
            }
        }
        self.sim.lock().counts.recoveries += 1;
        if planted == Some(Planted::AdoptTwice) {
            self.adopt_twice(&found);
        }
        plan
    }

    /// Keepers that were left on their way come up some time.
    fn late_keepers(&self) {
        let coming: Vec<TaskId> = {
            let state = self.sim.lock();
            let runs = state.machine.runs.iter().filter(|(_id, run)| !run.up);
            runs.map(|(id, _run)| *id).collect()
        };
        for id in coming {
            let (sim, ms) = (self.sim.clone(), self.sim.lock().rng.below(40) as u64);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if !sim.is_dead() {
                    sim.change(|| format!("the keeper of {id} is there"), |state| state.machine.come_up(id));
                }
            });
        }
    }

    fn adopt_twice(&mut self, found: &Found) {
        for lane in found.lanes.iter().filter(|lane| lane.state().takes_tasks()) {
            let other = Registry::new(self.bus.clone(), Arc::new(self.life.clone()) as Arc<dyn World>);
            let place = other.reserve(WORKSPACE, lane.name(), lane.id, 50).expect("there is a place");
            let live = lane.tasks.values().filter(|task| task.stage != Stage::Ended);
            let first = live.map(|task| Effect::Watch(task.id)).collect();
            other.own(lane.clone(), place, first);
            self.second.push(other);
        }
    }

    /// Requests and whatever else happens, until it is enough.
    async fn work(&self) {
        let caller = Caller { sim: self.sim.clone(), registry: self.registry.clone() };
        let mut asked = JoinSet::new();
        let times = 6 + self.sim.lock().rng.below(12);
        for _time in 0..times {
            let (what, ms) = {
                let mut state = self.sim.lock();
                (state.rng.below(100), state.rng.below(60) as u64)
            };
            match what {
                0..=54 => drop(asked.spawn(caller.ask())),
                55..=59 => caller.ask().await,
                _rest => meanwhile(&self.sim),
            }
            if self.sim.lock().broken.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if self.sim.lock().rng.chance(30) {
            // The runtime is told to stop; what is on its way is taken up by the next.
            self.registry.stop().await;
        }
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.registry.all().iter().map(|handle| handle.lane()).collect()
    }

    /// True when nothing is on its way any more.
    fn is_settled(&self) -> bool {
        let moving = |lane: &Arc<Lane>| match lane.state() {
            LaneState::Provisioning | LaneState::Closed => true,
            LaneState::New => false,
            LaneState::Cleaning => lane.cleanup_failure.is_none(),
            LaneState::Ready | LaneState::Running | LaneState::Blocked | LaneState::Shared => {
                let state = self.sim.lock();
                let gone = |task: &lanes::lanes::lane::Task| {
                    let known = task.identity.as_ref();
                    let dead = known.is_some_and(|known| {
                        !state.machine.alive(known.pid, known.pid_start, &known.boot_id)
                    });
                    let left = known.is_some_and(|known| !state.machine.keeper_alive(known));
                    match task.stage {
                        Stage::Starting => true,
                        Stage::Live => dead || left,
                        Stage::Lingering => left,
                        Stage::Ended => false,
                    }
                };
                lane.tasks.values().any(gone)
            }
        };
        !self.life.saves_wait() && !self.lanes().iter().any(moving)
    }

    async fn settle(&self) {
        for _time in 0..3_000 {
            if self.is_settled() || self.sim.lock().broken.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let lanes: Vec<String> = self
            .lanes()
            .iter()
            .map(|lane| format!("{} {:?} {:?}", lane.name(), lane.state(), lane.cleanup_failure))
            .collect();
        self.sim.break_(format!("it does not come to rest: {lanes:?}"));
    }

    /// What must hold after every recovery, once it has come to rest. `failed` says that repairs may have
    /// failed: then it is done once more, as a person would.
    async fn settle_and_check(&mut self, failed: bool) {
        self.settle().await;
        if failed {
            self.recover().await;
            self.settle().await;
        }
        if self.sim.lock().broken.is_some() {
            return;
        }
        check::world(&self.sim, &check::records(&self.bus).await);
        self.nothing_to_do().await;
    }

    async fn nothing_to_do(&self) {
        let recovery = Recovery { bus: &self.bus, registry: &self.registry, outside: &self.life };
        let Ok((survey, _found)): Result<(Survey, Found), _> = recovery.survey().await else { return };
        if let Some(again) = plan(&survey).repairs.first() {
            self.sim.break_(format!("a second recovery would do something: {again:?}"));
        }
    }

    async fn close_all(&self) {
        if self.sim.lock().broken.is_some() {
            return;
        }
        for handle in self.registry.all() {
            let context = Context::new(Actor::user());
            if let Err(failure) = handle.apply(Input::Cleanup { force: true }, context).await {
                self.sim.break_(format!("{} cannot be closed: {failure}", handle.lane().name()));
            }
        }
        self.settle().await;
        if self.sim.lock().broken.is_some() {
            return;
        }
        let records = check::records(&self.bus).await;
        if let Some(open) = records.iter().find(|lane| lane.state() != LaneState::Closed) {
            self.sim.break_(format!("lane {} is {:?} at the end", open.name(), open.state()));
        }
        check::world(&self.sim, &records);
        self.nothing_to_do().await;
    }
}
