//! What bringing an entry of the trash back does, and what takes that back, step by step.

use std::collections::BTreeSet;

use lanes::ids::LaneId;
use lanes::worktree::{Branch, Order, Saved, TrashEntry, Tree};

use super::git::{Admin, Commit, Folder, Git, Head, Restoring, Whose, commit_named};
use super::making::{Result, failure};
use super::sim::Sim;

impl Sim {
    /// `restore.rs`: an entry back as the tree of another order.
    pub async fn bring_back(&self, id: LaneId, order: &Order) -> Result<Tree> {
        let done = self.bring_back_steps(id, order).await;
        if done.is_err() {
            let _repeated_by_recovery = self.roll_back(id).await;
        }
        done
    }

    async fn bring_back_steps(&self, id: LaneId, order: &Order) -> Result<Tree> {
        self.roll_back(id).await?;
        let _held = self.hold(id).await;
        let path = order.path.to_string();
        {
            let state = self.lock();
            match state.git.trash.get(&id) {
                Some(spot) if spot.entry.complete => {}
                Some(_) | None => return Err(failure("it is no complete entry")),
            }
            if state.git.trees.contains_key(&path) {
                return Err(failure("the path is taken"));
            }
        }
        self.step("restore: the files").await?;
        self.change(
            || format!("  restore {}: the files", order.name),
            |state| {
                let ino = state.git.new_ino();
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                let empty = Folder { whose: Whose::Ours, ino, admin: None, files: BTreeSet::new() };
                if matches!(spot.entry.saved, Saved::Archived { .. }) {
                    let files = spot.archive.clone().unwrap_or_default();
                    spot.staging = Some(Folder { files, ..empty });
                } else if spot.tree.is_none() {
                    spot.tree = Some(empty);
                }
            },
        );
        self.step("restore: the intent").await?;
        let restoring = self.change(
            || format!("  restore {}: the intent", order.name),
            |state| {
                let spot = &state.git.trash[&id];
                let from_archive = matches!(spot.entry.saved, Saved::Archived { .. });
                let source = if from_archive { &spot.staging } else { &spot.tree };
                let ino = source.as_ref().expect("it is there").ino;
                let plan = branch_plan(&state.git, &spot.entry);
                let branch = Branch {
                    name: order.branch.name.clone(),
                    created: matches!(&plan.head, Head::Branch(name) if *name == order.branch.name)
                        && spot.entry.order.branch.created,
                };
                let order = Order { branch, ..order.clone() };
                let admin_id = state.git.free_admin(&order.name);
                let restoring =
                    Restoring { order, admin_id, ino, from_archive, made_branch: plan.make.clone() };
                state.git.trash.get_mut(&id).expect("it was there").restoring = Some(restoring.clone());
                (restoring, plan)
            },
        );
        let (restoring, plan) = restoring;
        self.step("restore: the branch").await?;
        if let Some((name, tip)) = plan.make.clone() {
            self.change(
                || format!("  restore: branch {name}"),
                |state| {
                    let taken = state.git.branches.contains_key(&name);
                    if !taken {
                        state.git.branches.insert(name.clone(), tip);
                    }
                    if taken { Err(failure("the branch was made just now")) } else { Ok(()) }
                },
            )?;
        }
        self.step("restore: the admin entry").await?;
        self.change(
            || format!("  restore {}: the admin entry", order.name),
            |state| {
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                let log = spot.admin.as_ref().map(|admin| admin.log.clone()).unwrap_or_default();
                let admin = Admin {
                    whose: Whose::Ours,
                    path: path.clone(),
                    head: plan.head.clone(),
                    log,
                    order: Some(restoring.order.clone()),
                    lock: Some(restoring.order.lane_id),
                };
                let source = if restoring.from_archive { &mut spot.staging } else { &mut spot.tree };
                source.as_mut().expect("it is there").admin = Some(restoring.admin_id.clone());
                if state.git.admins.contains_key(&restoring.admin_id) {
                    return Err(failure("the name of the admin entry was taken just now"));
                }
                state.git.admins.insert(restoring.admin_id.clone(), admin);
                Ok(())
            },
        )?;
        self.step("restore: the tree").await?;
        self.change(
            || format!("  restore {}: the tree", order.name),
            |state| {
                if state.git.trees.contains_key(&path) {
                    return Err(failure("the path is taken"));
                }
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                let source = if restoring.from_archive { spot.staging.take() } else { spot.tree.take() };
                state.git.trees.insert(path.clone(), source.expect("it is there"));
                Ok(())
            },
        )?;
        self.step("restore: done").await?;
        self.change(
            || format!("  restore {}: done", order.name),
            |state| {
                let spot = state.git.trash.remove(&id).expect("it was there");
                state.git.gone.insert(id, spot);
            },
        );
        self.sure_step().await;
        self.change(String::new, |state| state.git.gone.remove(&id));
        let state = self.lock();
        let folder = state.git.trees.get(&path).ok_or_else(|| failure("the tree is gone"))?;
        Ok(state.git.tree_of(&restoring.order, folder, &restoring.admin_id, &restoring.order.branch))
    }

