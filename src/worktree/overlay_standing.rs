//! Looks which overlays of a root are mounted, and puts those up that are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::error::WorktreeError;
use super::git::Git;
use super::model::{Order, Repository, Saved};
use super::overlay::{self, Overlay, Place};
use super::overlay_make::MOUNTING;
use super::provision::Direct;
use super::retarget::refresh;
use super::settings::SettingsCache;
use super::spare::{Kept, SpareKind, Want};
use super::template::make_template;
use super::token::owned_trees;
use super::trash::{self, Spot, is_there};
use crate::ids::LaneId;

/// How an overlay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Mounted, with its template below it.
    Up,
    /// Not mounted: after a start of the machine, or because somebody unmounted it.
    Down,
    /// Mounted or not, its template is gone: why that is known.
    Templateless(String),
    /// It cannot be mounted: what is in its place.
    Blocked(String),
}

/// One overlay, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Whose.
    pub lane_id: LaneId,
    /// The name of the lane.
    pub name: String,
    /// The folder that it belongs on: the lane's, or the tree in its entry of the trash.
    pub at: PathBuf,
    /// The admin directory.
    pub admin: PathBuf,
    /// How it is.
    pub standing: Standing,
    /// Its layers.
    pub overlay: Overlay,
}

/// The overlays of a home in a root. One whose lane or record cannot be found is left out: nothing is lost as
/// long as nobody removes its layers. Blocks.
pub fn overlays(repo: &Repository, root: &Path, home: &Path) -> Vec<Stands> {
    let lanes = overlay::lanes_in(root);
    if lanes.is_empty() {
        return Vec::new();
    }
    let orders: BTreeMap<LaneId, (Order, String)> =
        owned_trees(repo).into_iter().map(|(order, admin, _path)| (order.lane_id, (order, admin))).collect();
    let look = |lane_id: LaneId| {
        let overlay = overlay::of(root, lane_id).ok()??;
        // What was cut off before it was mounted is undone, not mounted.
        if overlay.layered.home.as_path() != home || !is_there(&overlay.upper()).ok()? {
            return None;
        }
        let (name, at, admin) = belongs(repo, root, lane_id, &orders)?;
        let standing = stands(&overlay, &at).unwrap_or_else(|error| Standing::Blocked(error.to_string()));
        Some(Stands { lane_id, name, at, admin, standing, overlay })
    };
    lanes.into_iter().filter_map(look).collect()
}

/// The lane's name, where its overlay belongs, and its admin directory; none while it is being freed.
fn belongs(
    repo: &Repository,
    root: &Path,
    lane_id: LaneId,
    orders: &BTreeMap<LaneId, (Order, String)>,
) -> Option<(String, PathBuf, PathBuf)> {
    let spot = Spot::new(root, lane_id);
    let entry = trash::load(&spot).ok().flatten();
    let admin_of = |id: &str| repo.common_dir.join("worktrees").join(id);
    if let Some(entry) = entry
        && is_there(&spot.tree()).unwrap_or(true)
    {
        let kept = matches!(entry.saved, Saved::Pending | Saved::Whole { .. });
        let admin = if entry.complete { spot.admin() } else { admin_of(&entry.tree.admin_id) };
        return kept.then(|| (entry.order.name, spot.tree(), admin));
    }
    let (order, admin) = orders.get(&lane_id)?;
    Some((order.name.clone(), order.path.to_path_buf(), admin_of(admin)))
}

/// Makes the template of an overlay again that is gone, at the same commit, or takes `made`, which was made for
/// another one of it; mounts the overlay on it, and has git look at the files of its tree once.
///
/// # Errors
/// `Unmounted` when what decides how files look has changed since, or somebody is in the tree; as those of
/// [`make_template`] when the commit cannot be checked out any more. Nothing of the overlay is lost.
pub async fn renew(
    git: &Git,
    repo: &Repository,
    stands: &Stands,
    made: Option<Kept>,
    lock_reason: String,
) -> Result<Kept, WorktreeError> {
    let layered = &stands.overlay.layered;
    let settings = SettingsCache::default().get(git, repo).await?;
    if settings.print != layered.print {
        let reason = "its template is gone, and what decides how files look has changed since".to_owned();
        return Err(WorktreeError::Unmounted { path: stands.at.clone(), reason });
    }
    let root = stands.overlay.dir.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let template = match made {
        Some(made) => made,
        None => {
            let want = Want {
                kind: SpareKind::Template,
                home: layered.home.clone(),
                workspace_id: layered.workspace_id,
                root: root.into(),
                base: layered.base.clone(),
                print: layered.print.clone(),
                lock_reason,
            };
            make_template(git, repo, &want, &Direct).await?
        }
    };
    let (mut overlay, at, kept) = (stands.overlay.clone(), stands.at.clone(), template.clone());
    let _identity = blocking(MOUNTING, move || overlay.put_on(&kept, &at)).await?;
    // Nothing depends on it: without, git compares every file once more when it is asked.
    if let Err(error) = refresh(git, &stands.admin, &stands.at, &template.name).await {
        tracing::warn!(lane = %stands.lane_id, %error, "the index does not know the new template");
    }
    Ok(template)
}

fn stands(overlay: &Overlay, at: &Path) -> Result<Standing, WorktreeError> {
    let lost = overlay.lost_template();
    Ok(match (overlay.place(at)?, lost) {
        (Place::Taken(what), _) => Standing::Blocked(what.to_owned()),
        (Place::Mounted(..) | Place::Bare | Place::Missing, Some(why)) => Standing::Templateless(why),
        (Place::Mounted(..), None) => Standing::Up,
        (Place::Bare | Place::Missing, None) => Standing::Down,
    })
}
