//! What making and undoing a tree do to the repository: the steps of `src/worktree/`, in their order, so that the
//! runtime may stop between any two of them.

use std::collections::BTreeSet;

use lanes::failure::{Code, Failure};
use lanes::ids::LaneId;
use lanes::worktree::{Order, Tree};

use super::git::{Admin, Folder, Git, Head, Whose, commit_of};
use super::sim::Sim;

/// As the product answers.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why something cannot be done.
pub fn failure(why: &str) -> Failure {
    Failure::new(Code::GitFailed, why.to_owned())
}

/// What stands for the lock around refs and admin entries.
pub const REFS: LaneId = LaneId::from_u128(0);

/// Somebody works at an entry of the trash.
pub struct Held {
    sim: Sim,
    id: LaneId,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sim.lock().locked.remove(&self.id);
    }
}

impl Sim {
    /// Waits until nobody else works at an entry.
    pub async fn hold(&self, id: LaneId) -> Held {
        while !self.lock().locked.insert(id) {
            self.sure_step().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Held { sim: self.clone(), id }
    }

    /// `provision.rs`: the tree of an order, or nothing.
    pub async fn make(&self, order: &Order) -> Result<Tree> {
        self.step("looking for room").await?;
        let (path, branch) = (order.path.to_string(), order.branch.name.clone());
        {
            let state = self.lock();
            if state.git.trees.contains_key(&path) {
                return Err(failure("the path is taken"));
            }
            if order.branch.created && state.git.branches.contains_key(&branch) {
                return Err(failure("the branch is there already"));
            }
        }
        let made = self.make_steps(order, &path, &branch).await;
        if let Err(first) = made {
            let _repeated_by_recovery = self.undo(order).await;
            return Err(first);
        }
        made
    }

    async fn make_steps(&self, order: &Order, path: &str, branch: &str) -> Result<Tree> {
        self.step("git: the branch").await?;
        self.change(
            || format!("  branch {branch}"),
            |state| match state.git.branches.get(branch) {
                Some(_) if order.branch.created => Err(failure("the branch is there already")),
                Some(_) => Ok(()),
                None => {
                    state.git.branches.insert(branch.to_owned(), commit_of(&order.base));
                    Ok(())
                }
            },
        )?;
        self.step("git: the admin entry").await?;
        let admin_id = self.change(
            || format!("  admin entry of {path}"),
            |state| {
                let id = state.git.free_admin(&order.name);
                let base = commit_of(&order.base);
                let admin = Admin {
                    whose: Whose::Ours,
                    path: path.to_owned(),
                    head: Head::Branch(branch.to_owned()),
                    log: BTreeSet::from([base]),
                    order: None,
                    lock: Some(order.lane_id),
                };
                state.git.admins.insert(id.clone(), admin);
                id
            },
        );
        self.step("git: the tree").await?;
        self.change(
            || format!("  tree {path}"),
            |state| {
                if state.git.trees.contains_key(path) {
                    return Err(failure("the path is taken"));
                }
                let ino = state.git.new_ino();
                let folder =
                    Folder { whose: Whose::Ours, ino, admin: Some(admin_id.clone()), files: BTreeSet::new() };
                state.git.trees.insert(path.to_owned(), folder);
                Ok(())
            },
        )?;
        self.step("the token").await?;
        self.change(
            || format!("  token of {path}"),
            |state| {
                if let Some(admin) = state.git.admins.get_mut(&admin_id) {
                    admin.order = Some(order.clone());
                }
            },
        );
        self.step("the files").await?;
        let state = self.lock();
        let folder = state.git.trees.get(path).ok_or_else(|| failure("the tree is gone"))?;
        Ok(state.git.tree_of(order, folder, &admin_id, &order.branch))
    }

    /// `undo.rs`: takes back what provisioning of the order made.
    pub async fn undo(&self, order: &Order) -> Result<()> {
        let path = order.path.to_string();
        self.step("undo: the tree").await?;
        self.change(
            || format!("  undo: {path} out of the way"),
            |state| {
                let named = state.git.trees.get(&path).and_then(|folder| folder.admin.clone());
                let admin = named.and_then(|id| state.git.admins.get(&id));
                if admin.is_some_and(|admin| Git::is_of(admin, order)) {
                    let folder = state.git.trees.remove(&path).expect("it is there");
                    state.git.asides.insert(order.lane_id, folder);
                }
            },
        );
        self.step("undo: the admin entry").await?;
        self.change(
            || format!("  undo: the admin entry of {path}"),
            |state| state.git.admins.retain(|_id, admin| !Git::is_of(admin, order)),
        );
        self.step("undo: the branch").await?;
        self.change(
            || format!("  undo: the branch {}", order.branch.name),
            |state| {
                let name = &order.branch.name;
                let base = commit_of(&order.base);
                let at_base = state.git.branches.get(name) == Some(&base);
                if order.branch.created && at_base && !state.git.is_used(name) {
                    state.git.branches.remove(name);
                }
            },
        );
        self.step("undo: what is left").await?;
        self.change(|| format!("  undo: {path} is freed"), |state| state.git.asides.remove(&order.lane_id));
        Ok(())
    }
}
