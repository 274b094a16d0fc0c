//! A repository as values: commits, branches, admin entries, trees, the trash, the vault.

use std::collections::{BTreeMap, BTreeSet};

use lanes::ids::LaneId;
use lanes::worktree::{Base, Order, Saved, TrashEntry, Tree};

use crate::records;

/// A commit, by its place in the order of making.
pub type Commit = usize;
/// A file that git does not have (yet), by its content.
pub type File = u64;

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A lane's.
    Ours,
    /// The user's, or another home's.
    Others,
}

/// Where HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// On a branch.
    Branch(String),
    /// At a commit.
    At(Commit),
}

/// An admin entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub whose: Whose,
    /// Where its tree is to be.
    pub path: String,
    pub head: Head,
    /// The reflog of HEAD.
    pub log: BTreeSet<Commit>,
    /// The token.
    pub order: Option<Order>,
    /// The lane of the lock reason.
    pub lock: Option<LaneId>,
}

/// A folder with a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    pub whose: Whose,
    pub ino: u64,
    /// What its `.git` file names.
    pub admin: Option<String>,
    pub files: BTreeSet<File>,
}

/// An unfinished restore.
#[derive(Clone, Debug, PartialEq)]
pub struct Restoring {
    pub order: Order,
    pub admin_id: String,
    pub ino: u64,
    pub from_archive: bool,
    pub made_branch: Option<(String, Commit)>,
}

/// An entry of the trash.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    pub whose: Whose,
    pub entry: TrashEntry,
    pub tree: Option<Folder>,
    pub admin: Option<Admin>,
    pub archive: Option<BTreeSet<File>>,
    pub staging: Option<Folder>,
    pub restoring: Option<Restoring>,
}

/// A repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Git {
    /// Parents of each commit, and the files it brought.
    pub commits: Vec<(Vec<Commit>, BTreeSet<File>)>,
    pub branches: BTreeMap<String, Commit>,
    pub admins: BTreeMap<String, Admin>,
    pub trees: BTreeMap<String, Folder>,
    /// What undo is deleting.
    pub asides: BTreeMap<LaneId, Folder>,
    pub trash: BTreeMap<LaneId, Spot>,
    /// Emptied trash that is not freed yet.
    pub gone: BTreeMap<LaneId, Spot>,
    pub vault: BTreeMap<LaneId, BTreeSet<Commit>>,
    /// The device that everything is on; another one after each start of the machine.
    pub dev: u64,
    inos: u64,
}

/// Where something of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Here(String),
    Gone,
    Foreign,
}

impl Git {
    pub fn commit(&mut self, parents: Vec<Commit>, files: BTreeSet<File>) -> Commit {
        self.commits.push((parents, files));
        self.commits.len() - 1
    }

    pub fn new_ino(&mut self) -> u64 {
        self.inos += 1;
        self.inos
    }

    /// For each commit, whether it is one of these or before one.
    pub fn history(&self, from: impl IntoIterator<Item = Commit>) -> Vec<bool> {
        let mut seen = vec![false; self.commits.len()];
        let mut next: Vec<Commit> = from.into_iter().collect();
        while let Some(commit) = next.pop() {
            if !std::mem::replace(&mut seen[commit], true) {
                next.extend(&self.commits[commit].0);
            }
        }
        seen
    }

    pub fn head_of(&self, admin: &Admin) -> Option<Commit> {
        match &admin.head {
            Head::Branch(name) => self.branches.get(name).copied(),
            Head::At(commit) => Some(*commit),
        }
    }

    /// What a `git gc` at this moment would keep.
    pub fn reachable(&self) -> Vec<bool> {
        let branches = self.branches.values().copied();
        let vault = self.vault.values().flatten().copied();
        let admins =
            self.admins.values().flat_map(|admin| admin.log.iter().copied().chain(self.head_of(admin)));
        self.history(branches.chain(vault).chain(admins))
    }

    /// For each file below `last`, whether it can be had: in a tree, in the trash, in a reachable commit.
    pub fn files(&self, reachable: &[bool], last: File) -> Vec<bool> {
        let mut there = vec![false; usize::try_from(last).expect("few files") + 1];
        let mut have = |files: &BTreeSet<File>| {
            for file in files {
                there[usize::try_from(*file).expect("few files")] = true;
            }
        };
        self.trees.values().for_each(|folder| have(&folder.files));
        for spot in self.trash.values() {
            spot.tree.iter().for_each(|folder| have(&folder.files));
            if matches!(spot.entry.saved, Saved::Archived { .. }) {
                spot.archive.iter().for_each(&mut have);
            }
        }
        let kept = self.commits.iter().zip(reachable).filter(|(_commit, reached)| **reached);
        kept.for_each(|((_parents, files), _reached)| have(files));
        there
    }

    /// True when another branch has the commit too.
    pub fn is_merged(&self, tip: Commit, but: &str) -> bool {
        let others = self.branches.iter().filter(|(name, _tip)| *name != but).map(|(_name, tip)| *tip);
        self.history(others)[tip]
    }

    pub fn is_used(&self, branch: &str) -> bool {
        self.admins.values().any(|admin| admin.head == Head::Branch(branch.to_owned()))
    }

    pub fn find_admin(&self, order: &Order, tree: &Tree) -> At {
        let Some(admin) = self.admins.get(&tree.admin_id) else { return At::Gone };
        match admin.order.as_ref().is_some_and(|carried| carried.token == order.token) {
            true => At::Here(tree.admin_id.clone()),
            false => At::Foreign,
        }
    }

