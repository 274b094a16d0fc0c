//! `gc`: frees what nobody needs any more, what is missed least first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::owner::Owner;
use crate::api::{FreedKind, FreedView, GcParams, GcReply};
use crate::bus::Context;
use crate::clock;
use crate::failure::Failure;
use crate::fault;
use crate::ids::LaneId;
use crate::lanes::stock::surplus::Extent;
use crate::lanes::workspace::Workspace;
use crate::worktree::{self, Kept, Saved, SpareKind, TrashEntry, Usage, layout, trash};

/// What was freed so far.
struct Freed {
    dry_run: bool,
    reply: GcReply,
}

impl Freed {
    fn add(&mut self, view: FreedView) {
        self.reply.bytes = self.reply.bytes.saturating_add(view.bytes);
        self.reply.inodes = self.reply.inodes.saturating_add(view.inodes);
        self.reply.freed.push(view);
    }

    fn stayed(&mut self, path: &Path, why: impl std::fmt::Display) {
        self.reply.notes.push(format!("{} stayed: {why}", path.display()));
    }
}

impl Owner {
    /// `gc`.
    pub(super) async fn gc(&self, asked: GcParams, context: Context) -> Result<GcReply, Failure> {
        self.guard(&context, None, "free the spare trees and trash of")?;
        let workspace = self.workspace_at(asked.cwd.as_path()).await?;
        // What is freed in the background goes on at full pace, and lets go of what it holds.
        let _somebody_waits = self.live.pace().hurry();
        let roots = self.roots_of(&workspace).await?;
        let mut freed = Freed { dry_run: asked.dry_run, reply: GcReply::default() };
        if asked.all && !asked.dry_run {
            let root = self.root_now(&workspace).await?;
            self.live.stock().rest(&workspace, &root).await?;
        }
        for root in &roots {
            self.gc_left_behind(&workspace, root, &mut freed).await?;
        }
        self.gc_spares(&workspace, asked.all, &mut freed).await?;
        for root in &roots {
            self.gc_homeless(&workspace, root, &mut freed).await?;
        }
        self.gc_programs(&mut freed).await?;
        self.gc_trash(&workspace, &roots, &mut freed).await?;
        fault::pass("gc.done");
        Ok(freed.reply)
    }

    /// Where the trees of a workspace are made now.
    async fn root_now(&self, workspace: &Workspace) -> Result<PathBuf, Failure> {
        let config = self.workspaces.config(&workspace.repo).await?;
        let wanted = config.worktree.root.as_deref();
        let root = layout::find(&workspace.repo, wanted, &self.home.worktrees())?;
        Ok(root.path)
    }

    /// What crashes left.
    async fn gc_left_behind(
        &self,
        workspace: &Workspace,
        root: &Path,
        freed: &mut Freed,
    ) -> Result<(), Failure> {
        fault::pass("gc.rubbish");
        let cleared = self.live.stock().clear(workspace, root, freed.dry_run).await?;
        freed.reply.notes.extend(cleared.stays);
        for (path, usage) in cleared.found {
            freed.add(view(FreedKind::Rubbish, &path, "it was left behind unfinished", usage));
        }
        Ok(())
    }

    /// Spares of ours that nobody needs: the stock knows, and hands them out meanwhile.
    async fn gc_spares(&self, workspace: &Workspace, all: bool, freed: &mut Freed) -> Result<(), Failure> {
        let root = self.root_now(workspace).await?;
        let extent = if all { Extent::Every } else { Extent::Unneeded };
        let stock = self.live.stock();
        for (kept, why) in stock.surplus(workspace, &root, extent).await? {
            let view = view(kind_of(&kept), kept.tree(), why.reason(), measured(kept.tree()).await?);
            fault::pass("gc.spare");
            let gone = if freed.dry_run { Ok(true) } else { stock.give_back(&kept).await };
            match gone {
                Ok(true) => freed.add(view),
                // A lane has it by now, or the background has given it up.
                Ok(false) => {}
                Err(why) => freed.stayed(kept.tree(), why),
            }
        }
        Ok(())
    }

    /// Spares of homes that are gone: nobody hands them out.
    async fn gc_homeless(
        &self,
        workspace: &Workspace,
        root: &Path,
        freed: &mut Freed,
    ) -> Result<(), Failure> {
        let stock = self.live.stock();
        let (repo, place, home) =
            (workspace.repo.clone(), root.to_path_buf(), self.home.path().to_path_buf());
        for kept in blocking(move || worktree::homeless(&repo, &place, &home)).await? {
            if let Some(why) = stock.why_it_stays(&workspace.repo, &kept).await {
                freed.stayed(kept.tree(), why);
                continue;
            }
            let usage = measured(kept.tree()).await?;
            let view = view(kind_of(&kept), kept.tree(), "the home that made it is gone", usage);
            match freed.dry_run {
                false if let Err(why) = stock.give_back_of_other(&workspace.repo, &kept).await => {
                    freed.stayed(kept.tree(), why);
                }
                true | false => freed.add(view),
            }
        }
        Ok(())
    }

