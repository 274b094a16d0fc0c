//! Frees spares for somebody who asks for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::keep::Stock;
use super::plan::{State, Wanted, Why};
use super::surplus::{self, Extent};
use super::weigh::Limits;
use crate::failure::Failure;
use crate::ids::WorkspaceId;
use crate::lanes::workspace::Workspace;
use crate::worktree::{self, Kept, Pace, Repository, Usage};

/// So long it is waited for what is being made, or done with a spare: then the rest is freed.
const CALM_WITHIN: Duration = Duration::from_secs(30);

/// What crashes left of spares, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// What was removed, or would be, and what it took.
    pub found: Vec<(PathBuf, Usage)>,
    /// What could not be, for people.
    pub stays: Vec<String>,
}

/// What came of reaching for a spare.
enum Grasp {
    /// It was taken off the shelf.
    Held(Box<(Kept, Repository)>),
    /// It is on no shelf.
    Gone,
    /// Somebody worked in it.
    Touched,
    /// It is to be looked at first.
    Unsure,
    /// Something is being done with it.
    InUse,
}

impl Stock {
    /// From now on makes no spares of a workspace until a lane is asked for there; waits for what is being made.
    ///
    /// # Errors
    /// Those of the configuration.
    pub async fn rest(&self, workspace: &Workspace, root: &Path) -> Result<(), Failure> {
        let id = workspace.id;
        let limits = Limits::of(&self.workspaces.config(&workspace.repo).await?);
        self.meet(id, &workspace.repo, root, limits).await;
        self.change(id, |shelf| shelf.rest());
        let _somebody_waits = self.pace.hurry();
        let calm = async {
            loop {
                let mut changed = self.subscribe();
                if self.with(id, |bench| bench.shelf.is_calm()) != Some(false) {
                    return;
                }
                // Closed only with the runtime, which drops this, too.
                let _again = changed.changed().await;
            }
        };
        let _what_is_at_work_stays = tokio::time::timeout(CALM_WITHIN, calm).await;
        Ok(())
    }

    /// The spares of a workspace that nobody needs, with why, the least missed first. `root` is where its trees
    /// are made now.
    ///
    /// # Errors
    /// Those of git and of the configuration.
    pub async fn surplus(
        &self,
        workspace: &Workspace,
        root: &Path,
        extent: Extent,
    ) -> Result<Vec<(Kept, Why)>, Failure> {
        let (id, repo) = (workspace.id, &workspace.repo);
        let (git, config) = (self.workspaces.git().await?, self.workspaces.config(repo).await?);
        self.meet(id, repo, root, Limits::of(&config)).await;
        self.look_for_spares(id).await;
        self.weigh(id).await;
        let settings = self.settings(repo).await?;
        let place = repo.main_tree.as_deref().unwrap_or(&repo.common_dir);
        // A repository without a commit has no spares.
        let Ok(head) = worktree::resolve_base(git, repo, place, None).await else { return Ok(Vec::new()) };
        let known = self.with(id, |bench| bench.shelf.wanted().map(|wanted| wanted.base.clone())).flatten();
        let base = known.unwrap_or(head.sha);
        let rules = self.rules(git, repo, &config, &settings, (id, &base)).await?;
        let all = self.with(id, |bench| bench.shelf.all()).unwrap_or_default();
        let roots: BTreeSet<PathBuf> = all.iter().map(|kept| kept.spare.root.to_path_buf()).collect();
        let look = move || roots.iter().any(|root| worktree::is_lain_on(root));
        let lain_on = tokio::task::spawn_blocking(look).await.unwrap_or(true);
        let found = self.with(id, |bench| {
            let mut view = bench.shelf.view(&self.outside(bench), Instant::now());
            (view.wanted, view.rules) = (Some(Wanted { base, print: settings.print.clone() }), rules);
            surplus::surplus(&view, extent, lain_on)
        });
        let kept = |name: &str| all.iter().find(|kept| kept.name == name).cloned();
        Ok(found.into_iter().flatten().filter_map(|(name, why)| Some((kept(&name)?, why))).collect())
    }

