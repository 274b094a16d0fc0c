//! Points the submodules of a moved tree and their repositories at each other again.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::archive_walk::names;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::pins::answer;
use super::trash::{self, is_there, read_small};
use super::trash_locate::gitfile;

/// Folders in folders, at most.
const MAX_DEPTH: usize = 200;

/// Rewrites each submodule's `.git` file and its `core.worktree`. Returns notes about those that could not be.
pub(super) async fn point(git: &Git, admin: &Path, tree: &Path) -> Result<Vec<String>, WorktreeError> {
    let mut found = Vec::new();
    look_in(tree, 0, &mut found)
        .map_err(|error| WorktreeError::file("look for submodules in", tree, error))?;
    let mut notes = Vec::new();
    for folder in found {
        let dot_git = folder.join(".git");
        let text = read_small(&dot_git, 1 << 16).unwrap_or_default();
        let Some(inner) = gitfile(&text).and_then(module_path) else { continue };
        let module = admin.join("modules").join(&inner);
        if !is_there(&module)? {
            notes.push(format!("the submodule repository {} is missing", inner.display()));
            continue;
        }
        let mut line = b"gitdir: ".to_vec();
        line.extend_from_slice(module.as_os_str().as_bytes());
        line.push(b'\n');
        trash::write_synced(&dot_git, &line)
            .map_err(|error| WorktreeError::file("write", &dot_git, error))?;
        set_worktree(git, &module.join("config"), &folder).await?;
        let own = module.join("config.worktree");
        if read_small(&own, 1 << 20)
            .is_ok_and(|text| text.windows(8).any(|w| w.eq_ignore_ascii_case(b"worktree")))
        {
            set_worktree(git, &own, &folder).await?;
        }
    }
    Ok(notes)
}

async fn set_worktree(git: &Git, config: &Path, folder: &Path) -> Result<(), WorktreeError> {
    let mut args = vec![OsString::from("config"), OsString::from("--file")];
    args.extend([config.into(), "core.worktree".into(), folder.into()]);
    let _said = answer(git, git.command(Mode::Write, &Place::nowhere(), args)).await?;
    Ok(())
}

/// The part after `worktrees/<admin id>/modules/`.
pub(super) fn module_path(gitdir: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = gitdir.iter().collect();
    let at = parts.windows(3).position(|three| three[0] == "worktrees" && three[2] == "modules")?;
    let inner = &parts[at + 3..];
    let plain = !inner.is_empty() && inner.iter().all(|part| *part != ".." && *part != "/");
    plain.then(|| inner.iter().collect())
}

fn look_in(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    // What cannot be entered, or has a path that is too long, is no submodule that git could use.
    let Ok(top) = super::archive_walk::open_top(folder) else { return Ok(()) };
    for name in names(&top)? {
        let path = folder.join(std::ffi::OsStr::from_bytes(&name));
        let Ok(facts) = std::fs::symlink_metadata(&path) else { continue };
        let kind = facts.file_type();
        if name == b".git" {
            if depth > 0 && kind.is_file() {
                found.push(folder.to_path_buf());
            }
        } else if kind.is_dir() {
            look_in(&path, depth + 1, found)?;
        }
    }
    Ok(())
}
