//! Requests about the trash: listed, found, freed when asked for or past its time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::blocking::blocking;
use super::owner::Owner;
use crate::api::{At, LeftoverView, TrashEmptyParams, TrashReply, TrashView};
use crate::bus::Context;
use crate::clock::{self, Timestamp};
use crate::failure::{Code, Failure};
use crate::ids::LaneId;
use crate::lanes::lane::Lane;
use crate::lanes::table::State;
use crate::lanes::workspace::Workspace;
use crate::raw::Raw;
use crate::recovery::records::with_origins;
use crate::worktree::trash::Leftover;
use crate::worktree::{self, Emptied, Pace, Saved, TrashEntry, layout, trash};

/// True when what is not in the trash of this root is nowhere: not on a disk that is not mounted now.
fn can_tell(workspace: &Workspace, root: &Path) -> bool {
    let beside = workspace.repo.main_tree.as_deref().and_then(Path::parent);
    let there = root.is_dir() || (beside.is_some() && root.parent() == beside);
    let readable = match std::fs::read_dir(root.join(trash::TRASH_DIR)) {
        Ok(_entries) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    there && readable
}

/// Entries to be freed, by the folder of trees that they are in.
type Due = BTreeMap<PathBuf, Vec<LaneId>>;

/// A tree that was retired longer ago and is not saved has had its turn.
const FIRST_TURN: Duration = Duration::from_secs(60 * 60);

impl Owner {
    /// `trash.list`.
    pub(super) async fn trash_list(&self, asked: At, _context: Context) -> Result<TrashReply, Failure> {
        let workspace = self.workspace_at(asked.cwd.as_path()).await?;
        let roots = self.roots_of(&workspace).await?;
        let entries = self.trash_in(&roots).await?;
        let leftovers = leftovers_in(&roots).await?;
        let trash = self.trash_views(&workspace, &entries).await?;
        Ok(reply(trash, leftovers))
    }

    /// `trash.empty`.
    pub(super) async fn trash_empty(
        &self,
        asked: TrashEmptyParams,
        context: Context,
    ) -> Result<TrashReply, Failure> {
        self.guard(&context, None, "empty the trash of")?;
        let workspace = self.workspace_at(asked.cwd.as_path()).await?;
        let roots = self.roots_of(&workspace).await?;
        let mut entries = self.trash_in(&roots).await?;
        let mut leftovers = leftovers_in(&roots).await?;
        let is_asked = |view: &LeftoverView, text: &str| view.id.is_some_and(|id| is_id(id, text));
        for words in &asked.lanes {
            let text = words.lossy();
            let known = entries.iter().any(|entry| is_meant(entry, &text))
                || leftovers.iter().any(|view| is_asked(view, &text));
            if !known {
                return Err(nothing_in_trash(&text));
            }
        }
        if !asked.lanes.is_empty() {
            entries.retain(|entry| asked.lanes.iter().any(|words| is_meant(entry, &words.lossy())));
        }
        // An entry that cannot be read is freed by its id only, and only when we know the lane.
        leftovers.retain(|view| match view.id {
            Some(_) => asked.lanes.iter().any(|words| is_asked(view, &words.lossy())),
            None => asked.lanes.is_empty(),
        });
        let ours: BTreeSet<LaneId> = self.records().await?.into_iter().map(|lane| lane.id).collect();
        if let Some(foreign) = leftovers.iter().find(|view| view.id.is_some_and(|id| !ours.contains(&id))) {
            let message = format!("{} is of a lane that is not written down here", foreign.path);
            return Err(Failure::new(Code::Io, message)
                .hint("look at it, and remove it yourself when nobody needs it"));
        }
        if let Some(ms) = asked.older_than_ms {
            let (least, now) = (Duration::from_millis(ms), clock::now());
            entries.retain(|entry| entry.at.age(now) > least);
            leftovers.clear();
        }
        let mut views = self.trash_views(&workspace, &entries).await?;
        if asked.dry_run {
            return Ok(reply(views, leftovers));
        }
        let mut due = due_of(&entries);
        // What earlier calls could not free is tried again everywhere.
        for root in roots {
            due.entry(root).or_default();
        }
        for view in &leftovers {
            if let Some(root) = view.path.as_path().ancestors().nth(2) {
                due.entry(root.to_path_buf()).or_default().extend(view.id);
            }
        }
        let emptied = self.empty_now(&workspace, &due).await?;
        views.retain(|view| emptied.lanes.contains(&view.id));
        leftovers.retain(|view| view.id.is_some_and(|id| emptied.lanes.contains(&id)));
        let mut reply = reply(views, leftovers);
        let why = |(id, why): &(LaneId, String)| format!("the trash of lane {id} stayed: {why}");
        reply.notes = emptied.stayed.iter().map(why).chain(emptied.left).collect();
        Ok(reply)
    }

    /// Frees entries for somebody who waits, with the recorded output of their lanes.
    pub(super) async fn empty_now(&self, workspace: &Workspace, due: &Due) -> Result<Emptied, Failure> {
        let _emptying = self.watch.emptying();
        // An entry that is being saved is held meanwhile.
        let _somebody_waits = self.live.pace().hurry();
        let emptied = self.live.empty_trash(&workspace.repo, due, &Pace::full()).await?;
        self.forget_emptied(workspace).await?;
        Ok(emptied)
    }

    /// The folder of a workspace's trees.
    pub(super) fn root(
        &self,
        workspace: &Workspace,
        config: &crate::config::Config,
    ) -> Result<PathBuf, Failure> {
        let wanted = config.worktree.root.as_deref();
        Ok(layout::choose(&workspace.repo, wanted, &self.home.worktrees())?.path)
    }

    /// Every folder of trees that a workspace uses or has used.
    pub(super) async fn roots_of(&self, workspace: &Workspace) -> Result<BTreeSet<PathBuf>, Failure> {
        self.roots_among(workspace, &self.records().await?).await
    }

    /// The same, from the records of all lanes.
    pub(super) async fn roots_among<'a>(
        &self,
        workspace: &Workspace,
        records: impl IntoIterator<Item = &'a Lane>,
    ) -> Result<BTreeSet<PathBuf>, Failure> {
        let config = self.workspaces.config(&workspace.repo).await?;
        let wanted = config.worktree.root.as_deref();
        let now = layout::find(&workspace.repo, wanted, &self.home.worktrees())?.path;
        // As lanes have it written down; one that is not there has no trash.
        let now = now.canonicalize().unwrap_or(now);
        let theirs = records.into_iter().filter(|lane| lane.workspace_id() == workspace.id);
        Ok(theirs.map(|lane| lane.order.root.to_path_buf()).chain([now]).collect())
    }

    /// The trash in roots, the oldest first; only what is ours. A root that cannot be read now hides no other.
    pub(super) async fn trash_in(&self, roots: &BTreeSet<PathBuf>) -> Result<Vec<TrashEntry>, Failure> {
        let roots = roots.clone();
        let home = self.home.path().to_path_buf();
        blocking(move || {
            let mut entries: Vec<TrashEntry> =
                roots.iter().flat_map(|root| said(root, trash::list(root))).collect();
            entries.retain(|entry| entry.order.home.as_path() == home);
            entries.sort_by_key(|entry| (entry.at, entry.order.lane_id));
            entries
        })
        .await
    }

    /// Removes the recorded output of lanes that were retired and are neither in the trash nor brought back: what
    /// an emptying that was cut off did not come to.
    async fn forget_emptied(&self, workspace: &Workspace) -> Result<(), Failure> {
        let logged = self.live.logged();
        if logged.is_empty() {
            return Ok(());
        }
        // Twice: a lane that is brought back just now is in the first list, one that is retired in the second.
        let mut kept = self.in_trash(&self.roots_of(workspace).await?).await?;
        let records: BTreeMap<LaneId, Lane> =
            self.records().await?.into_iter().map(|lane| (lane.id, lane)).collect();
        let roots = self.roots_among(workspace, records.values()).await?;
        kept.extend(self.in_trash(&roots).await?);
        kept.extend(records.values().filter(|lane| lane.state() != State::Closed).map(|lane| lane.id));
        for id in logged.difference(&with_origins(kept, &records)) {
            let ours = records.get(id).filter(|lane| lane.workspace_id() == workspace.id);
            if ours.is_some_and(|lane| lane.tree.is_some() && can_tell(workspace, lane.order.root.as_path()))
            {
                self.live.forget_logs(*id).await;
            }
        }
        Ok(())
    }

    /// The lanes that the trash in roots has something of, readable or not.
    async fn in_trash(&self, roots: &BTreeSet<PathBuf>) -> Result<BTreeSet<LaneId>, Failure> {
        let entries = self.trash_in(roots).await?.into_iter().map(|entry| entry.order.lane_id);
        let leftovers = leftovers_in(roots).await?.into_iter().filter_map(|view| view.id);
        Ok(entries.chain(leftovers).collect())
    }

    async fn trash_views(
        &self,
        workspace: &Workspace,
        entries: &[TrashEntry],
    ) -> Result<Vec<TrashView>, Failure> {
        let keep = self.workspaces.config(&workspace.repo).await?.trash.keep;
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let entries = entries.to_vec();
        blocking(move || entries.iter().map(|entry| view(entry, keep)).collect()).await
    }

    /// The newest entry of that name or id.
    pub(super) async fn trash_entry(
        &self,
        words: &Raw,
        cwd: &Path,
    ) -> Result<(Arc<Workspace>, TrashEntry), Failure> {
        let text = words.lossy();
        let workspaces = match self.workspace_at(cwd).await {
            Ok(workspace) => vec![workspace],
            Err(_elsewhere) => self.workspaces.all(),
        };
        let mut unreadable = None;
        for workspace in workspaces {
            let roots = self.roots_of(&workspace).await?;
            let entries = self.trash_in(&roots).await?;
            if let Some(entry) = entries.into_iter().rev().find(|entry| is_meant(entry, &text)) {
                return Ok((workspace, entry));
            }
            let named: BTreeSet<LaneId> = self
                .records()
                .await?
                .into_iter()
                .filter(|lane| lane.name().eq_ignore_ascii_case(&text) || is_id(lane.id, &text))
                .map(|lane| lane.id)
                .collect();
            let leftovers = leftovers_in(&roots).await?;
            unreadable = unreadable
                .or_else(|| leftovers.into_iter().find(|view| view.id.is_some_and(|id| named.contains(&id))));
        }
        Err(match unreadable {
            None => nothing_in_trash(&text),
            Some(left) => {
                let message = format!("what the trash has of it cannot be read: {}", left.reason);
                Failure::new(Code::Io, message)
                    .hint(format!("its files are in {}, in tree/ or files.tar.gz", left.path))
            }
        })
    }

    /// Frees what is past its time or above the limit, and tries again what had to wait.
    pub(super) async fn expire_trash(&self, workspace: &Workspace) -> Result<(), Failure> {
        let limits = self.workspaces.config(&workspace.repo).await?.trash;
        let roots = self.roots_of(workspace).await?;
        let entries = self.trash_in(&roots).await?;
        let (due, waiting) = blocking(move || {
            let sized: Vec<_> = entries
                .into_iter()
                .map(|entry| {
                    let bytes = trash::size(&entry).unwrap_or(0);
                    (entry, bytes)
                })
                .collect();
            let ids = trash::expired(&sized, limits.keep, limits.max, clock::now());
            let is_due = |entry: &TrashEntry| ids.contains(&entry.order.lane_id);
            let (due, rest): (Vec<_>, Vec<_>) =
                sized.into_iter().map(|(entry, _bytes)| entry).partition(is_due);
            // What waits for its first turn is not among them, but for one that failed.
            let begun = |entry: &TrashEntry| {
                let failed = entry.at.age(clock::now()) > FIRST_TURN;
                failed || entry.stays.is_some() || entry.saved != Saved::Pending
            };
            let waits = |entry: &TrashEntry| begun(entry) && trash::is_unfinished(entry);
            (due_of(&due), rest.into_iter().filter(waits).collect::<Vec<_>>())
        })
        .await?;
        for entry in waiting {
            self.live.save_later(entry);
        }
        let mut due = due;
        for root in roots {
            if worktree::is_half_emptied(&root)? {
                due.entry(root).or_default();
            }
        }
        self.forget_emptied(workspace).await?;
        if due.is_empty() {
            return Ok(());
        }
        let _emptying = self.watch.emptying();
        let emptied = self.live.empty_trash(&workspace.repo, &due, self.live.pace()).await?;
        for left in emptied.left {
            tracing::warn!(workspace = %workspace.id, %left, "not all of the trash could be freed");
        }
        Ok(())
    }
}

