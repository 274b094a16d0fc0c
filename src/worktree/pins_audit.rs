//! Looks whether everything that closed lanes hold is there, and kept by the vault.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Repository, TrashEntry};
use super::pins::{answer, kinds_of, plain, scan_ids};

/// What was found missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many commits and objects the entries hold.
    pub pins: usize,
    /// Those that the vault does not reach.
    pub unreached: Vec<String>,
    /// Those that are not in the repository.
    pub lost: Vec<String>,
}

/// Compares what the finished entries hold with what `vault`, the admin directory of their root's vault,
/// reaches. Without one nothing is reached. Changes nothing.
///
/// # Errors
/// Those of git.
pub async fn audit(
    git: &Git,
    repo: &Repository,
    vault: Option<&Path>,
    entries: &[TrashEntry],
) -> Result<Audit, WorktreeError> {
    let complete = entries.iter().filter(|entry| entry.complete);
    let pins: BTreeSet<String> = complete.flat_map(|entry| entry.pins.iter().cloned()).collect();
    let all: Vec<String> = pins.iter().cloned().collect();
    let kinds = kinds_of(git, repo, &all).await?;
    let lost: Vec<String> = all.iter().filter(|oid| !kinds.contains_key(*oid)).cloned().collect();
    let (commits, objects): (Vec<&String>, Vec<&String>) =
        kinds.keys().partition(|oid| matches!(kinds[*oid].as_str(), "commit" | "tag"));
    let mut unreached: Vec<String> = Vec::new();
    if let Some(vault) = vault {
        unreached.extend(commits_beyond(git, vault, &commits).await?);
        if !objects.is_empty() {
            let held = held_objects(git, repo, vault).await?;
            unreached.extend(objects.into_iter().filter(|oid| !held.contains(*oid)).cloned());
        }
    }
    Ok(Audit { pins: pins.len(), unreached, lost })
}

/// Of these commits, those that the HEAD of the vault does not reach.
async fn commits_beyond(git: &Git, vault: &Path, commits: &[&String]) -> Result<Vec<String>, WorktreeError> {
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let mut input = String::from("^HEAD\n");
    for commit in commits {
        input.push_str(commit);
        input.push('\n');
    }
    let place = Place::git_dir(vault);
    let command = plain(git, Mode::Look, &place, &["rev-list", "--stdin"]).stdin(input.into_bytes());
    let beyond: BTreeSet<String> = answer(git, command).await?.text().lines().map(str::to_owned).collect();
    Ok(commits.iter().filter(|oid| beyond.contains(**oid)).map(|oid| (*oid).clone()).collect())
}

/// The blobs and trees that the links of the chain hold: each is an entry under its own id.
async fn held_objects(git: &Git, repo: &Repository, vault: &Path) -> Result<BTreeSet<String>, WorktreeError> {
    let place = Place::git_dir(vault);
    let log =
        answer(git, plain(git, Mode::Look, &place, &["log", "--first-parent", "--format=%T %s"])).await?;
    let text = log.text();
    // What follows the chain is the history of a pinned commit.
    let chain = text
        .lines()
        .map_while(|line| line.split_once(' ').filter(|(_tree, said)| said.starts_with("lanes pins ")));
    let trees: BTreeSet<&str> = chain.map(|(tree, _said)| tree).collect();
    let input: Vec<u8> = trees.iter().flat_map(|tree| format!("{tree}\n").into_bytes()).collect();
    let command = plain(git, Mode::Look, &place, &["cat-file", "--batch"]).stdin(input);
    let mut held = BTreeSet::new();
    scan_ids(&answer(git, command).await?.stdout, repo.oid_len, &mut held);
    Ok(held)
}
