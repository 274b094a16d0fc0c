//! Makes pooled trees out of a template.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::copytree::{CopyJob, copy_tree};
use super::entry::{self, NewEntry};
use super::error::{WorktreeError, quoted};
use super::lock::WorkspaceLock;
use super::model::Repository;
use super::pace::Pace;
use super::provision::LOCK_PATIENCE;
use super::spare::{self, Kept, Want};
use super::spare_remove::{discard, stage_of};
use super::template::check_template;
use super::verify::verify;
use crate::fault;
use crate::raw::Raw;

/// Makes a pooled tree like this template: detached, locked, with every file compared with its index before
/// it is ready.
///
/// A failure leaves nothing; what a crash or a dropped future leaves, [`sweep_spares`](super::sweep_spares)
/// removes.
///
/// # Errors
/// `SpareUnusable` when the template is not as it was made, or does not fit; otherwise what the disk said.
pub async fn make_pooled(
    repo: &Repository,
    template: &Kept,
    want: &Want,
    pace: Pace,
) -> Result<Kept, WorktreeError> {
    let name = spare::spare_name(want.home.as_path());
    fault::at("spare.begin")?;
    let holder = "a spare that is made";
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, holder).await?;
    let making = Making {
        repo: repo.clone(),
        template: template.clone(),
        want: want.clone(),
        name: name.clone(),
        pace,
        cancel: CancellationToken::new(),
    };
    // A copy that nobody waits for any more ends by itself.
    let _ends_with_us = making.cancel.clone().drop_guard();
    let work = tokio::task::spawn_blocking(move || making.make(held));
    let made = work.await.map_err(|_stopped| WorktreeError::Stopped { attempt: "making a spare" })?;
    if made.is_err() {
        discard(repo, want.root.as_path(), &name).await;
    }
    made
}

struct Making {
    repo: Repository,
    template: Kept,
    want: Want,
    name: String,
    pace: Pace,
    cancel: CancellationToken,
}

impl Making {
    fn make(&self, held: WorkspaceLock) -> Result<Kept, WorktreeError> {
        let (repo, template, want) = (&self.repo, &self.template, &self.want);
        check_template(repo, template, &want.base)?;
        if template.spare.print != want.print {
            return super::claim::unusable(template.tree(), "its files would look different now");
        }
        let tree = spare::place_of(repo, want.root.as_path(), want.kind, &self.name)?;
        let admin = self.enter(tree.clone())?;
        // The rest is of a name that nobody else knows.
        drop(held);
        fault::at("spare.entered")?;
        entry::make_tree(&tree, &admin, template.tree())?;
        let job = CopyJob {
            from: template.tree().to_path_buf(),
            from_index: template.admin(repo).join("index"),
            to: tree.clone(),
            to_index: admin.join("index"),
            oid_len: repo.oid_len,
            threads: 1,
        };
        let _copied = copy_tree(&job, &self.pace, &self.cancel)?;
        entry::like_index(&job.to_index, &job.from_index)?;
        fault::at("spare.copied")?;
        check_files(verify(&tree, &job.to_index, repo.oid_len, None, &self.pace)?, &tree)?;
        fault::at("spare.filled")?;
        spare::finish(&admin, &self.name, spare::unfinished(want, &tree))
    }

    fn enter(&self, tree: PathBuf) -> Result<PathBuf, WorktreeError> {
        let (repo, want) = (&self.repo, &self.want);
        let (like, stage) = (self.template.admin(repo), stage_of(repo, &self.name));
        let entry = NewEntry {
            like: &like,
            tree: &tree,
            branch: None,
            base: &want.base,
            lock_reason: &want.lock_reason,
        };
        entry.stage(&stage)?;
        spare::write_spare(&stage, &spare::unfinished(want, &tree))?;
        entry::publish(repo, &stage, &self.name)
    }
}

/// Refuses a tree with files that are not as they were made.
pub(super) fn check_files(wrong: Vec<Raw>, tree: &std::path::Path) -> Result<(), WorktreeError> {
    let Some(first) = wrong.first() else { return Ok(()) };
    super::claim::unusable(tree, &format!("{} is not as it was made", quoted(&first.lossy())))
}
