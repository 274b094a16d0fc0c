//! Deals with one thing that was left over, once the user has confirmed it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::blocking::blocking;
use super::owner::Owner;
use crate::bus::Context;
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, TaskId};
use crate::lanes::lane::{Lane, Task};
use crate::lanes::machine::{self, Input};
use crate::lanes::workspace::Workspace;
use crate::lanes::{Registry, Reservation};
use crate::recovery::orphan::{Kind, Orphan, Place, Running, What};
use crate::recovery::sight;
use crate::task;
use crate::worktree::{self, Base, Branch, Found, Order, Pace};

/// Between TERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// Names that are tried for what goes into the trash.
const NAMES: usize = 1_000;

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// For people.
    pub(super) notes: Vec<String>,
    /// Under which id it is in the trash.
    pub(super) trash: Option<LaneId>,
}

impl Owner {
    /// Does what confirming stands for. Idempotent; what fails stays as it is, or as far as it came.
    pub(super) async fn deal_with(
        self: &Arc<Self>,
        orphan: &Orphan,
        context: &Context,
    ) -> Result<Dealt, Failure> {
        let again = orphan.clone();
        if !blocking(move || sight::still_there(&again)).await? {
            return Ok(said("it is gone already"));
        }
        match &orphan.what {
            What::Tree { place, repo, admin } => {
                let found = Found {
                    path: place.path.clone(),
                    identity: Some((place.dev, place.ino)),
                    admin: admin.clone(),
                };
                self.retire_found(repo, &found, context).await
            }
            What::Entry { place: _, repo, admin, tree } => {
                let found = Found { path: tree.clone(), identity: None, admin: Some(admin.clone()) };
                self.retire_found(repo, &found, context).await
            }
            What::Process(running) => end_process(running).await,
            What::Keeper(running, task) => self.end_keeper(running, *task).await,
            What::Rest(kind, place) => remove(*kind, place).await,
        }
    }

    /// Makes a lane of it and closes that: so it goes the way of every tree, with its commits pinned and its
    /// files saved, and a crash on the way is taken up as for any lane.
    async fn retire_found(
        self: &Arc<Self>,
        repo: &Path,
        found: &Found,
        context: &Context,
    ) -> Result<Dealt, Failure> {
        let workspace = self.workspaces.by_common_dir(repo).ok_or_else(|| {
            Failure::new(
                Code::NotARepository,
                format!("the repository {} cannot be opened now", repo.display()),
            )
        })?;
        let id = LaneId::generate();
        let (name, reservation) = free_name(&self.registry, &workspace, &found.path, id)?;
        let order = self.order_for(&workspace, found, id, name).await?;
        on_one_file_system(found, order.root.as_path())?;
        let git = self.workspaces.git().await?;
        let (order, tree) = worktree::take_hold(git, &workspace.repo, found, &order).await?;
        let mut notes = self.describe(&workspace, found, &order).await?;
        let at = clock::now();
        let lane = Lane::new(order, workspace.place().into(), workspace.repo.common_dir.clone().into(), at);
        let lane = machine::apply(&lane, Input::Create, at)?.lane;
        let handle = self.registry.own(lane, reservation, Vec::new());
        let lane = handle.apply(Input::Provisioned { tree }, context.clone()).await?;
        notes.extend(self.end(&handle, &lane, true, context.clone()).await?);
        Ok(Dealt { notes, trash: Some(id) })
    }

    async fn order_for(
        &self,
        workspace: &Workspace,
        found: &Found,
        id: LaneId,
        name: String,
    ) -> Result<Order, Failure> {
        let config = self.workspaces.config(&workspace.repo).await?;
        let above = found.path.parent().map(Path::to_path_buf);
        let root = match above.filter(|above| found.identity.is_some() && self.is_root(workspace, above)) {
            Some(root) => root,
            None => self.root(workspace, &config)?,
        };
        let git = self.workspaces.git().await?;
        // For a folder that git does not know; one without any commit has none either.
        let base = worktree::resolve_base(git, &workspace.repo, workspace.place(), None).await;
        let nothing = || Base { rev: "HEAD".into(), sha: "0".repeat(workspace.repo.oid_len), target: None };
        let branch = Branch { name: format!("{}{name}", config.lanes.branch_prefix), created: false };
        Ok(Order {
            lane_id: id,
            name,
            workspace_id: workspace.id,
            token: Task::new_secret(),
            home: self.home.path().into(),
            root: root.into(),
            path: found.path.clone().into(),
            base: base.unwrap_or_else(|_no_commits| nothing()),
            branch,
            lock_reason: format!("lanes {id} {} {}", self.boot_id, std::process::id()),
            submodules: false,
            copy: Vec::new(),
            link: Vec::new(),
        })
    }