    async fn gc_programs(&self, freed: &mut Freed) -> Result<(), Failure> {
        let launcher = self.live.launcher().clone();
        for path in blocking(move || launcher.unused_copies()).await? {
            let view = view(FreedKind::Program, &path, "no keeper runs from it", measured(&path).await?);
            match freed.dry_run {
                false if let Err(error) = std::fs::remove_file(&path) => freed.stayed(&path, error),
                true | false => freed.add(view),
            }
        }
        Ok(())
    }

    /// Trash past its time or above its limit, what earlier calls could not free, and the trees of which
    /// there is an archive.
    async fn gc_trash(
        &self,
        workspace: &Workspace,
        roots: &BTreeSet<PathBuf>,
        freed: &mut Freed,
    ) -> Result<(), Failure> {
        let limits = self.workspaces.config(&workspace.repo).await?.trash;
        let entries = self.trash_in(roots).await?;
        let (due, rest) = blocking(move || {
            let measured: Vec<(TrashEntry, Usage)> = entries
                .into_iter()
                .map(|entry| {
                    let usage = trash::usage(&entry).unwrap_or_default();
                    (entry, usage)
                })
                .collect();
            let sized: Vec<_> = measured.iter().map(|(entry, usage)| (entry.clone(), usage.bytes)).collect();
            let ids = trash::expired(&sized, limits.keep, limits.max, clock::now());
            let is_due = |(entry, _usage): &(TrashEntry, Usage)| ids.contains(&entry.order.lane_id);
            measured.into_iter().partition::<Vec<_>, _>(is_due)
        })
        .await?;
        self.gc_expired(workspace, roots, due, freed).await?;
        for (entry, _usage) in rest {
            self.gc_retired(entry, freed).await?;
        }
        Ok(())
    }

    async fn gc_expired(
        &self,
        workspace: &Workspace,
        roots: &BTreeSet<PathBuf>,
        due: Vec<(TrashEntry, Usage)>,
        freed: &mut Freed,
    ) -> Result<(), Failure> {
        let mut views: BTreeMap<LaneId, FreedView> = BTreeMap::new();
        let mut by_root: BTreeMap<PathBuf, Vec<LaneId>> = BTreeMap::new();
        for (entry, usage) in due {
            let (id, root) = (entry.order.lane_id, entry.order.root.to_path_buf());
            let path = trash::place(&entry);
            let reason = format!("lane {} is past its time or above trash.max", entry.order.name);
            let view = FreedView { lane: Some(id), ..view(FreedKind::Trash, &path, &reason, usage) };
            views.insert(id, view);
            by_root.entry(root).or_default().push(id);
        }
        for root in roots {
            if worktree::is_half_emptied(root)? {
                by_root.entry(root.clone()).or_default();
            }
        }
        fault::pass("gc.trash");
        if !freed.dry_run && !by_root.is_empty() {
            let emptied = self.empty_now(workspace, &by_root).await?;
            views.retain(|id, _view| emptied.lanes.contains(id));
            let stayed = |(id, why): &(LaneId, String)| format!("the trash of lane {id} stayed: {why}");
            freed.reply.notes.extend(emptied.stayed.iter().map(stayed).chain(emptied.left));
        }
        views.into_values().for_each(|view| freed.add(view));
        Ok(())
    }

    /// Frees the tree of a closed lane that has its archive.
    async fn gc_retired(&self, entry: TrashEntry, freed: &mut Freed) -> Result<(), Failure> {
        let tree = trash::place(&entry).join("tree");
        if !matches!(entry.saved, Saved::Archived { .. }) || tree.symlink_metadata().is_err() {
            return Ok(());
        }
        let id = entry.order.lane_id;
        let reason = format!("what lane {} had of its own is in its archive", entry.order.name);
        let usage = measured(&tree).await?;
        let view = FreedView { lane: Some(id), ..view(FreedKind::Retired, &tree, &reason, usage) };
        if !freed.dry_run {
            fault::pass("gc.retired");
            self.live.save_now(entry).await;
            if tree.symlink_metadata().is_ok() {
                freed.stayed(&tree, "see lanes trash ls");
                return Ok(());
            }
        }
        freed.add(view);
        Ok(())
    }
}

fn kind_of(kept: &Kept) -> FreedKind {
    match kept.spare.kind {
        SpareKind::Template => FreedKind::Template,
        SpareKind::Pooled => FreedKind::Pooled,
    }
}

/// What something takes on the disk; nothing when it is gone.
async fn measured(path: &Path) -> Result<Usage, Failure> {
    let path = path.to_path_buf();
    blocking(move || worktree::measure(&path).unwrap_or_default()).await
}

fn view(kind: FreedKind, path: &Path, reason: &str, usage: Usage) -> FreedView {
    let Usage { bytes, inodes } = usage;
    FreedView { kind, path: path.into(), lane: None, reason: reason.to_owned(), bytes, inodes }
}
