//! Puts a spare that somebody worked in into the trash, so that they get it back.

use uuid::Uuid;

use super::claim::unusable;
use super::error::WorktreeError;
use super::found::{Found, take_hold};
use super::git::Git;
use super::model::{Base, Branch, Order, Repository, TrashEntry};
use super::spare::{Kept, SPARE_REASON, forget_spare, read_spare};
use super::spare_remove::check_unused;
use super::token::lock_reason;
use super::trash::{self, Spot};
use super::trash_retire::retire;
use crate::fault;
use crate::ids::LaneId;

/// What its trash entry says.
const NOTE: &str =
    "this tree was in stock for lanes to come, and somebody changed files in it: nothing of that is lost";

/// Retires a spare under a lane id of its own. Its commits are pinned and its files kept like those of a lane;
/// the caller saves it. What a crash leaves is a tree with an order that no record is of, in its place: it is
/// found like every such tree.
///
/// # Errors
/// `SpareUnusable` when it is no spare any more or overlays live on it, `NotOurs` when another folder is there; those of
/// [`retire`](super::retire).
pub async fn set_aside(git: &Git, repo: &Repository, kept: &Kept) -> Result<TrashEntry, WorktreeError> {
    let admin = kept.admin(repo);
    if read_spare(&admin).is_none() {
        return unusable(kept.tree(), "it is nobody's spare any more");
    }
    check_unused(kept)?;
    let found = Found {
        path: kept.tree().to_path_buf(),
        identity: Some((kept.dev, kept.ino)),
        admin: Some(kept.name.clone()),
    };
    let order = order_of(kept, lock_reason(&admin).as_deref());
    let (order, tree) = take_hold(git, repo, &found, &order).await?;
    fault::at("aside.held")?;
    forget_spare(&admin)?;
    let mut entry = retire(git, repo, &order, &tree).await?;
    entry.notes.push(NOTE.to_owned());
    trash::store(&Spot::new(order.root.as_path(), order.lane_id), &entry)?;
    Ok(entry)
}

fn order_of(kept: &Kept, locked: Option<&str>) -> Order {
    let lane_id = LaneId::generate();
    let unique = kept.name.rsplit('-').next().unwrap_or_default();
    let name = format!("pooled-{unique}");
    let maker = locked.and_then(|reason| reason.strip_prefix(SPARE_REASON)).unwrap_or_default();
    let spare = &kept.spare;
    Order {
        lane_id,
        workspace_id: spare.workspace_id,
        token: Uuid::new_v4().simple().to_string(),
        home: spare.home.clone(),
        root: spare.root.clone(),
        path: spare.path.clone(),
        base: Base { rev: spare.base.clone(), sha: spare.base.clone(), target: None },
        branch: Branch { name: format!("lanes/{name}"), created: false },
        name,
        lock_reason: format!("lanes {lane_id}{maker}"),
        submodules: false,
        copy: Vec::new(),
        link: Vec::new(),
    }
}
