//! Reads refs where they are plain files, which saves a process each; git answers for everything else.

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
