//! The links between a repository and its worktrees: how they are, and those of ours led back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::discover::gitfile_target;
use super::error::WorktreeError;
use super::model::Order;
use super::pins_vault::{VAULT_DIR, VAULT_REASON};
use super::provision::LOCK_PATIENCE;
use super::resolve::{admin_dirs, tree_of};
use super::restore_admin::point_tree;
use super::token::{lock_reason, read_token};
use super::{layout, lock::WorkspaceLock, trash};
use crate::ids::WorkspaceId;

/// One linked worktree as its admin entry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name of the admin entry.
    pub name: String,
    /// The admin directory.
    pub admin: PathBuf,
    /// Where the tree is, by the entry; where it was ordered, when the entry does not say.
    pub tree: PathBuf,
    /// By which order it was made, when a runtime made it.
    pub order: Option<Order>,
    /// Why it is locked, when it is.
    pub locked: Option<String>,
    /// How the two fit.
    pub state: LinkState,
}

/// How an admin entry and its tree fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The tree leads back to the entry.
    Fits,
    /// The tree leads to an entry of the same name in a place that is not there: the repository was moved.
    Broken,
    /// The tree leads to something else, which is there.
    Elsewhere(PathBuf),
    /// The folder is there, its `.git` is not.
    NoLink,
    /// The folder is not there.
    Gone,
    /// The entry itself is broken: in words.
    Unreadable(String),
}

/// The links of every worktree, the vaults aside. Changes nothing. Blocks.
pub fn links(common_dir: &Path) -> Vec<Link> {
    admin_dirs(common_dir)
        .into_iter()
        .filter(|(_name, admin)| root_of_vault(common_dir, admin).is_none())
        .map(|(name, admin)| {
            let order = read_token(&admin);
            let ordered = order.as_ref().map(|order| order.path.to_path_buf());
            let said = tree_of(&admin);
            let state = match &said {
                None => LinkState::Unreadable("it does not say where its tree is".to_owned()),
                Some(_) if admin.join("HEAD").symlink_metadata().is_err() => {
                    LinkState::Unreadable("it has no HEAD".to_owned())
                }
                Some(tree) => state_of(tree, &admin),
            };
            Link {
                tree: said.or(ordered).unwrap_or_default(),
                locked: lock_reason(&admin),
                order,
                name,
                admin,
                state,
            }
        })
        .collect()
}

/// What a runtime has in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfHome {
    /// The ids under which it knows the repository; one, unless somebody meddled.
    pub workspaces: BTreeSet<WorkspaceId>,
    /// The folders of its trees and its trash.
    pub roots: BTreeSet<PathBuf>,
    /// Trees that lead to where the repository was.
    pub broken: usize,
}

/// What the runtime of `home` has in a repository: by the orders of its trees, and of its trash. Blocks.
pub fn of_home(common_dir: &Path, home: &Path) -> OfHome {
    let mut found = OfHome::default();
    let mut orders = Vec::new();
    for link in links(common_dir) {
        let Some(order) = link.order.filter(|order| order.home.as_path() == home) else { continue };
        found.broken += usize::from(link.state == LinkState::Broken);
        orders.push(order);
    }
    for (root, _admin, _locked) in vaults(common_dir) {
        let entries = trash::list(&root).unwrap_or_default();
        orders.extend(
            entries.into_iter().map(|entry| entry.order).filter(|order| order.home.as_path() == home),
        );
    }
    for order in orders {
        found.workspaces.insert(order.workspace_id);
        found.roots.insert(order.root.to_path_buf());
    }
    found
}

fn state_of(tree: &Path, admin: &Path) -> LinkState {
    match tree.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) | Err(_) => return LinkState::Gone,
    }
    let Some(said) = gitfile_target(&tree.join(".git")) else {
        let has_own = tree.join(".git").symlink_metadata().is_ok();
        return if has_own { LinkState::Elsewhere(tree.join(".git")) } else { LinkState::NoLink };
    };
    let said = tree.join(said);
    match (said.canonicalize(), admin.canonicalize()) {
        (Ok(said), Ok(admin)) if said == admin => LinkState::Fits,
        (Ok(other), _) => LinkState::Elsewhere(other),
        (Err(_), _) => {
            let same_name = said.file_name() == admin.file_name()
                && said.parent().and_then(Path::file_name) == Some("worktrees".as_ref());
            if same_name { LinkState::Broken } else { LinkState::Elsewhere(said) }
        }
    }
}

