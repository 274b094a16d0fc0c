//! Counts what a lane has changed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Shared;
use crate::failure::Failure;
use crate::lanes::lane::Lane;
use crate::worktree::{self, Changes, Git, Mode, Place, Repository, Tree};

impl Shared {
    pub(super) async fn count(&self, lane: &Lane) -> Result<(Option<String>, Changes), Failure> {
        let Some(tree) = &lane.tree else { return Ok((None, Changes::default())) };
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let admin = admin_dir(&repo, tree);
        let changes = worktree::changes(git, &repo, tree.path.as_path(), &admin, &lane.order.base).await?;
        let head = head(git, &admin).await?;
        self.counted.insert(lane.id, Instant::now());
        Ok((head, changes))
    }

    /// True when somebody else has locked the tree: nothing that picks lanes by itself takes it then.
    pub(super) async fn locked_by_somebody(&self, lane: &Lane) -> Result<bool, Failure> {
        let Some(tree) = &lane.tree else { return Ok(false) };
        let admin = admin_dir(&self.repository(lane).await?, tree);
        Ok(worktree::lock_reason(&admin).is_some_and(|reason| reason != lane.order.lock_reason))
    }

    pub(super) async fn merged(&self, lane: &Lane) -> Result<bool, Failure> {
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let Some(tree) = &lane.tree else { return Ok(true) };
        let Some(tip) = head(git, &admin_dir(&repo, tree)).await? else { return Ok(true) };
        Ok(worktree::is_merged(git, &repo, &tip, &lane.order.branch.name, &lane.order.base).await?)
    }
}

/// The admin directory of a tree.
fn admin_dir(repo: &Repository, tree: &Tree) -> PathBuf {
    repo.common_dir.join("worktrees").join(&tree.admin_id)
}

/// The commit that HEAD of a tree is at; none when its branch is unborn.
async fn head(git: &Git, admin: &Path) -> Result<Option<String>, Failure> {
    let answer =
        git.ask(Mode::Look, &Place::git_dir(admin), ["rev-parse", "--verify", "--quiet", "HEAD"]).await;
    let answer = answer.map_err(Failure::from)?;
    let text = answer.text();
    Ok((!text.is_empty()).then_some(text))
}
