//! Looks whether a spare is as it was made, while it is watched.

use std::path::Path;
use std::time::Instant;

use super::keep::Stock;
use super::plan::State;
use super::watch::Watched;
use crate::failure::Failure;
use crate::fault;
use crate::ids::WorkspaceId;
use crate::worktree::{self, Git, Kept, Mode, Pace, Place, Repository, WorktreeError};

/// What a look at a spare has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    AsMade,
    Touched,
    Gone,
}

impl Stock {
    /// Looks at a spare at this pace, and settles what may be done with it then. True when it may be used now;
    /// none when somebody else is at it. Nobody else gets it meanwhile; dropped, it stays what it was for the
    /// next start.
    pub(super) async fn examine(&self, id: WorkspaceId, name: &str, pace: Pace) -> Option<bool> {
        let begun =
            self.with(id, |bench| Some((bench.shelf.begin(name, State::Looking)?, bench.repo.clone())));
        let (kept, repo) = begun.flatten()?;
        let (tree, admin) = (kept.tree().to_path_buf(), kept.admin(&repo));
        // From before the look: what happens meanwhile is seen by one of the two.
        let watched = self.watch_all(name, &tree, &admin).await;
        fault::pass("stock.watched");
        let found = self.look_at(&repo, &kept, pace).await.unwrap_or_else(|error| {
            tracing::warn!(%error, spare = name, "a spare could not be looked at");
            Found::Gone
        });
        let state = match (found, watched) {
            (Found::AsMade, Watched::All) => Some(State::Verified),
            (Found::AsMade, Watched::None) => Some(State::Unwatched),
            (Found::Touched, _) => Some(State::Touched),
            (Found::Gone, _) => None,
        };
        let mut benches = self.benches();
        // Whatever was touched before it counts as verified is no longer.
        let touched = self.watch.drain();
        for bench in benches.values_mut() {
            for other in touched.names.iter().filter(|other| *other != name) {
                bench.shelf.suspect(Some(other));
            }
            if touched.all {
                bench.shelf.suspect(None);
            }
        }
        let again = touched.all || touched.names.contains(name);
        if let Some(bench) = benches.get_mut(&id) {
            match state {
                Some(State::Verified) if again => bench.shelf.settle(name, State::Unverified),
                Some(state) => bench.shelf.settle(name, state),
                None => {
                    bench.shelf.forget(name);
                    bench.swept = false;
                }
            }
        }
        drop(benches);
        if state.is_none() {
            self.watch.remove(name);
        }
        self.tell();
        Some(match state {
            Some(State::Verified) => !again,
            Some(State::Unwatched) => true,
            Some(State::Unverified | State::Touched | State::Looking | State::Busy) | None => false,
        })
    }

    async fn watch_all(&self, name: &str, tree: &Path, admin: &Path) -> Watched {
        let (name, tree, admin) = (name.to_owned(), tree.to_path_buf(), admin.to_path_buf());
        let watch = std::sync::Arc::clone(&self.watch);
        let watched = tokio::task::spawn_blocking(move || watch.add(&name, &tree, &admin)).await;
        watched.unwrap_or(Watched::None)
    }

    /// True when a spare, perhaps of another home, is as it was made.
    pub(super) async fn is_as_made(&self, repo: &Repository, kept: &Kept) -> Result<bool, Failure> {
        Ok(self.look_at(repo, kept, Pace::full()).await? == Found::AsMade)
    }

    async fn look_at(&self, repo: &Repository, kept: &Kept, pace: Pace) -> Result<Found, WorktreeError> {
        let (repo_, kept_) = (repo.clone(), kept.clone());
        let is_there = move || {
            let spares = worktree::spares(&repo_, kept_.spare.home.as_path());
            spares
                .into_iter()
                .any(|found| (found.dev, found.ino) == (kept_.dev, kept_.ino) && found.spare == kept_.spare)
        };
        if !tokio::task::spawn_blocking(is_there).await.unwrap_or(false) {
            return Ok(Found::Gone);
        }
        let Ok(git) = self.workspaces.git().await else { return Ok(Found::Touched) };
        if !has_its_base(git, repo, kept).await? {
            return Ok(Found::Touched);
        }
        let began = Instant::now();
        let (repo_, kept_) = (repo.clone(), kept.clone());
        let look = move || worktree::verify_spare(&repo_, &kept_, &pace);
        let wrong = tokio::task::spawn_blocking(look).await;
        let as_made =
            wrong.map_err(|_stopped| WorktreeError::Stopped { attempt: "looking at a spare" })??.is_empty();
        tracing::debug!(spare = %kept.name, as_made, ms = began.elapsed().as_millis(), "looked at a spare");
        Ok(if as_made { Found::AsMade } else { Found::Touched })
    }
}

/// True when HEAD is detached at the base, and the index holds the base.
async fn has_its_base(git: &Git, repo: &Repository, kept: &Kept) -> Result<bool, WorktreeError> {
    let base = &kept.spare.base;
    let head = tokio::fs::read(kept.admin(repo).join("HEAD")).await.unwrap_or_default();
    if head.trim_ascii() != base.as_bytes() {
        return Ok(false);
    }
    let place = Place::tree(&kept.admin(repo), kept.tree());
    let args = ["diff-index", "--cached", "--quiet", "--ignore-submodules=none", base.as_str(), "--"];
    let output = git.run(git.command(Mode::Look, &place, args), git.timeout()).await?;
    Ok(output.ok())
}

/// True when git finds nothing that is not in the base, but for what it ignores.
pub(super) async fn is_clean(git: &Git, repo: &Repository, kept: &Kept) -> Result<bool, WorktreeError> {
    let place = Place::tree(&kept.admin(repo), kept.tree());
    let args = ["status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none"];
    Ok(git.ask(Mode::Look, &place, args).await?.stdout.is_empty())
}
