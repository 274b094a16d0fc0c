//! Looks for what is left over, remembers it, suggests it; nothing is removed without being asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::owner::Owner;

use crate::bus::{Actor, Batch, Context, Draft, Table, Write};
use crate::clock::{self, Timestamp};
use crate::config;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, WorkspaceId};
use crate::lanes::lane::{Lane, Lost, Stage};
use crate::lanes::table::State;
use crate::recovery::judge::{Known, LostTask, OpenLane, Seen, Written, judge};
use crate::recovery::memory::{Memory, Rules};
use crate::recovery::orphan::{self, Kind, Orphan, Whose};
use crate::recovery::records;
use crate::recovery::sight::{self, Marks, Roots};
use crate::recovery::watchdog;
use crate::worktree::{Choice, layout};

/// Where the memory lies in the store.
const KEY: &str = "watchdog";
/// What is seen is looked at again after so long, at most, before it is suggested.
const SETTLE: Duration = Duration::from_secs(1);

/// A look takes milliseconds; one that takes longer than this waits for a file system that hangs.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);

/// What a look gives back.
type Looked = (Known, Seen, Marks);

/// What the watchdog holds between cycles.
pub(super) struct Watch {
    held: Mutex<Held>,
    pub(super) rules: Rules,
    every: Duration,
    emptying: AtomicUsize,
}

/// Held by one at a time: a cycle, a request, or recovery, which suspends the others.
#[derive(Default)]
pub(super) struct Held {
    memory: Option<Memory>,
    marks: Marks,
    /// A look that did not come back in time: until it does there is no other, so that they do not pile up.
    stuck: Option<JoinHandle<Looked>>,
    /// Every root that a workspace has or had, and whether all in it is ours.
    roots: BTreeMap<WorkspaceId, BTreeMap<PathBuf, bool>>,
    /// Roots of closed lanes were read once.
    read_roots: bool,
}

/// While it lives, what an emptied trash leaves on its way is nobody's leftover.
pub(super) struct Emptying<'a>(&'a AtomicUsize);

impl Drop for Emptying<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch {
    pub(super) fn new(config: &config::Watchdog) -> Self {
        let rules = Rules { cooldown: config.cooldown, settle: config.every.min(SETTLE) };
        Self { held: Mutex::default(), rules, every: config.every, emptying: AtomicUsize::new(0) }
    }

    /// Suspends the watchdog until this is dropped.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Held> {
        self.held.lock().await
    }

    /// Says that trash is being emptied.
    pub(super) fn emptying(&self) -> Emptying<'_> {
        self.emptying.fetch_add(1, Ordering::AcqRel);
        Emptying(&self.emptying)
    }
}

impl Held {
    /// What is remembered.
    pub(super) fn memory(&self) -> Memory {
        self.memory.clone().unwrap_or_default()
    }
}

/// Looks again and again until the runtime stops.
pub(super) async fn watch(owner: Weak<Owner>, every: Duration, stop: CancellationToken) {
    let cycle = || {
        let owner = owner.upgrade();
        async move {
            let Some(owner) = owner else { return false };
            // Recovery, or somebody who asked, is at it: the next cycle comes.
            if let Ok(mut held) = owner.watch.held.try_lock()
                && let Err(failure) = owner.cycle(&mut held).await
            {
                tracing::warn!(error = %failure, "the watchdog could not look");
            }
            true
        }
    };
    watchdog::run(every, stop, cycle).await;
}

impl Owner {
    /// Starts the watchdog; it ends with the runtime.
    pub(super) fn start_watchdog(self: &Arc<Self>) {
        let (owner, every, stop) = (Arc::downgrade(self), self.watch.every, self.stop.clone());
        self.background.spawn(async move { watch(owner, every, stop).await });
    }

    async fn cycle(&self, held: &mut Held) -> Result<(), Failure> {
        let began = Instant::now();
        let seen = self.look(held).await?;
        let _unsettled = self.take_in(held, &seen, true).await?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(orphans = seen.len(), ms, "the watchdog has looked");
        Ok(())
    }

    /// Looks until all that is seen is either settled or gone: at most two times.
    pub(super) async fn look_twice(&self, held: &mut Held) -> Result<Vec<Orphan>, Failure> {
        let seen = self.look(held).await?;
        if !self.take_in(held, &seen, false).await? {
            return Ok(seen);
        }
        tokio::time::sleep(self.watch.rules.settle).await;
        let seen = self.look(held).await?;
        let _came_just_now = self.take_in(held, &seen, false).await?;
        Ok(seen)
    }

    /// Remembers what was seen and suggests what is due; true when something was seen too short a time ago.
    async fn take_in(&self, held: &mut Held, seen: &[Orphan], is_cycle: bool) -> Result<bool, Failure> {
        let now = clock::now();
        let mut told = self.remembered(held).await.look(seen, now, self.watch.rules);
        told.memory.cycles += u64::from(is_cycle);
        for id in &told.gone {
            tracing::info!(orphan = %id, "what was suggested is gone");
        }
        let context = Context::new(Actor::lanes());
        let mut events = Vec::new();
        for orphan in told.tell.iter().filter_map(|at| seen.get(*at)) {
            tracing::info!(orphan = %orphan.id(), what = %orphan.resource(), why = %orphan.reason, "left over?");
            events.extend(suggestion(orphan, now, told.memory.cycles, &context));
        }
        self.write(held, told.memory, events).await?;
        Ok(told.unsettled)
    }