    /// Branch, commit and changed files, for the user.
    async fn describe(
        &self,
        workspace: &Workspace,
        found: &Found,
        order: &Order,
    ) -> Result<Vec<String>, Failure> {
        let (Some(admin), Some(_there)) = (&found.admin, found.identity) else {
            return Ok(vec!["git did not know it; all of it is kept".into()]);
        };
        let admin = workspace.repo.common_dir.join("worktrees").join(admin);
        let git = self.workspaces.git().await?;
        let mut notes = vec![format!("branch {}, commit {}", order.branch.name, order.base.sha)];
        match worktree::changes(git, &workspace.repo, &found.path, &admin, &order.base).await {
            Ok(changes) => notes.push(format!("{} files were changed or new; they are kept", changes.files)),
            Err(error) => notes.push(format!("its changes could not be counted: {error}")),
        }
        Ok(notes)
    }

    /// Ends a keeper with its tree; it is asked first, where it can be.
    async fn end_keeper(&self, running: &Running, id: TaskId) -> Result<Dealt, Failure> {
        let run_dir = self.home.run_dir(id);
        let identity = task::read_identity(&run_dir);
        let is_it = identity.is_some_and(|identity| {
            (identity.keeper_pid, identity.keeper_start) == (running.pid, running.start)
        });
        let swept = if is_it {
            task::end(&run_dir, GRACE).await.swept
        } else {
            task::end_keeper(running.pid, running.start, GRACE).await
        };
        if task::alive(running.pid, running.start, &running.boot_id) {
            return Err(cannot_end(running));
        }
        if is_it {
            crate::lanes::World::forget(&*self.live, id);
        }
        let mut dealt = said(&format!("the keeper (process {}) and all below it have ended", running.pid));
        if !swept.is_empty() {
            dealt.notes.push(format!("{} processes were ended without its help", swept.len()));
        }
        Ok(dealt)
    }
}

impl Owner {
    /// True when a folder is a root of the workspace: then the trash in it is found.
    fn is_root(&self, workspace: &Workspace, folder: &Path) -> bool {
        let default = worktree::layout::find(&workspace.repo, None, &self.home.worktrees()).ok();
        let default = default.map(|root| root.path.canonicalize().unwrap_or(root.path));
        let lanes = self.registry.all();
        default.as_deref() == Some(folder)
            || lanes.iter().any(|handle| {
                let lane = handle.lane();
                lane.workspace_id() == workspace.id && lane.order.root.as_path() == folder
            })
    }
}

/// Refuses before anything is changed what could not be moved to the trash as it is.
fn on_one_file_system(found: &Found, root: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let root_dev = root.symlink_metadata().map(|facts| facts.dev());
    match (found.identity, root_dev) {
        (Some((dev, _ino)), Ok(root_dev)) if dev != root_dev && !is_overlay_of(found, root) => {
            let message = format!("{} lies on another file system than the trash", found.path.display());
            Err(Failure::new(Code::Io, message).hint("unmount it, or move what it holds yourself"))
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// True for a tree that is an overlay in this root: its layers are on the root's file system.
fn is_overlay_of(found: &Found, root: &Path) -> bool {
    let order = worktree::discover::gitfile_target(&found.path.join(".git"))
        .and_then(|admin| worktree::read_token(&found.path.join(admin)));
    let overlay = order.filter(|order| order.root.as_path() == root);
    overlay.is_some_and(|order| worktree::overlay::of(root, order.lane_id).is_ok_and(|found| found.is_some()))
}

/// A name that no open lane has, after the folder's.
fn free_name(
    registry: &Registry,
    workspace: &Workspace,
    path: &Path,
    id: LaneId,
) -> Result<(String, Reservation), Failure> {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let mut wanted: String = last.chars().map(safe).take(50).collect();
    if worktree::lane_name(&wanted).is_err() {
        wanted = "found".to_owned();
    }
    let names = std::iter::once(wanted.clone()).chain((2..NAMES).map(|n| format!("{wanted}-{n}")));
    let mut refused = None;
    for name in names {
        match registry.reserve(workspace.id, &name, id, usize::MAX) {
            Ok(reservation) => return Ok((name, reservation)),
            Err(failure) if failure.code == Code::NameTaken => refused = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    Err(refused.expect("invariant: every name was refused"))
}

async fn end_process(running: &Running) -> Result<Dealt, Failure> {
    if task::end_process(running.pid, running.start, GRACE).await {
        return Ok(said(&format!("process {} has ended", running.pid)));
    }
    Err(cannot_end(running))
}

fn cannot_end(running: &Running) -> Failure {
    Failure::new(Code::Busy, format!("process {} cannot be ended now", running.pid))
        .hint("it may wait for a disk or a debugger; try again")
}

async fn remove(kind: Kind, place: &Place) -> Result<Dealt, Failure> {
    let (path, identity): (PathBuf, _) = (place.path.clone(), (place.dev, place.ino));
    let removed = blocking(move || worktree::remove_tree(&path, Some(identity), &Pace::full())).await??;
    let what = match kind {
        Kind::RunFolder | Kind::LogFolder | Kind::UndoRest => {
            format!("removed {} files in {} folders", removed.files, removed.folders)
        }
        Kind::Socket | Kind::Worktree | Kind::AdminEntry | Kind::Process | Kind::Keeper => {
            "removed it".to_owned()
        }
    };
    Ok(said(&what))
}

fn said(note: &str) -> Dealt {
    Dealt { notes: vec![note.to_owned()], trash: None }
}