    /// The folder of the record: device, inode, `.git`, and not another order's.
    pub fn find_tree(&self, order: &Order, tree: &Tree) -> At {
        let path = tree.path.to_string();
        let Some(folder) = self.trees.get(&path) else { return At::Gone };
        let same = (self.dev, folder.ino) == (tree.dev, tree.ino);
        let named = folder.admin.as_ref() == Some(&tree.admin_id);
        let carried = self.admins.get(&tree.admin_id).and_then(|admin| admin.order.as_ref());
        let other = carried.is_some_and(|carried| carried.token != order.token);
        if same && named && !other { At::Here(path) } else { At::Foreign }
    }

    /// The tree of an order, proved by its token alone.
    pub fn found(&self, order: &Order) -> Option<Tree> {
        let path = order.path.to_string();
        let folder = self.trees.get(&path)?;
        let admin_id = folder.admin.clone()?;
        let admin = self.admins.get(&admin_id)?;
        let carried = admin.order.as_ref().filter(|carried| carried.token == order.token)?;
        (admin.path == path).then(|| self.tree_of(order, folder, &admin_id, &carried.branch))
    }

    pub fn tree_of(
        &self,
        order: &Order,
        folder: &Folder,
        admin_id: &str,
        branch: &lanes::worktree::Branch,
    ) -> Tree {
        Tree {
            admin_id: admin_id.to_owned(),
            dev: self.dev,
            ino: folder.ino,
            branch: branch.clone(),
            ..records::tree(order)
        }
    }

    /// True when an admin entry is provably of the order.
    pub fn is_of(admin: &Admin, order: &Order) -> bool {
        match &admin.order {
            Some(carried) => carried.token == order.token,
            None => admin.lock == Some(order.lane_id),
        }
    }

    /// False only when the tree is as provisioning made it.
    pub fn is_worked_in(&self, order: &Order, tree: &Tree) -> bool {
        self.has_moved_on(order, &tree.admin_id)
            || self.trees.get(&order.path.to_string()).is_none_or(|folder| !folder.files.is_empty())
    }

    /// False only when HEAD has been nowhere but at the base.
    pub fn has_moved_on(&self, order: &Order, admin_id: &str) -> bool {
        let Some(admin) = self.admins.get(admin_id) else { return true };
        let base = commit_of(&order.base);
        admin.log.iter().any(|commit| *commit != base) || self.head_of(admin) != Some(base)
    }

    /// The order that the entry of a lane's tree carries, and the tree as far as the entry tells.
    pub fn entry_of(&self, token: &str) -> Option<(Order, Tree)> {
        self.admins.iter().find_map(|(id, admin)| {
            let order = admin.order.clone().filter(|order| order.token == token)?;
            let tree = Tree::unseen(&order, id);
            Some((order, tree))
        })
    }

    /// A free name for an admin entry.
    pub fn free_admin(&self, name: &str) -> String {
        let mut free = name.to_owned();
        while self.admins.contains_key(&free) {
            free.push('1');
        }
        free
    }

    /// True when what is not ours is still as in `was`.
    pub fn others_are(&self, was: &Self) -> bool {
        let theirs = self.branches.iter().filter(|(name, _tip)| !name.starts_with("lanes/"));
        theirs.eq(&was.branches)
            && same(&self.admins, &was.admins, |admin| admin.whose)
            && same(&self.trees, &was.trees, |folder| folder.whose)
            && same(&self.asides, &was.asides, |folder| folder.whose)
            && same(&self.trash, &was.trash, |spot| spot.whose)
            && same(&self.gone, &was.gone, |spot| spot.whose)
    }

    /// All that is not ours.
    pub fn others(&self) -> Self {
        let others = |whose: Whose| whose == Whose::Others;
        Self {
            branches: self
                .branches
                .iter()
                .filter(|(name, _tip)| !name.starts_with("lanes/"))
                .map(|(name, tip)| (name.clone(), *tip))
                .collect(),
            admins: keep(&self.admins, |admin| others(admin.whose)),
            trees: keep(&self.trees, |folder| others(folder.whose)),
            asides: keep(&self.asides, |folder| others(folder.whose)),
            trash: keep(&self.trash, |spot| others(spot.whose)),
            gone: keep(&self.gone, |spot| others(spot.whose)),
            ..Self::default()
        }
    }
}

fn same<K: Ord, V: PartialEq>(
    now: &BTreeMap<K, V>,
    was: &BTreeMap<K, V>,
    whose: impl Fn(&V) -> Whose,
) -> bool {
    now.iter().filter(|(_key, value)| whose(value) == Whose::Others).eq(was)
}

fn keep<K: Ord + Clone, V: Clone>(map: &BTreeMap<K, V>, wanted: impl Fn(&V) -> bool) -> BTreeMap<K, V> {
    map.iter()
        .filter(|(_key, value)| wanted(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// As the product writes a commit.
pub fn oid(commit: Commit) -> String {
    format!("c{commit}")
}

/// The commit of that text.
pub fn commit_named(text: &str) -> Commit {
    text.trim_start_matches('c').parse().expect("a commit of ours")
}

/// The commit that a base meant.
pub fn commit_of(base: &Base) -> Commit {
    commit_named(&base.sha)
}

/// The intent to retire a tree.
pub fn intent(order: &Order, tree: &Tree, head: Option<Commit>, on_branch: Option<String>) -> TrashEntry {
    TrashEntry { head: head.map(oid), on_branch, complete: false, ..records::entry(order, tree) }
}
