//! What `pool.prepare` goes by: the command, and the files of the base that it resolves things from.

use sha2::{Digest as _, Sha256};

use crate::config::Hook;

/// A tree of git's, as far as it names files.
struct Entry<'a> {
    oid: &'a [u8],
    path: &'a [u8],
}

/// The fingerprint of a command and of those files in `git ls-tree -r -z` that the patterns name: a pattern with a
/// slash is a whole path, one without is the name of a file in any folder.
pub fn fingerprint(hook: &Hook, patterns: &[String], listed: &[u8]) -> String {
    let mut hash = Sha256::new();
    for word in hook.argv() {
        put(&mut hash, word.as_encoded_bytes());
    }
    let entries = listed.split(|byte| *byte == 0).filter_map(entry);
    for entry in entries.filter(|entry| patterns.iter().any(|pattern| names(pattern, entry.path))) {
        put(&mut hash, entry.path);
        put(&mut hash, entry.oid);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// With its length, so that what comes after it cannot be taken for a part of it.
fn put(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// `<mode> <type> <oid>\t<path>`.
fn entry(record: &[u8]) -> Option<Entry<'_>> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let oid = record[..tab].split(|byte| *byte == b' ').nth(2)?;
    Some(Entry { oid, path: &record[tab + 1..] })
}

fn names(pattern: &str, path: &[u8]) -> bool {
    let pattern = pattern.trim_start_matches("./").as_bytes();
    if pattern.contains(&b'/') {
        return pattern.strip_prefix(b"/").unwrap_or(pattern) == path;
    }
    path.rsplit(|byte| *byte == b'/').next() == Some(pattern)
}
