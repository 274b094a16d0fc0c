//! Keeps a copy of what only a retired lane holds beside its files.
//!
//! The vault keeps it reachable. But a `git gc --prune=now` or `repack -ad` that somebody began before the
//! vault held it, and that looked at the lane's own entry after that was gone, saw it nowhere, and removes it
//! whenever it comes to that. So it lies in the trash as a pack, too, and is put back when it is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Repository, TrashEntry};
use super::pins::{answer, plain};
use super::trash::{self, Spot, is_there};

/// What the files of a copy are called, before the name that git gives them.
const NAME: &str = "objects";

/// Copies what the pins reach and no reference does, the lane's own branch aside. Without room for it the
/// vault alone has to do.
///
/// # Errors
/// What git says, but for a full disk.
pub(super) async fn keep(
    git: &Git,
    repo: &Repository,
    spot: &Spot,
    entry: &TrashEntry,
) -> Result<(), WorktreeError> {
    let is_base = entry.pins.iter().all(|oid| *oid == entry.order.base.sha);
    if is_base || !packs(spot)?.is_empty() {
        return Ok(());
    }
    let place = Place::repository(repo);
    let own = format!("refs/heads/{}", entry.order.branch.name);
    let refs =
        answer(git, plain(git, Mode::Look, &place, &["for-each-ref", "--format=%(objectname) %(refname)"]));
    let refs = refs.await?.text();
    let mut input: Vec<&str> = entry.pins.iter().map(String::as_str).collect();
    input.push("--not");
    let others = refs.lines().filter_map(|line| line.split_once(' ')).filter(|(_oid, name)| *name != own);
    input.extend(others.map(|(oid, _name)| oid));
    // Fast, and rarely more than a few commits.
    let words =
        ["pack-objects", "--revs", "--non-empty", "--quiet", "--window=0", "--exclude-promisor-objects"];
    let mut args: Vec<OsString> = words.map(OsString::from).to_vec();
    args.push(spot.dir.join(NAME).into_os_string());
    let command = git
        .command(Mode::Write, &place, args)
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .config("pack.compression", "1")
        .stdin(format!("{}\n", input.join("\n")).into_bytes());
    match answer(git, command).await {
        Err(error) if error.is_disk_full() => {
            tracing::warn!(lane = %entry.order.lane_id, %error, "there was no room for a copy of its commits");
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Puts back into the repository what of an entry's pins somebody removed from it; true when something was.
///
/// # Errors
/// What git or the disk said.
pub(super) async fn put_back(
    git: &Git,
    repo: &Repository,
    spot: &Spot,
    entry: &TrashEntry,
) -> Result<bool, WorktreeError> {
    let packs = packs(spot)?;
    if packs.is_empty() || is_whole(git, &Place::repository(repo), &entry.pins).await? {
        return Ok(false);
    }
    let folder = repo.common_dir.join("objects/pack");
    for pack in packs {
        install(&pack, &folder).map_err(|source| WorktreeError::file("put back", &pack, source))?;
    }
    tracing::warn!(lane = %entry.order.lane_id, "commits of a closed lane had been removed, and are back");
    Ok(true)
}

/// True when everything that these objects reach is there.
pub(super) async fn is_whole(git: &Git, place: &Place, oids: &[String]) -> Result<bool, WorktreeError> {
    // What a partial clone can fetch again is not missing.
    let args = [
        "rev-list",
        "--objects",
        "--quiet",
        "--stdin",
        "--exclude-promisor-objects",
        "--not",
        "--glob=refs/*",
    ];
    let command = plain(git, Mode::Look, place, &args).stdin(format!("{}\n", oids.join("\n")).into_bytes());
    Ok(git.run(command, git.timeout()).await?.ok())
}

/// The packs of an entry that came to their end: their index is written last.
fn packs(spot: &Spot) -> Result<Vec<PathBuf>, WorktreeError> {
    let failed = |source| WorktreeError::file("list", &spot.dir, source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&spot.dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME));
        if is_ours
            && path.extension().is_some_and(|kind| kind == "idx")
            && is_there(&path.with_extension("pack"))?
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a pack in where git finds it, its index last.
fn install(index: &Path, folder: &Path) -> std::io::Result<()> {
    let name =
        index.file_name().map(|name| name.to_string_lossy().replacen(NAME, "pack", 1)).unwrap_or_default();
    std::fs::create_dir_all(folder)?;
    let target = folder.join(name);
    for kind in ["pack", "idx"] {
        let (from, to) = (index.with_extension(kind), target.with_extension(kind));
        let part = to.with_extension(format!("{kind}.lanes"));
        trash::remove_file_if_there(&part)?;
        std::fs::copy(from, &part)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &to)?;
    }
    Ok(())
}
