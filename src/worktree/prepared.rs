//! What a preparation has left in a spare: written down, so that a change of it is seen later.

use std::path::Path;

use super::blocking::blocking;
use super::error::WorktreeError;
use super::extras::{EXTRAS_FILE, Listing};
use super::git::Git;
use super::model::Repository;
use super::pace::Pace;
use super::retarget::{AT_WORK, refresh};
use super::spare::Kept;
use super::trash::is_there;
use super::verify::{listing, verify};
use crate::raw::Raw;

/// Writes down what there is besides what the index knows, after the index has learnt which files were only
/// written again. To be called while nothing runs in the tree any more; it may be repeated.
///
/// # Errors
/// Those of git, `File`.
pub async fn note_prepared(
    git: &Git,
    repo: &Repository,
    kept: &Kept,
    pace: &Pace,
) -> Result<(), WorktreeError> {
    let (admin, tree) = (kept.admin(repo), kept.tree().to_path_buf());
    refresh(git, &admin, &tree, &kept.name).await?;
    let (oid_len, pace) = (repo.oid_len, pace.clone());
    blocking(AT_WORK, move || {
        let path = admin.join(EXTRAS_FILE);
        let extras = listing(&tree, &admin.join("index"), oid_len, &pace)?;
        extras.write(&path).map_err(|error| WorktreeError::file("write", path, error))
    })
    .await
}

/// Compares every file of a spare with its index, and what a preparation left with its list; what differs, as
/// [`verify`] tells it. Blocks.
///
/// # Errors
/// `File`, for an index or a list that cannot be read.
pub fn verify_spare(repo: &Repository, kept: &Kept, pace: &Pace) -> Result<Vec<Raw>, WorktreeError> {
    let admin = kept.admin(repo);
    let extras = read_extras(&admin)?;
    verify(kept.tree(), &admin.join("index"), repo.oid_len, extras.as_ref(), pace)
}

fn read_extras(admin: &Path) -> Result<Option<Listing>, WorktreeError> {
    let path = admin.join(EXTRAS_FILE);
    match is_there(&path)? {
        true => Listing::read(&path).map(Some).map_err(|error| WorktreeError::file("read", path, error)),
        false => Ok(None),
    }
}
