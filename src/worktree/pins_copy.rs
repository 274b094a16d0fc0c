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

/// Copies what the pins reach and no reference does, the lane's own branch aside. Where that fails (a full disk,
/// a damaged repository) the vault alone has to do: it holds up no cleanup.
pub(super) async fn keep(git: &Git, repo: &Repository, spot: &Spot, entry: &TrashEntry) {
    if let Err(error) = try_keep(git, repo, spot, entry).await {
        tracing::warn!(lane = %entry.order.lane_id, %error, "there is no copy of the lane's commits");
    }
}

async fn try_keep(
    git: &Git,
    repo: &Repository,
    spot: &Spot,
    entry: &TrashEntry,
) -> Result<(), WorktreeError> {
    let is_base = entry.pins.iter().all(|oid| *oid == entry.order.base.sha);
    if is_base || is_there(&copy_of(spot))? {
        return Ok(());
    }
    let packed = pack(git, repo, entry).await?;
    if !packed.is_empty() {
        trash::write_synced(&copy_of(spot), &packed)
            .map_err(|source| WorktreeError::file("write", copy_of(spot), source))?;
    }
    Ok(())
}

/// Where the pack of an entry lies.
fn copy_of(spot: &Spot) -> PathBuf {
    spot.dir.join("objects.pack")
}

/// The pack itself: a file that git writes among its own is removed by whoever prunes them at that moment.
async fn pack(git: &Git, repo: &Repository, entry: &TrashEntry) -> Result<Vec<u8>, WorktreeError> {
    let place = Place::repository(repo);
    let own = format!("refs/heads/{}", entry.order.branch.name);
    let list = ["for-each-ref", "--format=%(objectname) %(refname)"];
    let refs = answer(git, plain(git, Mode::Look, &place, &list)).await?.text();
    let mut input: Vec<&str> = entry.pins.iter().map(String::as_str).collect();
    input.push("--not");
    let others = refs.lines().filter_map(|line| line.split_once(' ')).filter(|(_oid, name)| *name != own);
    input.extend(others.map(|(oid, _name)| oid));
    // Fast: it is rarely more than a few commits.
    let args = ["pack-objects", "--revs", "--stdout", "--quiet", "--window=0", "--exclude-promisor-objects"];
    let command = plain(git, Mode::Write, &place, &args)
        .config("pack.compression", "1")
        .stdin(format!("{}\n", input.join("\n")).into_bytes());
    let packed = answer(git, command).await?.stdout;
    // The number of objects is in the header.
    let is_empty = packed.get(8..12).is_none_or(|count| count == [0; 4]);
    Ok(if is_empty { Vec::new() } else { packed })
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
    let pack = copy_of(spot);
    if !is_there(&pack)? || is_whole(git, &Place::repository(repo), &entry.pins).await? {
        return Ok(false);
    }
    let index = pack.with_extension("idx");
    trash::remove_file_if_there(&index).map_err(|source| WorktreeError::file("remove", &index, source))?;
    let args = ["index-pack", "-o"]
        .map(OsString::from)
        .into_iter()
        .chain([index.clone().into(), pack.clone().into()]);
    let name = answer(git, git.command(Mode::Write, &Place::repository(repo), args)).await?.text();
    let folder = repo.common_dir.join("objects/pack");
    let target = folder.join(format!("pack-{}", name.rsplit('\t').next().unwrap_or_default()));
    // Its index last: with that it is there.
    std::fs::create_dir_all(&folder)
        .and_then(|()| copy(&pack, &target.with_extension("pack")))
        .and_then(|()| copy(&index, &target.with_extension("idx")))
        .map_err(|source| WorktreeError::file("put back", &target, source))?;
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

/// Copies a file so that it is there as a whole or not at all.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(".new");
    let part = PathBuf::from(part);
    trash::remove_file_if_there(&part)?;
    let _bytes = std::fs::copy(from, &part)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, to)
}
