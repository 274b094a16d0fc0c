//! Reads refs where they are plain files, which saves a process each; git answers for everything else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::model::Repository;
use super::trash::read_small;

/// A ref file is one line.
const MAX_REF_BYTES: u64 = 1 << 16;

/// True when refs are not files.
pub(super) fn is_reftable(repo: &Repository) -> bool {
    repo.common_dir.join("reftable").is_dir()
}

/// What the symbolic ref in this file points to, `Some(None)` when it is detached at an id. `None` when only
/// git can tell: another way to store refs, or a file that is neither.
pub(super) fn symbolic(repo: &Repository, file: &Path) -> Option<Option<String>> {
    if is_reftable(repo) {
        return None;
    }
    parse(&read_small(file, MAX_REF_BYTES).ok()?, repo.oid_len)
}

/// The full name of the branch that the main checkout is on; `None` when it is on none, or only git can tell.
/// Blocks for the reading of one line.
pub fn ref_of_checkout(repo: &Repository) -> Option<String> {
    symbolic(repo, &repo.common_dir.join("HEAD"))?
}

fn parse(bytes: &[u8], oid_len: usize) -> Option<Option<String>> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    if let Some(target) = text.strip_prefix("ref:") {
        return Some(Some(target.trim_start().to_owned()));
    }
    (text.len() == oid_len && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(None)
}

/// True when the repository's own configuration surely has nothing of this branch. A section names it in
/// quotes, or in the old way in lower case.
pub(super) fn is_unconfigured(repo: &Repository, branch: &str) -> bool {
    let Ok(bytes) = read_small(&repo.common_dir.join("config"), 16 << 20) else { return false };
    says_nothing_of(&bytes, branch)
}

fn says_nothing_of(config: &[u8], branch: &str) -> bool {
    // Quotes are written with a backslash there, so such a name would not be found.
    if branch.is_empty() || branch.contains(['"', '\\']) || !branch.is_ascii() {
        return false;
    }
    let (config, branch) = (config.to_ascii_lowercase(), branch.to_ascii_lowercase());
    !config.contains(&b'\\') && !config.windows(branch.len()).any(|window| window == branch.as_bytes())
}

/// The local branches that may be in the way of a new one called `wanted`: itself, those that differ in case
/// only, those above and below it. However many others there are, only their names are looked at. `None` when
/// only git can tell. Blocks.
pub fn heads_near(repo: &Repository, wanted: &str) -> Option<Vec<String>> {
    if is_reftable(repo) || !repo.libgit2 {
        return None;
    }
    let mut near = BTreeSet::new();
    match fs::read(repo.common_dir.join("packed-refs")) {
        Ok(packed) => {
            near.extend(packed_heads(&packed).filter(|name| is_near(name, wanted)).map(str::to_owned))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_unreadable) => return None,
    }
    loose_near(&repo.common_dir.join("refs/heads"), "", wanted, &mut near).ok()?;
    Some(near.into_iter().collect())
}

/// The short names of the branches in a `packed-refs`.
fn packed_heads(packed: &[u8]) -> impl Iterator<Item = &str> {
    packed.split(|byte| *byte == b'\n').filter_map(|line| {
        let name = &line[line.iter().position(|byte| *byte == b' ')? + 1..];
        // A remark begins with `#`, a line about the commit of a tag with `^`.
        let is_ref = line.first().is_some_and(u8::is_ascii_hexdigit);
        std::str::from_utf8(name.strip_prefix(b"refs/heads/").filter(|_| is_ref)?).ok()
    })
}

/// Adds the branches of a folder that are near; `above` is its name with a slash.
fn loose_near(folder: &Path, above: &str, wanted: &str, near: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // A branch of another encoding is near to none of ours.
        let Some(name) = entry.file_name().to_str().map(|name| format!("{above}{name}")) else { continue };
        let leads_there = starts_alike(wanted, &name) || is_below(&name, wanted);
        if !leads_there || name.ends_with(".lock") {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_dir() => loose_near(&entry.path(), &format!("{name}/"), wanted, near)?,
            Ok(_file) if is_near(&name, wanted) => drop(near.insert(name)),
            // Gone in this moment, or a link that leads nowhere.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_near(name: &str, wanted: &str) -> bool {
    same_but_case(name, wanted) || is_below(wanted, name) || is_below(name, wanted)
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

fn same_but_case(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (!(one.is_ascii() && other.is_ascii()) && one.to_lowercase() == other.to_lowercase())
}

/// True when `wanted` begins with these parts, case aside.
fn starts_alike(wanted: &str, name: &str) -> bool {
    let mut parts = wanted.split('/');
    name.split('/').all(|part| parts.next().is_some_and(|of| same_but_case(of, part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_on_a_branch_detached_or_unknown() {
        let oid = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(parse(b"ref: refs/heads/a\n", 40), Some(Some("refs/heads/a".to_owned())));
        assert_eq!(parse(format!("{oid}\n").as_bytes(), 40), Some(None));
        assert_eq!(parse(format!("{oid}\n").as_bytes(), 64), None);
        assert_eq!(parse(b"", 40), None);
        assert_eq!(parse(b"ref: \xff", 40), None);
    }

    #[test]
    fn a_configuration_is_asked_unless_it_surely_says_nothing() {
        assert!(says_nothing_of(b"[core]\n\tbare = false\n", "lanes/a"));
        assert!(!says_nothing_of(b"[branch \"lanes/a\"]\n", "lanes/a"));
        assert!(!says_nothing_of(b"[branch.lanes/a]\n", "Lanes/A"));
        assert!(!says_nothing_of(b"[branch \"lanes\\/a\"]\n", "lanes/a"));
        assert!(!says_nothing_of(b"", "a\"b"));
    }
}
