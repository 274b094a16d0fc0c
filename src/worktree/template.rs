//! Makes templates: trees that git checks out once, for others to be made from.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::claim::{check_spare, unusable};
use super::error::WorktreeError;
use super::git::{Git, Mode, Place, is_transient};
use super::model::Repository;
use super::provision::{MARK, Runner, admin_dir_of};
use super::retarget::refresh;
use super::spare::{self, Kept, SpareKind, Want};
use super::spare_remove::discard;
use crate::fault;

/// How often git is asked to make a tree while others hold a lock of it for a moment.
const ATTEMPTS: u32 = 8;
/// The pause between such attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Settings of every checkout of a spare: an index that is whole in one file, and none that says where its
/// tree is.
pub(super) const PLAIN_INDEX: [(&str, &str); 2] =
    [("core.splitIndex", "false"), ("core.untrackedCache", "false")];

/// Makes a tree of this commit by git, with the filters that the repository's configuration names, and lets
/// it age until its index is beyond doubt. Its hooks do not run: it is nobody's checkout.
///
/// A failure leaves nothing; what a crash or a dropped future leaves, [`sweep_spares`](super::sweep_spares)
/// removes.
///
/// # Errors
/// `NotStocked` for trees with submodules and repositories whose references are not files: no fault;
/// otherwise what git or the disk said.
pub async fn make_template(
    git: &Git,
    repo: &Repository,
    want: &Want,
    runner: &dyn Runner,
) -> Result<Kept, WorktreeError> {
    check_kind(git, repo, &want.base).await?;
    let name = spare::spare_name(want.home.as_path());
    fault::at("spare.begin")?;
    match make(git, repo, want, &name, runner).await {
        Ok(kept) => Ok(kept),
        Err(error) => {
            discard(repo, want.root.as_path(), &name).await;
            Err(error)
        }
    }
}

/// Refuses what no copy can be made of.
async fn check_kind(git: &Git, repo: &Repository, base: &str) -> Result<(), WorktreeError> {
    let no = |reason: &str| Err(WorktreeError::NotStocked { reason: reason.to_owned() });
    if repo.common_dir.join("reftable").is_dir() {
        return no("the repository's references are not files");
    }
    // Folders and submodules only, so that this is short.
    let args = ["ls-tree", "-r", "-d", "-z", "--end-of-options", base];
    let said = git.ask(Mode::Look, &Place::repository(repo), args).await?;
    let is_submodule = |record: &[u8]| record.starts_with(b"160000 ");
    if said.stdout.split(|byte| *byte == 0).any(is_submodule) {
        return no("it has submodules");
    }
    Ok(())
}

async fn make(
    git: &Git,
    repo: &Repository,
    want: &Want,
    name: &str,
    runner: &dyn Runner,
) -> Result<Kept, WorktreeError> {
    let tree = spare::place_of(repo, want.root.as_path(), want.kind, name)?;
    add(git, repo, want, name, &tree, runner).await?;
    super::layout::make_again(repo, want.root.as_path())?;
    let admin = admin_dir_of(repo, &tree)?;
    if admin.file_name() != Some(name.as_ref()) {
        let reason = "git gave its entry another name".to_owned();
        return Err(WorktreeError::NotOurs { path: admin, reason });
    }
    let spare = spare::unfinished(want, &tree);
    spare::write_spare(&admin, &spare)?;
    fault::at("spare.added")?;
    refresh(git, &admin, &tree, name).await?;
    fault::at("spare.aged")?;
    spare::finish(&admin, name, spare)
}

async fn add(
    git: &Git,
    repo: &Repository,
    want: &Want,
    name: &str,
    tree: &Path,
    runner: &dyn Runner,
) -> Result<(), WorktreeError> {
    for attempt in 1..=ATTEMPTS {
        let mut args: Vec<OsString> = vec!["worktree".into(), "add".into(), "--quiet".into()];
        args.extend(["--detach".into(), "--lock".into(), "--reason".into(), want.lock_reason.clone().into()]);
        args.extend(["--".into(), tree.as_os_str().to_owned(), want.base.clone().into()]);
        let command = git.command(Mode::Checkout, &Place::repository(repo), args).env(MARK, name);
        let command = PLAIN_INDEX.iter().fold(command, |command, (key, value)| command.config(*key, *value));
        let output = runner.run(command, git.checkout_timeout()).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.ok() || attempt == ATTEMPTS || !is_transient(&said) {
            return output.success("git worktree add").map(|_said| ());
        }
        discard(repo, want.root.as_path(), name).await;
        let _made_again = spare::place_of(repo, want.root.as_path(), want.kind, name)?;
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("invariant: the last attempt returns")
}

/// Makes sure that a template can be copied: it is ready, in its place, and provably the one of its entry.
/// Blocks.
///
/// # Errors
/// `SpareUnusable`.
pub(super) fn check_template(repo: &Repository, template: &Kept, base: &str) -> Result<(), WorktreeError> {
    match template.spare.base == base {
        true => check_spare(repo, template, SpareKind::Template),
        false => unusable(template.tree(), "it is at another commit"),
    }
}
