//! Puts the names in one folder beside what the index knows of it.

use std::cmp::Ordering;
use std::ops::Range;

use super::index_file::IndexFile;

/// What the index knows under one name of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Child {
    /// The entry of this number: a file, a link, a submodule.
    Entry(usize),
    /// A folder with these entries in it.
    Folder(Range<usize>),
}

/// A folder, and the index beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    /// For each name, in order, what the index knows of it.
    pub known: Vec<Option<Child>>,
    /// What the index knows besides.
    pub absent: Vec<Child>,
}

impl Pairs {
    /// Pairs sorted names with the entries `below` the folder whose path, with its `/`, has this length.
    pub fn of<'n>(
        index: &IndexFile,
        below: Range<usize>,
        path_len: usize,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Self {
        let mut children = children(index, below, path_len).into_iter().peekable();
        let mut pairs = Self::default();
        for name in names {
            let mut known = None;
            while let Some((child_name, child)) = children.next_if(|(child, _)| *child <= name) {
                match child_name.cmp(name) {
                    Ordering::Equal if known.is_none() => known = Some(child),
                    // A second one of a name is there when the entry is in conflict.
                    Ordering::Equal | Ordering::Less | Ordering::Greater => pairs.absent.push(child),
                }
            }
            pairs.known.push(known);
        }
        pairs.absent.extend(children.map(|(_name, child)| child));
        pairs
    }
}

/// What the index has directly in a folder, sorted by name.
fn children(index: &IndexFile, below: Range<usize>, path_len: usize) -> Vec<(&[u8], Child)> {
    let mut children = Vec::new();
    let mut at = below.start;
    while at < below.end {
        let path = index.entry(at).path();
        let rest = &path[path_len..];
        match memchr::memchr(b'/', rest) {
            None => {
                children.push((rest, Child::Entry(at)));
                at += 1;
            }
            Some(slash) => {
                let until = index.run(at..below.end, &path[..=path_len + slash]);
                children.push((&rest[..slash], Child::Folder(at..until)));
                at = until;
            }
        }
    }
    // Folders are sorted with their slash, names here without.
    children.sort_by_key(|(name, _child)| *name);
    children
}

/// The length of a folder's path with the `/` that its entries have after it.
pub(super) fn path_len(folder: &[u8]) -> usize {
    if folder.is_empty() { 0 } else { folder.len() + 1 }
}