    /// Writes down what is to be remembered, together with what is told.
    pub(super) async fn write(
        &self,
        held: &mut Held,
        memory: Memory,
        events: Vec<Draft>,
    ) -> Result<(), Failure> {
        let writes = vec![Write::put(Table::Meta, KEY, &memory)];
        self.bus.commit(Batch { events, writes }).await?;
        held.memory = Some(memory);
        Ok(())
    }

    /// What is remembered; nothing where the record is damaged.
    async fn remembered(&self, held: &Held) -> Memory {
        if let Some(memory) = &held.memory {
            return memory.clone();
        }
        let read = match self.bus.get(Table::Meta, KEY).await {
            Ok(None) => Some(Memory::default()),
            Ok(Some(body)) => Memory::read(body),
            Err(failure) => {
                tracing::warn!(error = %failure, "the memory of the watchdog cannot be read");
                None
            }
        };
        read.unwrap_or_else(|| {
            tracing::warn!("what the watchdog remembered is dropped, it begins anew");
            Memory::default()
        })
    }

    /// Looks once, and judges by what is known before and afterwards.
    async fn look(&self, held: &mut Held) -> Result<Vec<Orphan>, Failure> {
        let began = clock::now();
        let (mut known, seen) = self.see(held).await?;
        known.join(self.known());
        known.written = self.written(&seen, &known).await?;
        if !seen.logs.is_empty() {
            known.vouched = self.vouched(&seen, &known).await?;
        }
        let mut found = judge(&seen, &known, began);
        orphan::sort(&mut found, began);
        let checked = tokio::task::spawn_blocking(move || {
            found.retain(sight::still_there);
            found
        });
        checked.await.map_err(|_aborted| stopping())
    }

    /// Looks at disks and processes, on a thread of its own.
    async fn see(&self, held: &mut Held) -> Result<(Known, Seen), Failure> {
        if held.stuck.as_ref().is_some_and(|stuck| !stuck.is_finished()) {
            return Err(hangs());
        }
        let roots = self.roots(held).await?;
        let (known, mut marks) = (self.known(), std::mem::take(&mut held.marks));
        let mut looking = tokio::task::spawn_blocking(move || {
            let seen = sight::look(&known, &roots, &mut marks);
            (known, seen, marks)
        });
        let Ok(looked) = tokio::time::timeout(LOOK_DEADLINE, &mut looking).await else {
            held.stuck = Some(looking);
            return Err(hangs());
        };
        let (known, seen, marks) = looked.map_err(|_aborted| stopping())?;
        held.marks = marks;
        Ok((known, seen))
    }

    /// What the runtime knows of its open lanes now.
    fn known(&self) -> Known {
        let mut known = Known { home: self.home.path().to_path_buf(), ..Known::default() };
        known.emptying = self.watch.emptying.load(Ordering::Acquire) > 0;
        for handle in self.registry.all() {
            let lane = handle.lane();
            let unended = lane.tasks.values().filter(|task| task.stage != Stage::Ended);
            known.tasks.extend(unended.map(|task| task.id));
            let busy = match lane.state() {
                // A closed one that has an owner is just being left.
                State::New | State::Provisioning | State::Cleaning | State::Closed => true,
                State::Ready | State::Running | State::Blocked | State::Shared => false,
            };
            let open = OpenLane {
                busy,
                path: lane.order.path.to_path_buf(),
                restored_from: lane.restored_from,
                lost: lost_tasks(&lane),
            };
            known.lanes.insert(lane.id, open);
        }
        known
    }

    /// What the store says of lanes that were seen and have no owner.
    async fn written(&self, seen: &Seen, known: &Known) -> Result<BTreeMap<LaneId, Written>, Failure> {
        let hides = seen.processes.iter().any(|process| process.hides());
        let mut written = BTreeMap::new();
        if hides {
            for lane in self.records().await? {
                written.insert(lane.id, as_written(&lane));
            }
        }
        for id in seen.lanes().into_iter().filter(|id| !known.lanes.contains_key(id)) {
            if written.contains_key(&id) {
                continue;
            }
            if let Some(body) = self.bus.get(Table::Lanes, id.to_string()).await? {
                // A record that cannot be read is somebody's all the same.
                let lane = serde_json::from_value::<Lane>(body).ok();
                written.insert(id, lane.as_ref().map_or(Written::Open, as_written));
            }
        }
        Ok(written)
    }

