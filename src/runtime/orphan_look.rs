//! Looks for what is left over: gathers what is known, has everything looked at, judges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::blocking::{blocking, stopping};
use super::orphans::Held;
use super::owner::Owner;
use crate::bus::Table;
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, WorkspaceId};
use crate::lanes::lane::{Lane, Lost, Stage};
use crate::lanes::table::State;
use crate::recovery::judge::judge;
use crate::recovery::orphan::{self, Orphan};
use crate::recovery::records;
use crate::recovery::seen::{Known, LostTask, OpenLane, Seen, Written};
use crate::recovery::sight::{self, Marks, Roots};
use crate::worktree::{Choice, layout};

/// A look takes milliseconds; one that takes longer than this waits for a file system that hangs.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);

/// What a look gives back.
pub(super) type Looked = (Known, Seen, Marks);

impl Owner {
    /// Looks once, and judges by what is known before and afterwards.
    pub(super) async fn look(&self, held: &mut Held) -> Result<Vec<Orphan>, Failure> {
        let began = clock::now();
        let (mut known, seen) = self.see(held).await?;
        known.join(self.known());
        known.written = self.written(&seen, &known).await?;
        if !seen.logs.is_empty() {
            known.vouched = self.vouched(&seen, &known).await?;
        }
        let mut found = judge(&seen, &known, began);
        orphan::sort(&mut found, began);
        blocking(move || {
            found.retain(sight::still_there);
            found
        })
        .await
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
        // What `pool.prepare` runs is of no lane; what a runtime that was killed has left of it, the next one ends.
        written.extend(self.workspaces.all().iter().map(|one| (LaneId::of_pool(one.id), Written::Open)));
        Ok(written)
    }

    /// Lanes whose recorded output is of use to one that was brought back from them, and is open or in the
    /// trash.
    async fn vouched(&self, seen: &Seen, known: &Known) -> Result<BTreeSet<LaneId>, Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Lanes]).await?;
        let lanes: BTreeMap<LaneId, Lane> =
            records::lanes(&snapshot).into_iter().map(|lane| (lane.id, lane)).collect();
        let in_trash = |lane: &Lane| {
            let trash = lane.order.root.as_path().join(crate::worktree::trash::TRASH_DIR);
            seen.trash.contains(&lane.id) || trash.join(lane.id.to_string()).symlink_metadata().is_ok()
        };
        let vouching = lanes.values().filter(|lane| known.lanes.contains_key(&lane.id) || in_trash(lane));
        Ok(records::with_origins(vouching.map(|lane| lane.id), &lanes))
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

fn hangs() -> Failure {
    let message =
        format!("a look at the lanes' folders did not come back within {} s", LOOK_DEADLINE.as_secs());
    Failure::new(Code::Timeout, message).hint("a file system may hang: look at it, then try again")
}
