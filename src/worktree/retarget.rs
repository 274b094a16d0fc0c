//! Brings a spare to another commit.

use std::path::Path;
use std::time::Duration;

use super::blocking::blocking;
use super::claim::check_spare;
use super::entry;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::lock::WorkspaceLock;
use super::model::Repository;
use super::pace::Pace;
use super::pool::check_files;
use super::prepared::verify_spare;
use super::provision::{LOCK_PATIENCE, MARK};
use super::set_aside::set_aside;
use super::spare::{self, Kept, Spare, write_spare};
use super::spare_remove::{check_unused, discard};
use super::template::PLAIN_INDEX;
use super::trash_retire::commit_of;
use crate::{clock, fault};

/// What is done, for people.
pub(super) const AT_WORK: &str = "work on a spare";
/// Time stamps of files lag behind the clock by up to one of the kernel's ticks.
const TICK: Duration = Duration::from_millis(20);

/// Waits for a second that no file of the tree was written in, then lets git look at every file once more: an
/// index that is younger than all its files needs no second look at their contents, ever.
pub(super) async fn refresh(git: &Git, admin: &Path, tree: &Path, name: &str) -> Result<(), WorktreeError> {
    let rest = Duration::from_millis(1_000 - clock::now().as_ms() % 1_000);
    tokio::time::sleep(rest + TICK).await;
    // Also when nothing differs: its time is what counts.
    let args = ["update-index", "-q", "--force-write-index", "--refresh"];
    let command = git.command(Mode::Checkout, &Place::tree(admin, tree), args).env(MARK, name);
    let command = PLAIN_INDEX.iter().fold(command, |command, (key, value)| command.config(*key, *value));
    git.run(command, git.checkout_timeout()).await?.success("git update-index").map(|_said| ())
}

/// True when a spare at one commit can be brought to the other by a checkout of what differs: both are there,
/// and nothing between them decides how other files look.
///
/// # Errors
/// What git said.
pub async fn can_retarget(git: &Git, repo: &Repository, from: &str, to: &str) -> Result<bool, WorktreeError> {
    let place = Place::repository(repo);
    if commit_of(git, &place, from).await?.is_none() || commit_of(git, &place, to).await?.is_none() {
        return Ok(false);
    }
    let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--end-of-options", from, to];
    let command = git.command(Mode::Look, &place, args);
    let said = git.run(command, git.timeout()).await?.success("git diff-tree")?;
    Ok(!decides_looks(&said.stdout))
}

/// True when what `git diff-tree -r -z --raw` prints has a submodule in it, or a file that says how others
/// look.
pub fn decides_looks(raw: &[u8]) -> bool {
    let is_submodule = |facts: &[u8]| {
        let mut modes = facts.strip_prefix(b":").unwrap_or(facts).split(|byte| *byte == b' ');
        modes.by_ref().take(2).any(|mode| mode == b"160000")
    };
    let mut fields = raw.split(|byte| *byte == 0);
    while let (Some(facts), Some(path)) = (fields.next(), fields.next()) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let decides = [".gitattributes", ".gitmodules"].iter().any(|file| {
            // Where names differ in nothing but case, git takes either.
            name.eq_ignore_ascii_case(file.as_bytes())
        });
        if decides || is_submodule(facts) {
            return true;
        }
    }
    false
}

/// Brings a spare to another commit: git checks out what differs, with its filters and without hooks. Before and
/// afterwards every file is compared with the index. What a crash or a dropped future leaves of it is rubbish.
///
/// # Errors
/// `SpareUnusable` when it is not as it was made, or lanes lie on it: one that was edited before is still there, for its caller to
/// set aside; one that was edited meanwhile is in the trash. Otherwise what git or the disk said: then it is
/// removed.
pub async fn retarget(git: &Git, repo: &Repository, kept: &Kept, to: &str) -> Result<Kept, WorktreeError> {
    begin(repo, kept).await?;
    match bring(git, repo, kept, to).await {
        Ok(kept) => Ok(kept),
        Err(error @ WorktreeError::SpareUnusable { .. }) => {
            let entry = set_aside(git, repo, kept).await?;
            tracing::warn!(lane = %entry.order.lane_id, %error, "a tree in stock is in the trash");
            Err(error)
        }
        Err(error) => {
            discard(repo, kept.spare.root.as_path(), &kept.name).await;
            Err(error)
        }
    }
}

/// Makes sure that it is as it was made, and only then that nobody claims it meanwhile: what is not ready is
/// rubbish after a crash, and nobody's work may be that.
async fn begin(repo: &Repository, kept: &Kept) -> Result<(), WorktreeError> {
    let (repo_, kept_) = (repo.clone(), kept.clone());
    let check = move || {
        check_spare(&repo_, &kept_, kept_.spare.kind)?;
        check_files(verify_spare(&repo_, &kept_, &Pace::full())?, kept_.tree())
    };
    blocking(AT_WORK, check).await?;
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, "retarget of a spare").await?;
    let (repo, kept) = (repo.clone(), kept.clone());
    blocking(AT_WORK, move || {
        check_spare(&repo, &kept, kept.spare.kind)?;
        check_unused(&kept)?;
        write_spare(&kept.admin(&repo), &Spare { ready: false, ..kept.spare })?;
        drop(held);
        fault::at("retarget.begun")?;
        Ok(())
    })
    .await
}

async fn bring(git: &Git, repo: &Repository, kept: &Kept, to: &str) -> Result<Kept, WorktreeError> {
    let (admin, tree) = (kept.admin(repo), kept.tree().to_path_buf());
    check_out(git, &admin, &tree, &kept.name, to).await?;
    fault::at("retarget.moved")?;
    refresh(git, &admin, &tree, &kept.name).await?;
    fault::at("retarget.aged")?;
    let spare = Spare { base: to.to_owned(), ..kept.spare.clone() };
    let (repo, kept) = (repo.clone(), kept.clone());
    blocking(AT_WORK, move || {
        check_files(verify_spare(&repo, &kept, &Pace::full())?, &tree)?;
        restart_log(&admin, &spare.base)?;
        spare::finish(&admin, &kept.name, spare)
    })
    .await
}

/// Makes the entry say what it says of a tree that was made at this commit.
fn restart_log(admin: &Path, base: &str) -> Result<(), WorktreeError> {
    if let Some(log) = entry::first_log(admin, base, false) {
        entry::exchange(admin, "logs/HEAD", &log)?;
    }
    entry::exchange(admin, "ORIG_HEAD", format!("{base}\n").as_bytes())
}

async fn check_out(git: &Git, admin: &Path, tree: &Path, name: &str, to: &str) -> Result<(), WorktreeError> {
    let args = ["checkout", "--quiet", "--detach", "--force", "--no-recurse-submodules", to, "--"];
    let command = git.command(Mode::Checkout, &Place::tree(admin, tree), args).env(MARK, name);
    let command = PLAIN_INDEX.iter().fold(command, |command, (key, value)| command.config(*key, *value));
    git.run(command, git.checkout_timeout()).await?.success("git checkout").map(|_said| ())
}