    /// Lanes whose recorded output is of use to one that was brought back from them, and is open or in the
    /// trash.
    async fn vouched(&self, seen: &Seen, known: &Known) -> Result<BTreeSet<LaneId>, Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Lanes]).await?;
        let lanes: BTreeMap<LaneId, Lane> =
            records::lanes(&snapshot).into_iter().map(|lane| (lane.id, lane)).collect();
        let mut vouched = BTreeSet::new();
        for lane in lanes.values() {
            let in_trash = || {
                let trash = lane.order.root.as_path().join(crate::worktree::trash::TRASH_DIR);
                seen.trash.contains(&lane.id) || trash.join(lane.id.to_string()).symlink_metadata().is_ok()
            };
            if !known.lanes.contains_key(&lane.id) && !in_trash() {
                continue;
            }
            let mut next = Some(lane.id);
            while let Some(id) = next.filter(|id| vouched.insert(*id)) {
                next = lanes.get(&id).and_then(|lane| lane.restored_from);
            }
        }
        Ok(vouched)
    }

    /// Every root of every workspace, the former ones included.
    async fn roots(&self, held: &mut Held) -> Result<Vec<Roots>, Failure> {
        if !held.read_roots {
            for lane in self.records().await? {
                note_root(&mut held.roots, &lane);
            }
            held.read_roots = true;
        }
        for handle in self.registry.all() {
            note_root(&mut held.roots, &handle.lane());
        }
        let mut found = Vec::new();
        for workspace in self.workspaces.all() {
            let known = held.roots.entry(workspace.id).or_default();
            if !known.values().any(|all_ours| *all_ours) {
                let data = self.home.worktrees();
                let wanted = self.workspaces.config(&workspace.repo).await?.worktree.root;
                for configured in [None, wanted.as_deref()] {
                    let Ok(root) = layout::find(&workspace.repo, configured, &data) else { continue };
                    let all_ours = match root.choice {
                        Choice::Sibling | Choice::DataFolder => true,
                        Choice::Configured | Choice::Inside => false,
                    };
                    // As lanes have it written down.
                    let path = root.path.canonicalize().unwrap_or(root.path);
                    *known.entry(path).or_default() |= all_ours;
                }
            }
            let folders = known.iter().map(|(path, all_ours)| (path.clone(), *all_ours)).collect();
            found.push(Roots { repo: workspace.repo.clone(), folders });
        }
        Ok(found)
    }

    /// How many suggestions there are now; none when nobody can tell.
    pub(super) async fn count_suggestions(&self) -> u64 {
        let mut held = self.watch.turn().await;
        let seen = match self.look_twice(&mut held).await {
            Ok(seen) => seen,
            Err(failure) => {
                tracing::warn!(error = %failure, "the watchdog could not look");
                return 0;
            }
        };
        let (memory, now) = (held.memory(), clock::now());
        seen.iter().filter(|orphan| memory.suggests(&orphan.id(), now)).count() as u64
    }
}

fn note_root(roots: &mut BTreeMap<WorkspaceId, BTreeMap<PathBuf, bool>>, lane: &Lane) {
    let known = roots.entry(lane.workspace_id()).or_default();
    known.entry(lane.order.root.to_path_buf()).or_insert(false);
}

fn as_written(lane: &Lane) -> Written {
    if lane.state() != State::Closed {
        return Written::Open;
    }
    let failed = lane.provision_failure.is_some();
    Written::Closed { failed_at: failed.then_some(lane.updated_at), lost: lost_tasks(lane) }
}

fn lost_tasks(lane: &Lane) -> Vec<LostTask> {
    let lost = lane.tasks.values().filter(|task| task.lost == Some(Lost::KeeperEnded));
    lost.filter_map(|task| {
        let identity = task.identity.as_ref()?;
        Some(LostTask { task: task.id, start: identity.pid_start, boot_id: identity.boot_id.clone() })
    })
    .collect()
}

/// The events that suggest one thing.
fn suggestion(orphan: &Orphan, now: Timestamp, cycle: u64, context: &Context) -> Vec<Draft> {
    let payload = json!({
        "orphan_id": orphan.id(),
        "kind": orphan.kind().name(),
        "what": orphan.resource().lossy(),
        "why": orphan.reason,
        "owner": orphan.owner.to_string(),
        "risk": orphan.risk(now).name(),
        "since": orphan.since,
        "action": orphan.kind().action(),
        "cycle": cycle,
    });
    let mut events = vec![about(orphan, context.draft("orphan.suggested", payload))];
    if orphan.kind() == Kind::Worktree {
        let payload = json!({ "path": orphan.resource(), "suggestion": orphan.id() });
        events.push(about(orphan, context.draft("lane.worktree.orphan_found", payload)));
    }
    events
}

/// The draft with the lane and task that a thing was of.
pub(super) fn about(orphan: &Orphan, mut draft: Draft) -> Draft {
    draft.task_id = orphan.task;
    draft.lane_id = match orphan.owner {
        Whose::Lane(lane) => Some(lane),
        Whose::Unknown => None,
    };
    draft
}

fn hangs() -> Failure {
    let message =
        format!("a look at the lanes' folders did not come back within {} s", LOOK_DEADLINE.as_secs());
    Failure::new(Code::Timeout, message).hint("a file system may hang: look at it, then try again")
}

pub(super) fn stopping() -> Failure {
    Failure::new(Code::DaemonDown, "the runtime is stopping").hint("try again")
}