/// Leads a tree of this home back to its admin entry after the repository was moved: what
/// `git worktree repair` does, for this one alone. Looks again first; one that fits by now is left as it is.
///
/// # Errors
/// `NotOurs` when it does not carry an order of this home or leads elsewhere; `Lock`, `File`.
pub async fn lead_back(
    common_dir: &Path,
    tree: &Path,
    admin: &Path,
    home: &Path,
) -> Result<(), WorktreeError> {
    let not_ours =
        |reason: &str| WorktreeError::NotOurs { path: tree.to_path_buf(), reason: reason.to_owned() };
    let _held = WorkspaceLock::acquire(common_dir, LOCK_PATIENCE, "repair of a moved repository").await?;
    let order = read_token(admin).filter(|order| order.home.as_path() == home);
    if order.is_none() || tree_of(admin).as_deref() != Some(tree) {
        return Err(not_ours("it does not carry an order of this home"));
    }
    match state_of(tree, admin) {
        LinkState::Fits => Ok(()),
        LinkState::Broken => point_tree(tree, admin),
        LinkState::Elsewhere(_) | LinkState::NoLink | LinkState::Gone | LinkState::Unreadable(_) => {
            Err(not_ours("it does not lead to where the repository was"))
        }
    }
}

/// Leads the folders of the vaults back likewise: git repairs nothing that has no tree, and lists them as gone.
///
/// # Errors
/// `Lock`, `File`.
pub async fn lead_vaults_back(common_dir: &Path) -> Result<(), WorktreeError> {
    let _held = WorkspaceLock::acquire(common_dir, LOCK_PATIENCE, "repair of a moved repository").await?;
    for (root, admin, _locked) in vaults(common_dir) {
        let folder = root.join(VAULT_DIR);
        if state_of(&folder, &admin) == LinkState::Broken {
            point_tree(&folder, &admin)?;
        }
    }
    Ok(())
}

/// The vaults of a repository: the root of each, its admin directory, and whether that is locked.
pub fn vaults(common_dir: &Path) -> Vec<(PathBuf, PathBuf, bool)> {
    let of = |(_name, admin): (String, PathBuf)| {
        let root = root_of_vault(common_dir, &admin)?;
        let locked = is_locked_as_vault(&admin);
        Some((root, admin, locked))
    };
    admin_dirs(common_dir).into_iter().filter_map(of).collect()
}

/// Locks the admin entry of a vault again.
///
/// # Errors
/// `NotOurs` when it is none, `Lock`, `File`.
pub async fn lock_vault(common_dir: &Path, admin: &Path) -> Result<(), WorktreeError> {
    let _held = WorkspaceLock::acquire(common_dir, LOCK_PATIENCE, "repair of the vault").await?;
    if root_of_vault(common_dir, admin).is_none() {
        let reason = "it is not the entry of a vault".to_owned();
        return Err(WorktreeError::NotOurs { path: admin.to_path_buf(), reason });
    }
    layout::write_private(&admin.join("locked"), VAULT_REASON.as_bytes())
}

fn is_locked_as_vault(admin: &Path) -> bool {
    lock_reason(admin).is_some_and(|reason| reason == VAULT_REASON)
}

/// The root whose vault an admin entry is: by its lock, or by its place in a root of this repository.
fn root_of_vault(common_dir: &Path, admin: &Path) -> Option<PathBuf> {
    let folder = tree_of(admin).filter(|folder| folder.file_name() == Some(VAULT_DIR.as_ref()))?;
    let root = folder.parent()?;
    (is_locked_as_vault(admin) || layout::is_root_of(root, common_dir)).then(|| root.to_path_buf())
}
