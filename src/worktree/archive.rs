//! What the archive of a retired tree says about each path, and how that is written down.
//!
//! Beside `files.tar.gz` lies `manifest.gz`: one JSON value a line, the first with the version, then one
//! for every path that was there, folders before what is in them. A path that is not listed was absent
//! (deleted, or left out by a sparse checkout) and stays absent.

use std::collections::HashMap;
use std::io::{BufRead, Write};

use git2::{ObjectType, Oid};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::raw::Raw;

/// The version of the manifest that this code writes and reads.
pub const MANIFEST_VERSION: u32 = 1;

/// A file larger than this is archived without asking whether git has the same bytes: it would have to
/// be in memory as a whole for that, and in one answer of git to be brought back.
pub const HASH_LIMIT: u64 = 32 << 20;

/// What lstat says about a file, as far as git's index records it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// All bits of `st_mode`.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Last modification, seconds.
    pub mtime: i64,
    /// Last modification, nanoseconds.
    pub mtime_ns: u32,
    /// Last change of the inode, seconds.
    pub ctime: i64,
    /// Last change of the inode, nanoseconds.
    pub ctime_ns: u32,
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Where the content of a path is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A folder.
    Dir,
    /// A regular file in `files.tar.gz`.
    File,
    /// A symbolic link and what it says.
    Link {
        /// The target as it is, never followed.
        target: Raw,
    },
    /// A regular file whose bytes are exactly this blob.
    Blob {
        /// The object id.
        oid: String,
    },
}

/// One path of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the tree, with `/`.
    pub path: Raw,
    /// Where its content is.
    #[serde(flatten)]
    pub content: Content,
    /// What lstat said.
    #[serde(flatten)]
    pub stamp: Stamp,
}

/// An entry of a git tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// `100644`, `100755`, `120000`, `160000`.
    pub mode: u32,
    /// The object id.
    pub oid: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    top_mode: u32,
}

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The permissions of the tree itself.
    pub top_mode: u32,
    /// Every path in it, folders before what is in them.
    pub items: Vec<Item>,
}

/// Parses the output of `git ls-tree -r -z --full-tree`.
pub fn parse_ls_tree(output: &[u8]) -> HashMap<Vec<u8>, Tracked> {
    let mut found = HashMap::new();
    for line in output.split(|byte| *byte == 0) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { continue };
        let Ok(facts) = std::str::from_utf8(&line[..tab]) else { continue };
        let mut words = facts.split(' ');
        let (Some(mode), Some(_kind), Some(oid)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(mode) = u32::from_str_radix(mode, 8) else { continue };
        found.insert(line[tab + 1..].to_vec(), Tracked { mode, oid: oid.to_owned() });
    }
    found
}

/// The id that git gives a blob of these bytes; none when the length of the id is of no known kind.
pub fn blob_oid(bytes: &[u8], oid_len: usize) -> Option<String> {
    match oid_len {
        40 => Oid::hash_object(ObjectType::Blob, bytes).ok().map(|oid| oid.to_string()),
        64 => {
            let mut hash = Sha256::new();
            hash.update(format!("blob {}\0", bytes.len()));
            hash.update(bytes);
            Some(hex(&hash.finalize()))
        }
        _unknown => None,
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// True when a regular file of this mode is what git would check out for the entry, were its bytes the
/// same: only the owner's execute bit counts.
pub fn mode_agrees(entry: &Tracked, st_mode: u32) -> bool {
    match entry.mode {
        0o100_644 => st_mode & 0o100 == 0,
        0o100_755 => st_mode & 0o100 != 0,
        _other => false,
    }
}

/// Writes a manifest.
///
/// # Errors
/// What the writer says.
pub fn write_manifest(out: &mut impl Write, manifest: &Manifest) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, &Head { version: MANIFEST_VERSION, top_mode: manifest.top_mode })?;
    out.write_all(b"\n")?;
    for item in &manifest.items {
        serde_json::to_writer(&mut *out, item)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads a manifest.
///
/// # Errors
/// `InvalidData` when it is of another version, not a manifest, or names a path outside the tree.
pub fn read_manifest(input: impl BufRead) -> std::io::Result<Manifest> {
    let wrong = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut lines = input.split(b'\n');
    let first = lines.next().ok_or_else(|| wrong("the manifest is empty".to_owned()))??;
    let head: Head = serde_json::from_slice(&first)?;
    if head.version != MANIFEST_VERSION {
        return Err(wrong(format!("the manifest is of version {}", head.version)));
    }
    let mut items = Vec::new();
    for line in lines {
        let item: Item = serde_json::from_slice(&line?)?;
        if !is_inside(item.path.as_bytes()) {
            return Err(wrong(format!("the manifest names {:?}", item.path)));
        }
        items.push(item);
    }
    Ok(Manifest { top_mode: head.top_mode, items })
}

/// True for a relative path of plain names, at least one, none of them the top `.git`.
pub fn is_inside(path: &[u8]) -> bool {
    path != b".git"
        && !path.starts_with(b".git/")
        && !path.contains(&0)
        && path.split(|byte| *byte == b'/').all(|name| !name.is_empty() && name != b"." && name != b"..")
}