    /// `restore.rs`: what was being brought back into the trash again.
    pub async fn roll_back(&self, id: LaneId) -> Result<()> {
        if self.lock().git.trash.get(&id).is_none_or(|spot| spot.restoring.is_none()) {
            return Ok(());
        }
        let _held = self.hold(id).await;
        let Some(intent) = self.lock().git.trash.get(&id).and_then(|spot| spot.restoring.clone()) else {
            return Ok(());
        };
        let path = intent.order.path.to_string();
        self.step("roll back: the tree").await?;
        self.change(
            || format!("  roll back {path}: the tree"),
            |state| {
                let ours = state.git.found(&intent.order).is_some();
                if ours {
                    let folder = state.git.trees.remove(&path).expect("it was found");
                    if !intent.from_archive {
                        state.git.trash.get_mut(&id).expect("it was there").tree = Some(folder);
                    }
                }
                state.git.trash.get_mut(&id).expect("it was there").staging = None;
            },
        );
        self.step("roll back: the admin entry").await?;
        self.change(
            || format!("  roll back {path}: the admin entry"),
            |state| {
                let token = &intent.order.token;
                let is_it = |admin: &Admin| admin.order.as_ref().is_some_and(|order| order.token == *token);
                state.git.admins.retain(|_id, admin| !is_it(admin));
            },
        );
        self.step("roll back: the branch").await?;
        self.change(
            || format!("  roll back {path}: the branch"),
            |state| {
                if let Some((name, tip)) = &intent.made_branch
                    && state.git.branches.get(name) == Some(tip)
                {
                    state.git.branches.remove(name);
                }
            },
        );
        self.step("roll back: done").await?;
        self.change(
            || format!("  roll back {path}: done"),
            |state| state.git.trash.get_mut(&id).expect("it was there").restoring = None,
        );
        Ok(())
    }
}

struct BranchPlan {
    head: Head,
    make: Option<(String, Commit)>,
}

/// `restore_branch.rs`: where HEAD of a restored tree is.
fn branch_plan(git: &Git, entry: &TrashEntry) -> BranchPlan {
    let own = &entry.order.branch.name;
    let mut make = None;
    if let (true, Some(tip)) = (entry.branch_deleted, &entry.branch_tip)
        && !git.branches.contains_key(own)
    {
        make = Some((own.clone(), commit_named(tip)));
    }
    let head = entry.head.as_deref().map(commit_named);
    let Some(branch) = &entry.on_branch else {
        return BranchPlan { head: Head::At(head.unwrap_or(0)), make };
    };
    let will_be = match &make {
        Some((name, tip)) if name == branch => Some(*tip),
        Some(_) | None => git.branches.get(branch).copied(),
    };
    match (head, will_be) {
        (Some(head), None) => {
            BranchPlan { head: Head::Branch(branch.clone()), make: Some((branch.clone(), head)) }
        }
        (Some(head), Some(now)) if now == head && !git.is_used(branch) => {
            BranchPlan { head: Head::Branch(branch.clone()), make }
        }
        (Some(head), Some(_moved)) => BranchPlan { head: Head::At(head), make },
        (None, _) => BranchPlan { head: Head::At(0), make },
    }
}
