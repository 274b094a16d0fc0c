//! Looks for what is left over, remembers it, suggests it; nothing is removed without being asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::orphan_look::Looked;
use super::owner::Owner;
use crate::bus::{Actor, Batch, Context, Draft, Table, Write};
use crate::clock::{self, Timestamp};
use crate::config;
use crate::failure::Failure;
use crate::ids::WorkspaceId;
use crate::recovery::memory::{Memory, Rules};
use crate::recovery::orphan::{Kind, Orphan, Whose};
use crate::recovery::sight::Marks;
use crate::recovery::watchdog;

/// Where the memory lies in the store.
const KEY: &str = "watchdog";
/// What is seen is looked at again after so long, at most, before it is suggested.
const SETTLE: Duration = Duration::from_secs(1);

/// What the watchdog holds between cycles.
pub(super) struct Watch {
    held: Mutex<Held>,
    pub(super) rules: Rules,
    every: Duration,
    pub(super) emptying: AtomicUsize,
}

/// Held by one at a time: a cycle, a request, or recovery, which suspends the others.
#[derive(Default)]
pub(super) struct Held {
    memory: Option<Memory>,
    pub(super) marks: Marks,
    /// A look that did not come back in time: until it does there is no other, so that they do not pile up.
    pub(super) stuck: Option<JoinHandle<Looked>>,
    /// Every root that a workspace has or had, and whether all in it is ours.
    pub(super) roots: BTreeMap<WorkspaceId, BTreeMap<PathBuf, bool>>,
    /// Roots of closed lanes were read once.
    pub(super) read_roots: bool,
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
