//! Reads what `git config --list` prints, as far as it decides how a checkout looks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One setting, as it was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `system`, `global`, `local`, `worktree`.
    pub scope: String,
    /// The file.
    pub origin: PathBuf,
    /// Its name: in lower case, but for the part in the middle.
    pub key: Vec<u8>,
    /// Its value; none for a name alone, which means true.
    pub value: Option<Vec<u8>>,
}

/// A file that a configuration includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The file; none when only git can tell which one is meant (`~user/`, `%(prefix)/`).
    pub path: Option<PathBuf>,
    /// When it is included, such as `onbranch:main`; none for always.
    pub condition: Option<Vec<u8>>,
}

/// Settings that decide how a checkout looks on disk, or what its index must be like.
const KEYS: [&str; 19] = [
    "core.attributesfile",
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.checkroundtripencoding",
    "core.checkstat",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.repositoryformatversion",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.splitindex",
    "core.symlinks",
    "core.trustctime",
    "core.untrackedcache",
];
/// Sections of which everything does.
const SECTIONS: [&str; 6] = ["attr.", "extensions.", "feature.", "filter.", "index.", "lfs."];
/// What a transfer of LFS writes by itself about its server.
const OF_A_SERVER: [&str; 2] = [".access", ".locksverify"];

/// True for a setting that decides how a checkout looks, or brings others that may.
pub fn decides_looks(key: &[u8]) -> bool {
    let begins = |start: &str| key.starts_with(start.as_bytes());
    let of_a_server = begins("lfs.") && OF_A_SERVER.iter().any(|end| key.ends_with(end.as_bytes()));
    !of_a_server
        && (KEYS.iter().any(|known| key == known.as_bytes())
            || SECTIONS.iter().any(|section| begins(section)))
}

/// Reads `scope NUL origin NUL name LF value NUL` records; what does not come from a file is left out, as it
/// comes from us. None when it is something else.
pub fn parse_list(bytes: &[u8], cwd: &Path) -> Option<Vec<Entry>> {
    let mut fields = bytes.split(|byte| *byte == 0);
    let mut entries = Vec::new();
    loop {
        let scope = fields.next()?;
        if scope.is_empty() {
            return fields.next().is_none().then_some(entries);
        }
        let (origin, setting) = (fields.next()?, fields.next()?);
        let Some(file) = origin.strip_prefix(b"file:") else { continue };
        let (key, value) = name_and_value(setting);
        entries.push(Entry {
            scope: String::from_utf8_lossy(scope).into_owned(),
            origin: cwd.join(OsStr::from_bytes(file)),
            key,
            value,
        });
    }
}

/// Reads `name LF value NUL` records.
pub fn parse_plain(bytes: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    bytes.split(|byte| *byte == 0).filter(|setting| !setting.is_empty()).map(name_and_value).collect()
}

fn name_and_value(setting: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    match setting.iter().position(|byte| *byte == b'\n') {
        Some(at) => (setting[..at].to_vec(), Some(setting[at + 1..].to_vec())),
        None => (setting.to_vec(), None),
    }
}

/// The files that the entries include, those whose condition does not hold too.
pub fn included(entries: &[Entry], home: Option<&Path>) -> Vec<Included> {
    let one = |entry: &Entry| {
        let condition = match entry.key.as_slice() {
            b"include.path" => None,
            key => Some(key.strip_prefix(b"includeif.")?.strip_suffix(b".path")?.to_vec()),
        };
        let path = expand(entry.value.as_deref()?, entry.origin.parent(), home);
        Some(Included { path, condition })
    };
    entries.iter().filter_map(one).collect()
}

fn expand(value: &[u8], beside: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    if let Some(rest) = value.strip_prefix(b"~/") {
        return Some(home?.join(OsStr::from_bytes(rest)));
    }
    if needs_git(value) {
        return None;
    }
    Some(beside?.join(OsStr::from_bytes(value)))
}

/// True for a path that git does not take as it stands.
pub fn needs_git(value: &[u8]) -> bool {
    [b"~".as_slice(), b"%(", b":("].iter().any(|start| value.starts_with(start))
}

/// True for a condition that asks which branch is checked out.
pub fn is_about_branch(condition: &[u8]) -> bool {
    condition.starts_with(b"onbranch:")
}

/// True for a condition that may hold in one linked worktree and not in another.
pub fn differs_by_tree(condition: &[u8]) -> bool {
    if is_about_branch(condition) {
        return true;
    }
    let folder = [b"gitdir:".as_slice(), b"gitdir/i:"].iter().find_map(|kind| condition.strip_prefix(*kind));
    let Some(folder) = folder else { return false };
    let anchored = [b"/".as_slice(), b"~/", b"./"].iter().any(|start| folder.starts_with(start));
    let folder = folder.strip_suffix(b"**").unwrap_or(folder);
    let pattern = folder.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    let into = folder.windows(9).any(|part| part.eq_ignore_ascii_case(b"worktrees"));
    !anchored || pattern || into
}

/// The value of a setting that counts: the last one.
pub fn last<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().rev().find(|entry| entry.key == key.as_bytes())
}