/// What the trash in roots has that is no entry.
async fn leftovers_in(roots: &BTreeSet<PathBuf>) -> Result<Vec<LeftoverView>, Failure> {
    let roots = roots.clone();
    let view = |left: Leftover| LeftoverView {
        bytes: left.bytes(),
        path: left.path.into(),
        id: left.lane_id,
        reason: left.reason,
    };
    blocking(move || roots.iter().flat_map(|root| said(root, trash::leftovers(root))).map(view).collect())
        .await
}

/// What was found in a root; one that cannot be read is said in the log.
fn said<T>(root: &Path, found: Result<Vec<T>, crate::worktree::WorktreeError>) -> Vec<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!(root = %root.display(), %error, "the trash cannot be read");
        Vec::new()
    })
}

fn due_of(entries: &[TrashEntry]) -> Due {
    let mut due = Due::new();
    for entry in entries {
        due.entry(entry.order.root.to_path_buf()).or_default().push(entry.order.lane_id);
    }
    due
}

fn reply(trash: Vec<TrashView>, leftovers: Vec<LeftoverView>) -> TrashReply {
    let sizes = trash.iter().map(|view| view.bytes).chain(leftovers.iter().map(|view| view.bytes));
    TrashReply { bytes: sizes.fold(0, u64::saturating_add), trash, leftovers, notes: Vec::new() }
}

fn view(entry: &TrashEntry, keep_ms: u64) -> TrashView {
    TrashView {
        id: entry.order.lane_id,
        name: entry.order.name.clone(),
        branch: entry.on_branch.clone().unwrap_or_else(|| entry.order.branch.name.clone()),
        head: entry.head.clone(),
        at: entry.at,
        expires: Timestamp(entry.at.as_ms().saturating_add(keep_ms)),
        saved: entry.saved.clone(),
        stays: entry.stays.clone().filter(|_why| trash::is_unfinished(entry)),
        notes: entry.notes.clone(),
        bytes: trash::size(entry).unwrap_or(0),
        path: trash::place(entry).into(),
    }
}

fn is_meant(entry: &TrashEntry, text: &str) -> bool {
    entry.order.name.eq_ignore_ascii_case(text) || is_id(entry.order.lane_id, text)
}

fn is_id(id: LaneId, text: &str) -> bool {
    text.len() >= 5 && id.text().as_str().starts_with(text)
}

fn nothing_in_trash(text: &str) -> Failure {
    let shown: String = text.chars().take(80).collect();
    Failure::new(Code::LaneNotFound, format!("there is nothing of a lane {shown:?} in the trash"))
        .hint("lanes trash ls shows what can be restored")
}
