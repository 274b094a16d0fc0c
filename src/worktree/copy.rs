//! Makes the tree of a lane by copying a template.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::branch_take::{self, Taken};
use super::claim::check_base;
use super::copytree::{CopyJob, copy_tree};
use super::entry;
use super::error::WorktreeError;
use super::git::Git;
use super::lock::WorkspaceLock;
use super::model::{Order, Repository};
use super::pace::Pace;
use super::provision::LOCK_PATIENCE;
use super::restore_admin::free_name;
use super::spare::Kept;
use super::template::check_template;
use super::token::hand_token;
use super::undo::stage_of;
use crate::fault;

/// Somebody waits for the copy; more threads than this write no faster.
const THREADS: usize = 2;
/// What is done, for people.
const COPYING: &str = "copying a tree";

/// Makes the entry, the branch and the files of an order; the admin directory comes back. From its first
/// moment on the entry carries the order.
///
/// # Errors
/// `SpareUnusable` when the template is not as it was made, `BRANCH_EXISTS`, `BRANCH_CHECKED_OUT`,
/// `PathTaken`, `Lock`, `File`, those of git and of the copy. After any of them the order has to be undone.
pub(super) async fn copy(
    git: &Git,
    repo: &Repository,
    template: &Kept,
    order: &Order,
) -> Result<PathBuf, WorktreeError> {
    let holder = format!("copy for {}", order.name);
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &holder).await?;
    let (repo_, template_, order_) = (repo.clone(), template.clone(), order.clone());
    let begin = move || begin(&repo_, &template_, &order_).map(|taken| (taken, held));
    let (taken, held) = blocking(COPYING, begin).await?;
    if taken == Taken::AskGit {
        branch_take::take_with_git(git, repo, order, &template.spare.base).await?;
    }
    let (repo_, template_, order_) = (repo.clone(), template.clone(), order.clone());
    let cancel = CancellationToken::new();
    // A copy that nobody waits for any more ends by itself; what is there of it is undone.
    let _ends_with_us = cancel.clone().drop_guard();
    blocking(COPYING, move || {
        let name = free_name(&repo_, order_.path.as_path())?;
        let admin = entry::publish(&repo_, &stage_of(&repo_, &order_), &name)?;
        drop(held);
        fault::at("copy.entered")?;
        fill(&repo_, &template_, &order_, &admin, &cancel)?;
        fault::at("copy.copied")?;
        Ok(admin)
    })
    .await
}

/// The staged entry, and the branch where libgit2 can make it.
fn begin(repo: &Repository, template: &Kept, order: &Order) -> Result<Taken, WorktreeError> {
    let base = &template.spare.base;
    check_template(repo, template, base)?;
    check_base(template, order)?;
    let foreseen = branch_take::foresee(repo, order, base)?;
    let stage = entry::stage_from(repo, template, order)?;
    hand_token(&stage, order)?;
    fault::at("copy.staged")?;
    branch_take::take(foreseen, repo, order, base, entry::who_made(&template.admin(repo)).as_deref())
}

fn fill(
    repo: &Repository,
    template: &Kept,
    order: &Order,
    admin: &Path,
    cancel: &CancellationToken,
) -> Result<(), WorktreeError> {
    let (from, to) = (template.tree(), order.path.as_path());
    entry::make_tree(to, admin, from)?;
    let job = CopyJob {
        from: from.to_path_buf(),
        from_index: template.admin(repo).join("index"),
        to: to.to_path_buf(),
        to_index: admin.join("index"),
        oid_len: repo.oid_len,
        threads: THREADS,
    };
    let _copied = copy_tree(&job, &Pace::full(), cancel)?;
    entry::like_index(&job.to_index, &job.from_index)
}