    /// Removes a spare that nobody needs, when it is as it was made. False when it is a lane's by now, or gone.
    ///
    /// # Errors
    /// Why it stays.
    pub async fn give_back(&self, kept: &Kept) -> Result<bool, String> {
        let (id, name) = (kept.spare.workspace_id, &kept.name);
        let until = Instant::now() + CALM_WITHIN;
        let mut is_sure = false;
        let (kept, repo) = loop {
            let mut changed = self.subscribe();
            match self.grasp(id, name, is_sure) {
                Grasp::Held(held) => break *held,
                Grasp::Gone => return Ok(false),
                Grasp::Touched => {
                    return Err("somebody worked in it: it goes into the trash instead".to_owned());
                }
                Grasp::Unsure => is_sure = self.examine(id, name, Pace::full()).await == Some(true),
                Grasp::InUse => {
                    let left = until.saturating_duration_since(Instant::now());
                    if tokio::time::timeout(left, changed.changed()).await.is_err() {
                        return Err("something is being done with it".to_owned());
                    }
                }
            }
        };
        let removed = self.try_remove(&repo, &kept, Pace::full()).await;
        self.change(id, |shelf| shelf.done(name));
        if removed.is_err() {
            // Perhaps it is a spare still.
            self.look_for_spares(id).await;
        }
        removed.map(|()| true).map_err(|failure| failure.with_hint())
    }

    /// Takes a spare off the shelf when nobody has touched it. `is_sure` is for one that cannot be watched, and
    /// was looked at just now.
    fn grasp(&self, id: WorkspaceId, name: &str, is_sure: bool) -> Grasp {
        let mut benches = self.benches();
        self.take_in(&mut benches);
        let Some(bench) = benches.get_mut(&id) else { return Grasp::Gone };
        match bench.shelf.state(name) {
            None => Grasp::Gone,
            Some(State::Touched) => Grasp::Touched,
            Some(State::Looking | State::Busy) => Grasp::InUse,
            Some(State::Unverified) => Grasp::Unsure,
            Some(State::Unwatched) if !is_sure => Grasp::Unsure,
            Some(State::Verified | State::Unwatched) => match bench.shelf.take(name) {
                Some(kept) => Grasp::Held(Box::new((kept, bench.repo.clone()))),
                None => Grasp::InUse,
            },
        }
    }

    /// Removes a spare of another home, which is gone, when it is as it was made.
    ///
    /// # Errors
    /// Why it stays.
    pub async fn give_back_of_other(&self, repo: &Repository, kept: &Kept) -> Result<(), String> {
        worktree::remove_spare(repo, kept, Pace::full())
            .await
            .map_err(|error| Failure::from(error).with_hint())
    }

    /// Why a spare of a home that is gone has to stay.
    pub async fn why_it_stays(&self, repo: &Repository, kept: &Kept) -> Option<String> {
        if worktree::is_lain_on(kept.spare.root.as_path()) {
            return Some("lanes may lie on it".to_owned());
        }
        match self.is_as_made(repo, kept).await {
            Ok(true) => None,
            Ok(false) => Some("somebody worked in it; look at it, and remove it yourself".to_owned()),
            Err(failure) => Some(failure.with_hint()),
        }
    }

    /// Removes what crashes left of spares in a root, or only says what that is.
    ///
    /// # Errors
    /// `BUSY` when git is at work in the repository for long.
    pub async fn clear(&self, workspace: &Workspace, root: &Path, dry_run: bool) -> Result<Cleared, Failure> {
        // Nothing is being made while this is held: what is half made looks like what a crash left.
        let Ok(_alone) = tokio::time::timeout(CALM_WITHIN, self.making.write()).await else {
            self.with(workspace.id, |bench| bench.swept = false);
            let stays =
                vec!["what crashes left of spares stays until those are made that are being made".to_owned()];
            return Ok(Cleared { stays, ..Cleared::default() });
        };
        let (repo, place, home) =
            (workspace.repo.clone(), root.to_path_buf(), self.home.path().to_path_buf());
        let look = move || {
            let left = worktree::left_behind(&repo, &place, &home).into_iter();
            left.map(|path| (worktree::measure(&path).unwrap_or_default(), path)).collect::<Vec<_>>()
        };
        let left = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let mut cleared = Cleared {
            found: left.into_iter().map(|(usage, path)| (path, usage)).collect(),
            ..Cleared::default()
        };
        if !dry_run && !cleared.found.is_empty() {
            let swept =
                worktree::sweep_spares(&workspace.repo, root, self.home.path(), &BTreeSet::new()).await?;
            cleared.stays = swept.stays;
            cleared.found.retain(|(path, _usage)| path.symlink_metadata().is_err());
        }
        Ok(cleared)
    }
}
