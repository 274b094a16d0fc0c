//! What lies in a tree besides what git's index knows, written down so that a change of it is seen.

use std::cmp::Ordering;
use std::io::{self, ErrorKind};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::archive::Stamp;
use super::trash::{read_small, write_unsynced};
use crate::raw::Raw;

/// The file in the admin directory that keeps it.
pub const EXTRAS_FILE: &str = "lanes-extras";
/// What the file begins with.
const HEAD: &[u8] = b"lanes-extras 1\n";
/// The largest that is read.
const MAX_BYTES: u64 = 1 << 30;
const SUM_BYTES: usize = 32;

/// One file, link or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extra {
    pub path: Vec<u8>,
    mode: u32,
    ino: u64,
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Extra {
    /// Of a folder only what is not told by what is in it.
    pub fn new(path: Vec<u8>, stamp: &Stamp, is_dir: bool) -> Self {
        let Stamp { mode, ino, .. } = *stamp;
        match is_dir {
            true => Self { path, mode, ino, size: 0, mtime: (0, 0), ctime: (0, 0) },
            false => Self {
                path,
                mode,
                ino,
                size: stamp.size,
                mtime: (stamp.mtime, stamp.mtime_ns),
                ctime: (stamp.ctime, stamp.ctime_ns),
            },
        }
    }
}

/// What lies in a tree besides what its index knows, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    extras: Vec<Extra>,
}

impl Listing {
    pub(super) fn new(mut extras: Vec<Extra>) -> Self {
        extras.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        Self { extras }
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.extras.len()
    }

    /// True when there is nothing.
    pub fn is_empty(&self) -> bool {
        self.extras.is_empty()
    }

    /// The paths that are not the same in both, the first so many.
    pub(super) fn differences(&self, other: &Self, limit: usize) -> Vec<Raw> {
        let (mut ours, mut theirs) = (self.extras.iter().peekable(), other.extras.iter().peekable());
        let mut found = Vec::new();
        while found.len() < limit {
            let order = match (ours.peek(), theirs.peek()) {
                (Some(one), Some(two)) => one.path.cmp(&two.path),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let one = if order.is_le() { ours.next() } else { None };
            let two = if order.is_ge() { theirs.next() } else { None };
            if one != two {
                found.extend(one.or(two).map(|extra| Raw(extra.path.clone())));
            }
        }
        found
    }

    /// Writes it beside the place and swaps it in. Nothing is synced.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = HEAD.to_vec();
        for extra in &self.extras {
            bytes.extend_from_slice(&extra.mode.to_le_bytes());
            bytes.extend_from_slice(&extra.ino.to_le_bytes());
            bytes.extend_from_slice(&extra.size.to_le_bytes());
            for (seconds, nanoseconds) in [extra.mtime, extra.ctime] {
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanoseconds.to_le_bytes());
            }
            let len = u32::try_from(extra.path.len()).map_err(|_too_long| wrong("a path is too long"))?;
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&extra.path);
        }
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        write_unsynced(path, &bytes)
    }

    /// Reads what [`Listing::write`] wrote.
    ///
    /// # Errors
    /// What the system says; `InvalidData` when it is not what was written.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = read_small(path, MAX_BYTES)?;
        let (body, sum) = bytes
            .len()
            .checked_sub(SUM_BYTES)
            .map(|at| bytes.split_at(at))
            .ok_or_else(|| wrong("it is cut off"))?;
        if Sha256::digest(body).as_slice() != sum {
            return Err(wrong("it is damaged"));
        }
        let mut rest = body.strip_prefix(HEAD).ok_or_else(|| wrong("it is of another version"))?;
        let mut extras = Vec::new();
        while !rest.is_empty() {
            let (extra, after) = parse(rest).ok_or_else(|| wrong("it is cut off"))?;
            extras.push(extra);
            rest = after;
        }
        Ok(Self::new(extras))
    }
}

fn parse(bytes: &[u8]) -> Option<(Extra, &[u8])> {
    let (mode, rest) = bytes.split_first_chunk()?;
    let (ino, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (mtime, rest) = rest.split_first_chunk()?;
    let (mtime_ns, rest) = rest.split_first_chunk()?;
    let (ctime, rest) = rest.split_first_chunk()?;
    let (ctime_ns, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let extra = Extra {
        path: path.to_vec(),
        mode: u32::from_le_bytes(*mode),
        ino: u64::from_le_bytes(*ino),
        size: u64::from_le_bytes(*size),
        mtime: (i64::from_le_bytes(*mtime), u32::from_le_bytes(*mtime_ns)),
        ctime: (i64::from_le_bytes(*ctime), u32::from_le_bytes(*ctime_ns)),
    };
    Some((extra, rest))
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
