//! What retiring, saving and emptying do to the repository and its trash, step by step.

use std::collections::BTreeSet;

use lanes::ids::LaneId;
use lanes::worktree::{Order, Saved, TrashEntry, Tree};

use super::git::{At, Head, Spot, Whose, commit_named, intent, oid};
use super::making::{REFS, Result, failure};
use super::sim::{Planted, Sim};

impl Sim {
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
