//! The rules for names of lanes, branches and revisions.

use super::error::WorktreeError;

/// The longest name of a lane.
const MAX_LANE_NAME: usize = 63;
/// The longest name of a branch: a file name of git's, with room for `.lock`.
const MAX_BRANCH_NAME: usize = 240;
/// The longest revision that is passed on.
const MAX_REV: usize = 1_024;

/// Checks the name of a lane.
///
/// # Errors
/// `NameInvalid` with the rule that it breaks.
pub fn lane_name(name: &str) -> Result<(), WorktreeError> {
    let no = |rule| Err(WorktreeError::NameInvalid { name: name.to_owned(), rule });
    let Some(first) = name.bytes().next() else { return no("it is empty") };
    if !first.is_ascii_alphanumeric() {
        return no("it must begin with a letter or digit");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return no("only letters, digits, '.', '_' and '-' may be in it");
    }
    if name.len() > MAX_LANE_NAME {
        return no("it is longer than 63 characters");
    }
    match ref_rule(name) {
        Some(rule) => no(rule),
        None => Ok(()),
    }
}

/// Checks the short name of a branch by git's rules.
///
/// # Errors
/// `BranchInvalid` with the rule that it breaks.
pub fn branch_name(name: &str) -> Result<(), WorktreeError> {
    let no = |rule| Err(WorktreeError::BranchInvalid { name: name.to_owned(), rule });
    if name.len() > MAX_BRANCH_NAME {
        return no("it is longer than 240 bytes");
    }
    if name.starts_with('-') {
        return no("it begins with '-'");
    }
    if name == "HEAD" || name == "@" {
        return no("git uses that name itself");
    }
    match ref_rule(name) {
        Some(rule) => no(rule),
        None => Ok(()),
    }
}

/// The rule of `git check-ref-format` that a name breaks.
fn ref_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.chars().any(char::is_control) {
        return Some("it has a control character in it");
    }
    if name.chars().any(|c| " ~^:?*[\\".contains(c)) {
        return Some("a blank or one of ~^:?*[\\ is in it");
    }
    if name.contains("..") {
        return Some("'..' is in it");
    }
    if name.contains("@{") {
        return Some("'@{' is in it");
    }
    if name.ends_with('.') {
        return Some("it ends with '.'");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Some("'/' is at its begin, at its end or twice in a row");
        }
        if part.starts_with('.') {
            return Some("a part of it begins with '.'");
        }
        if part.ends_with(".lock") {
            return Some("a part of it ends with '.lock'");
        }
    }
    None
}

/// Why a revision is not even asked for.
pub fn rev_rule(rev: &str) -> Option<&'static str> {
    if rev.is_empty() {
        return Some("is empty");
    }
    if rev.starts_with('-') {
        return Some("looks like an option");
    }
    if rev.chars().any(char::is_control) {
        return Some("has a control character in it");
    }
    (rev.len() > MAX_REV).then_some("is longer than 1024 bytes")
}

/// True for revisions that cost nothing to resolve: no search, no walk.
pub(super) fn is_plain_rev(rev: &str) -> bool {
    rev.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))
}
