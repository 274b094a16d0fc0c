//! Finds the post-checkout hook that a new tree gets, or the reason why it gets none.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{WorktreeError, tail};
use super::git::{Git, GitCommand, GitOutput, Mode, Place};
use super::model::{Order, Repository};
use super::provision::{MARK, Runner};
use super::settings::Settings;

/// What becomes of the post-checkout hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks {
    /// The hook that runs.
    pub(super) runs: Option<PathBuf>,
    /// The hook that would run with plain git, and why it does not here.
    left_out: Option<(PathBuf, &'static str)>,
}

impl Hooks {
    /// The repository's own folder of hooks and one that the user set are used; one that the repository's
    /// configuration or content brings along is not.
    pub(super) fn find(repo: &Repository, settings: &Settings) -> Self {
        let hook = |folder: &Path| {
            let hook = folder.join("post-checkout");
            let runs = hook.is_file() && rustix::fs::access(&hook, rustix::fs::Access::EXEC_OK).is_ok();
            runs.then_some(hook)
        };
        let Some((scope, folder)) = &settings.hooks_path else {
            return Self { runs: hook(&repo.common_dir.join("hooks")), left_out: None };
        };
        let base = repo.main_tree.as_deref().unwrap_or(&repo.common_dir);
        let absolute = base.join(folder);
        let reason = match () {
            () if !matches!(scope.as_str(), "global" | "system") => "the repository's configuration names it",
            () if folder.is_relative() || is_in_tree(repo, &absolute) => "it lies in a work tree",
            () => return Self { runs: hook(&absolute), left_out: None },
        };
        Self { runs: None, left_out: hook(&absolute).map(|hook| (hook, reason)) }
    }

    /// Runs the hook in a tree that git did not make, as `git worktree add` would: in the tree, with the null
    /// id, the commit and `1` for its arguments, and without being told where git's folders are.
    ///
    /// # Errors
    /// `Hook` when it fails, those of a call of git.
    pub(super) async fn run(
        &self,
        git: &Git,
        repo: &Repository,
        order: &Order,
        runner: &dyn Runner,
    ) -> Result<(), WorktreeError> {
        let Some(hook) = &self.runs else { return Ok(()) };
        let place = Place::repository(repo);
        let exec_path = git.ask(Mode::Look, &place, ["--exec-path"]).await?.text();
        let plain = git.command(Mode::Checkout, &place, ["worktree"]).with_hooks();
        let before = plain.env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let mut search = OsString::from(&exec_path);
        search.push(":");
        search.push(before);
        let arguments = ["0".repeat(order.base.sha.len()), order.base.sha.clone(), "1".to_owned()];
        let command = GitCommand {
            program: hook.clone(),
            args: arguments.map(OsString::from).to_vec(),
            cwd: order.path.to_path_buf(),
            label: "the post-checkout hook".to_owned(),
            ..plain
        }
        .env("PATH", search)
        .env("GIT_EXEC_PATH", exec_path)
        .env("GIT_PREFIX", "")
        .env(MARK, order.lane_id.to_string());
        let output = match runner.run(command.clone(), git.checkout_timeout()).await {
            // A script without `#!`: git lets the shell have it.
            Err(WorktreeError::StartGit { source, .. }) if source.raw_os_error() == Some(libc::ENOEXEC) => {
                let mut args = command.args.clone();
                args.insert(0, hook.clone().into());
                let shell = GitCommand { program: "/bin/sh".into(), args, ..command };
                runner.run(shell, git.checkout_timeout()).await?
            }
            ran => ran?,
        };
        if output.ok() { Ok(()) } else { Err(hook_failed(hook, &output)) }
    }

    pub(super) fn note(&self) -> Option<String> {
        let (hook, reason) = self.left_out.as_ref()?;
        let hook = super::error::quoted_path(hook);
        Some(format!("the post-checkout hook {hook} was not run: {reason}"))
    }
}

/// What a hook that failed is told as.
pub(super) fn hook_failed(hook: &Path, output: &GitOutput) -> WorktreeError {
    let status = output.code.map_or_else(|| "by a signal".to_owned(), |code| format!("exit {code}"));
    WorktreeError::Hook { hook: hook.to_path_buf(), status, stderr: tail(&output.stderr) }
}

fn is_in_tree(repo: &Repository, folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let linked = super::resolve::admin_dirs(&repo.common_dir).into_iter();
    let mut trees =
        linked.filter_map(|(_id, dir)| super::resolve::tree_of(&dir)).chain(repo.main_tree.clone());
    trees.any(|tree| folder.starts_with(&tree) && !folder.starts_with(&repo.common_dir))
}
