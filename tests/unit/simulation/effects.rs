//! What retiring, saving, restoring and undoing do to the repository: the steps of `src/worktree/`, in their
//! order, so that the runtime may stop between any two of them.

use std::collections::BTreeSet;

use lanes::failure::{Code, Failure};
use lanes::ids::LaneId;
use lanes::worktree::{Branch, Order, Saved, TrashEntry, Tree};

use super::git::{Admin, At, Folder, Head, Restoring, Spot, Whose, commit_named, commit_of, intent, oid};
use super::sim::{Planted, Sim};

type Result<T> = std::result::Result<T, Failure>;

fn failure(why: &str) -> Failure {
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
                if admin.is_some_and(|admin| super::git::Git::is_of(admin, order)) {
                    let folder = state.git.trees.remove(&path).expect("it is there");
                    state.git.asides.insert(order.lane_id, folder);
                }
            },
        );
        self.step("undo: the admin entry").await?;
        self.change(
            || format!("  undo: the admin entry of {path}"),
            |state| state.git.admins.retain(|_id, admin| !super::git::Git::is_of(admin, order)),
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

    /// `trash_retire.rs`: the tree into the trash.
    pub async fn retire(&self, order: &Order, tree: &Tree) -> Result<TrashEntry> {
        let id = order.lane_id;
        self.step("retire: the intent").await?;
        let known = self.lock().git.trash.get(&id).map(|spot| spot.entry.clone());
        match known {
            Some(entry) if entry.order.token != order.token => {
                return Err(failure("the trash holds another tree under this lane's id"));
            }
            Some(_) => {}
            None => self.change(
                || format!("  retire {}: the intent", order.name),
                |state| {
                    let git = &mut state.git;
                    let (head, on) = match git.find_admin(order, tree) {
                        At::Here(admin) => {
                            let admin = &git.admins[&admin];
                            let on = match &admin.head {
                                Head::Branch(name) => Some(name.clone()),
                                Head::At(_) => None,
                            };
                            (git.head_of(admin), on)
                        }
                        At::Gone | At::Foreign => {
                            let tip = git.branches.get(&order.branch.name).copied();
                            (tip, tip.map(|_| order.branch.name.clone()))
                        }
                    };
                    let entry = intent(order, tree, head, on);
                    git.trash.insert(
                        id,
                        Spot {
                            whose: Whose::Ours,
                            entry,
                            tree: None,
                            admin: None,
                            archive: None,
                            staging: None,
                            restoring: None,
                        },
                    );
                },
            ),
        }
        if self.lock().git.trash.get(&id).is_some_and(|spot| spot.entry.complete) {
            return Ok(self.lock().git.trash[&id].entry.clone());
        }
        self.change(String::new, |state| {
            let spot = state.git.trash.get_mut(&id).expect("it was there");
            (spot.entry.tree.dev, spot.entry.tree.ino) = (tree.dev, tree.ino);
        });
        self.pin(order, tree).await?;
        self.move_out(order, tree).await?;
        self.drop_branch(order).await?;
        self.step("retire: done").await?;
        Ok(self.change(
            || format!("  retire {}: done", order.name),
            |state| {
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                spot.entry.complete = true;
                spot.entry.clone()
            },
        ))
    }

    async fn pin(&self, order: &Order, tree: &Tree) -> Result<()> {
        let id = order.lane_id;
        {
            let state = self.lock();
            let spot = &state.git.trash[&id];
            let here = matches!(state.git.find_admin(order, tree), At::Here(_));
            if spot.admin.is_some() || (!here && spot.entry.vault_commit.is_some()) {
                return Ok(());
            }
            if state.planted == Some(Planted::SkipPin) {
                return Ok(());
            }
        }
        let _refs = self.hold(REFS).await;
        self.step("retire: the vault").await?;
        let held = self.change(
            || format!("  retire {}: the vault", order.name),
            |state| {
                let git = &mut state.git;
                let mut held = BTreeSet::new();
                if let At::Here(admin) = git.find_admin(order, tree) {
                    let admin = git.admins[&admin].clone();
                    held.extend(admin.log.iter().copied());
                    held.extend(git.head_of(&admin));
                    let head = git.head_of(&admin).map(oid);
                    let entry = &mut git.trash.get_mut(&id).expect("it was there").entry;
                    entry.head = head;
                    entry.on_branch = match admin.head {
                        Head::Branch(name) => Some(name),
                        Head::At(_) => None,
                    };
                }
                held.extend(git.trash[&id].entry.head.as_deref().map(commit_named));
                if order.branch.created {
                    held.extend(git.branches.get(&order.branch.name).copied());
                }
                git.vault.entry(id).or_default().extend(held.iter().copied());
                held
            },
        );
        self.step("retire: the pins").await?;
        self.change(
            || format!("  retire {}: the pins", order.name),
            |state| {
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                spot.entry.pins = held.iter().map(|commit| oid(*commit)).collect();
                spot.entry.vault_commit = Some("vault".into());
            },
        );
        Ok(())
    }

    async fn move_out(&self, order: &Order, tree: &Tree) -> Result<()> {
        let id = order.lane_id;
        self.step("retire: the tree").await?;
        self.change(
            || format!("  retire {}: the tree", order.name),
            |state| {
                if state.git.trash[&id].tree.is_none()
                    && let At::Here(path) = state.git.find_tree(order, tree)
                {
                    let folder = state.git.trees.remove(&path);
                    state.git.trash.get_mut(&id).expect("it was there").tree = folder;
                }
            },
        );
        self.step("retire: the admin entry").await?;
        self.change(
            || format!("  retire {}: the admin entry", order.name),
            |state| {
                if let At::Here(admin) = state.git.find_admin(order, tree) {
                    let admin = state.git.admins.remove(&admin);
                    state.git.trash.get_mut(&id).expect("it was there").admin = admin;
                }
            },
        );
        Ok(())
    }

    async fn drop_branch(&self, order: &Order) -> Result<()> {
        let (id, name) = (order.lane_id, order.branch.name.clone());
        let _refs = self.hold(REFS).await;
        self.step("retire: the branch").await?;
        let tip = self.change(
            || format!("  retire {}: where the branch is", order.name),
            |state| {
                let tip = state.git.branches.get(&name).copied();
                let entry = &state.git.trash[&id].entry;
                let (ours, done) = (entry.order.branch.created, entry.branch_deleted);
                let wanted = tip.filter(|tip| {
                    ours && !done && state.git.is_merged(*tip, &name) && !state.git.is_used(&name)
                });
                let spot = state.git.trash.get_mut(&id).expect("it was there");
                if ours && tip.is_none() {
                    spot.entry.branch_deleted = spot.entry.branch_tip.is_some();
                }
                if let Some(tip) = wanted {
                    spot.entry.branch_tip = Some(oid(tip));
                }
                wanted
            },
        );
        let Some(tip) = tip else { return Ok(()) };
        self.step("retire: the branch goes").await?;
        let gone = self.change(
            || format!("  retire {}: the branch goes", order.name),
            |state| {
                let still = state.git.branches.get(&name) == Some(&tip);
                if still {
                    state.git.branches.remove(&name);
                } else {
                    state.git.trash.get_mut(&id).expect("it was there").entry.branch_tip = None;
                }
                still
            },
        );
        self.step("retire: the branch is gone").await?;
        self.change(String::new, |state| {
            state.git.trash.get_mut(&id).expect("it was there").entry.branch_deleted = gone;
        });
        Ok(())
    }

    /// `archive_save.rs`: what git has not into the archive, the rest is freed.
    pub async fn save(&self, id: LaneId) -> Result<bool> {
        let _held = self.hold(id).await;
        {
            let state = self.lock();
            let Some(spot) = state.git.trash.get(&id) else { return Ok(false) };
            if !spot.entry.complete || spot.restoring.is_some() {
                return Ok(false);
            }
        }
        let mut told = false;
        if self.lock().git.trash[&id].entry.saved == Saved::Pending {
            self.step("save: the archive").await?;
            let whole = self.change(
                || format!("  save {}: the archive", id),
                |state| {
                    let whole = state.rng.chance(20);
                    let spot = state.git.trash.get_mut(&id).expect("it was there");
                    let files = spot.tree.as_ref().map(|tree| tree.files.clone()).unwrap_or_default();
                    spot.archive = (!whole).then_some(files);
                    if state.planted == Some(Planted::FreeBeforeRecord) && !whole {
                        state.git.trash.get_mut(&id).expect("it was there").tree = None;
                    }
                    whole
                },
            );
            self.step("save: the record").await?;
            self.change(
                || format!("  save {}: the record", id),
                |state| {
                    let spot = state.git.trash.get_mut(&id).expect("it was there");
                    spot.entry.saved = match whole {
                        true => Saved::Whole { reason: "it is large".into() },
                        false => Saved::Archived { files: 1, bytes: 1 },
                    };
                },
            );
            told = true;
        }
        if matches!(self.lock().git.trash[&id].entry.saved, Saved::Archived { .. }) {
            self.step("save: the tree").await?;
            self.change(
                || format!("  save {}: the tree is freed", id),
                |state| state.git.trash.get_mut(&id).expect("it was there").tree = None,
            );
        }
        Ok(told)
    }

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

    /// `trash_empty.rs`: entries for good, when a person says so.
    pub async fn empty(&self, ids: &[LaneId]) {
        for id in ids {
            let _held = self.hold(*id).await;
            let free = self
                .lock()
                .git
                .trash
                .get(id)
                .is_some_and(|spot| spot.entry.complete && spot.restoring.is_none());
            if !free {
                continue;
            }
            self.sure_step().await;
            self.others_do(
                || format!("  emptied: {id}"),
                |state| {
                    if let Some(spot) = state.git.trash.remove(id) {
                        state.git.gone.insert(*id, spot);
                    }
                },
            );
            self.sure_step().await;
            self.change(String::new, |state| state.git.gone.remove(id));
        }
        let _refs = self.hold(REFS).await;
        self.sure_step().await;
        self.others_do(
            || "  the vault is made anew".to_owned(),
            |state| {
                let pinned = |id: &LaneId| state.git.trash.get(id).is_some_and(|s| !s.entry.pins.is_empty());
                let keep: BTreeSet<LaneId> =
                    state.git.vault.keys().filter(|id| pinned(id)).copied().collect();
                state.git.vault.retain(|id, _commits| keep.contains(id));
            },
        );
    }
}

struct BranchPlan {
    head: Head,
    make: Option<(String, super::git::Commit)>,
}

/// `restore_branch.rs`: where HEAD of a restored tree is.
fn branch_plan(git: &super::git::Git, entry: &TrashEntry) -> BranchPlan {
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
