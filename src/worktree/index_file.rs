//! Git's index file: read, looked into, given other stat data, sealed, written.
//!
//! Versions 2, 3 and 4, with SHA-1 or SHA-256. What is in it may come from anywhere: nothing is believed
//! that was not checked, and memory grows with the size of the file only.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::index_stat::SLOT_BYTES;
use super::trash::write_unsynced;

pub use super::index_stat::IndexStat;

/// The largest index that is looked at.
const MAX_INDEX_BYTES: u64 = 1 << 30;
/// The longest path: a longer one cannot be opened.
const MAX_PATH_BYTES: usize = 4096;
/// All paths together: version 4 abbreviates, so that a small file may mean many long paths.
const MAX_ALL_PATHS_BYTES: usize = 1 << 30;

const ASSUME_VALID: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const NAME_LEN: u16 = 0x0FFF;
const SKIP_WORKTREE: u16 = 0x4000;
const INTENT_TO_ADD: u16 = 0x2000;

/// The type bits of a mode, and the types that an entry has.
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const GITLINK: u32 = 0o160_000;
const SPARSE_DIR: u32 = 0o040_000;

/// Extensions that speak of the one tree that the index was written for, and those that say where the
/// others are.
const OF_ONE_TREE: [&[u8; 4]; 2] = [b"UNTR", b"FSMN"];
const OF_PLACES: [&[u8; 4]; 2] = [b"EOIE", b"IEOT"];

/// An index that was read.
#[derive(Clone, Debug)]
pub struct IndexFile {
    bytes: Vec<u8>,
    hash_len: usize,
    slots: Vec<Slot>,
    paths: Vec<u8>,
    /// Where the extensions begin.
    extensions_at: usize,
    /// When it was written: seconds as the index has them, nanoseconds.
    written: (u32, u32),
}

#[derive(Clone, Debug)]
struct Slot {
    /// Where the entry begins: with its stat data.
    at: usize,
    /// Where the path is in `paths`.
    path: Range<usize>,
    flags: u16,
    extended: u16,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    index: &'a IndexFile,
    slot: &'a Slot,
}

impl<'a> Entry<'a> {
    /// Relative to the tree, with `/`; ends with one when it is a folder that a sparse index left whole.
    pub fn path(&self) -> &'a [u8] {
        &self.index.paths[self.slot.path.clone()]
    }

    /// `0o100644`, `0o100755`, `0o120000`, `0o160000`, `0o040000`.
    pub fn mode(&self) -> u32 {
        number(&self.index.bytes, self.slot.at + 24)
    }

    /// The object id, raw.
    pub fn oid(&self) -> &'a [u8] {
        &self.index.bytes[self.slot.at + SLOT_BYTES..][..self.index.hash_len]
    }

    /// 0, or the side of a conflict.
    pub fn stage(&self) -> u16 {
        (self.slot.flags & STAGE) >> 12
    }

    /// True when the user promised not to change it.
    pub fn is_assumed_valid(&self) -> bool {
        self.slot.flags & ASSUME_VALID != 0
    }

    /// True when a sparse checkout left it out.
    pub fn is_skipped(&self) -> bool {
        self.slot.extended & SKIP_WORKTREE != 0
    }

    /// True when only its name was added.
    pub fn is_intent_to_add(&self) -> bool {
        self.slot.extended & INTENT_TO_ADD != 0
    }

    /// True for a submodule: its folder is there, and may be empty.
    pub fn is_gitlink(&self) -> bool {
        self.mode() & TYPE == GITLINK
    }

    /// True when a file or link of it is to be in the tree.
    pub fn is_in_tree(&self) -> bool {
        !self.is_skipped() && !matches!(self.mode() & TYPE, GITLINK | SPARSE_DIR)
    }

    /// True when a file of this mode is what git makes of it: only the owner's execute bit counts.
    pub fn mode_agrees(&self, st_mode: u32) -> bool {
        match self.mode() & TYPE {
            REGULAR => (self.mode() ^ st_mode) & 0o100 == 0 && st_mode & TYPE == REGULAR,
            // Without `core.symlinks` a link is a file that says where it leads.
            LINK => matches!(st_mode & TYPE, LINK | REGULAR),
            _folder => false,
        }
    }

    /// What the index remembers of its file.
    pub fn stat(&self) -> IndexStat {
        IndexStat::from_slot(&self.index.bytes[self.slot.at..][..SLOT_BYTES])
    }

    /// True when its file may have changed after git looked at it without that showing: it is as young as
    /// the index.
    pub fn is_racy(&self) -> bool {
        self.stat().mtime >= self.index.written
    }
}

impl IndexFile {
    /// Reads an index of a repository whose object ids have so many hexadecimal digits.
    ///
    /// # Errors
    /// What the system says; `InvalidData` with the reason when it is split, damaged or of no known kind.
    pub fn read(path: &Path, oid_len: usize) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let facts = file.metadata()?;
        if !facts.is_file() || facts.len() > MAX_INDEX_BYTES {
            return Err(wrong("it is not a regular file of a sensible size"));
        }
        let since = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nobody writes into an index: a new one takes its place.
        let mut bytes = vec![0; facts.len() as usize];
        file.read_exact(&mut bytes)?;
        let mut index = Self::parse(bytes, oid_len).map_err(wrong)?;
        // As the index itself has it: the lower half of the seconds.
        index.written = (since.as_secs() as u32, since.subsec_nanos());
        Ok(index)
    }

    /// Takes the bytes of an index apart. It counts as written at the beginning of time.
    ///
    /// # Errors
    /// The reason, when it is split, damaged or of no known kind.
    pub fn parse(bytes: Vec<u8>, oid_len: usize) -> Result<Self, &'static str> {
        let hash_len = oid_len / 2;
        if !matches!(hash_len, 20 | 32) {
            return Err("object ids of this length are not known");
        }
        let mut index =
            Self { bytes, hash_len, slots: Vec::new(), paths: Vec::new(), extensions_at: 0, written: (0, 0) };
        index.extensions_at = index.parse_entries()?;
        index.check_extensions()?;
        Ok(index)
    }

    /// Says whether the checksum at the end is the one of the content; one of zeros (`index.skipHash`) is.
    pub fn is_sound(&self) -> bool {
        let (body, sum) = self.bytes.split_at(self.end());
        sum.iter().all(|byte| *byte == 0) || checksum(body, self.hash_len) == sum
    }

    /// All entries, by path.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.slots.iter().map(|slot| Entry { index: self, slot })
    }

    /// The entry of this number.
    pub fn entry(&self, number: usize) -> Entry<'_> {
        Entry { index: self, slot: &self.slots[number] }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Where the entries of a range end whose paths begin so; the first one's does.
    pub(super) fn run(&self, range: Range<usize>, prefix: &[u8]) -> usize {
        let begins = |slot: &Slot| self.paths[slot.path.clone()].starts_with(prefix);
        range.start + self.slots[range].partition_point(begins)
    }

    /// Gives the entry of this number other stat data. The mode is not touched.
    pub fn restamp(&mut self, number: usize, stat: &IndexStat) {
        let at = self.slots[number].at;
        stat.put(&mut self.bytes[at..at + SLOT_BYTES]);
    }

    /// Leaves out what only holds for the tree that it was written for: git's notes about untracked files
    /// and about what a file system monitor said.
    pub fn forget_tree(&mut self) {
        let parts = self.extensions();
        let is = |range: &Range<usize>, kinds: &[&[u8; 4]]| {
            kinds.iter().any(|kind| self.bytes[range.start..].starts_with(*kind))
        };
        if !parts.iter().any(|part| is(part, &OF_ONE_TREE)) {
            return;
        }
        let sum = self.bytes[self.end()..].to_vec();
        let mut tail = Vec::new();
        // Where things are is not true any more, and only serves to read with several threads.
        for part in parts.iter().filter(|part| !is(part, &OF_ONE_TREE) && !is(part, &OF_PLACES)) {
            tail.extend_from_slice(&self.bytes[part.clone()]);
        }
        self.bytes.truncate(self.extensions_at);
        self.bytes.extend_from_slice(&tail);
        self.bytes.extend_from_slice(&sum);
    }

    /// The file as it is to be written, with its checksum; one of zeros stays.
    pub fn sealed(&mut self) -> &[u8] {
        let end = self.end();
        let (body, sum) = self.bytes.split_at_mut(end);
        if sum.iter().any(|byte| *byte != 0) {
            sum.copy_from_slice(&checksum(body, self.hash_len));
        }
        &self.bytes
    }

    /// Writes it beside the place and swaps it in. Nothing is synced: what it belongs to is made anew after
    /// a crash of the machine.
    ///
    /// # Errors
    /// What the system says; nothing is beside the place then.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        write_unsynced(path, self.sealed())
    }

    /// Where the checksum begins.
    fn end(&self) -> usize {
        self.bytes.len() - self.hash_len
    }

    /// Fills `slots` and `paths`, and says where the entries end.
    fn parse_entries(&mut self) -> Result<usize, &'static str> {
        const CUT: &str = "the index is cut off";
        let bytes = &self.bytes;
        let version = match bytes.get(..8) {
            Some([b'D', b'I', b'R', b'C', 0, 0, 0, version @ 2..=4]) => *version,
            Some(_) => return Err("it is no index of a known version"),
            None => return Err(CUT),
        };
        let end = bytes.len().checked_sub(self.hash_len).filter(|end| *end >= 12).ok_or(CUT)?;
        let count = number(bytes, 8) as usize;
        let fixed = SLOT_BYTES + self.hash_len + 2;
        if count > (end - 12) / (fixed + 1) {
            return Err(CUT);
        }
        self.slots.reserve_exact(count);
        let mut at = 12;
        for _entry in 0..count {
            let flags = u16::from_be_bytes([
                *bytes.get(at + fixed - 2).ok_or(CUT)?,
                *bytes.get(at + fixed - 1).ok_or(CUT)?,
            ]);
            let mut name_at = at + fixed;
            let mut extended = 0;
            if flags & EXTENDED != 0 {
                if version == 2 {
                    return Err("an entry has flags that its version does not know");
                }
                let more = bytes.get(name_at..name_at + 2).ok_or(CUT)?;
                extended = u16::from_be_bytes([more[0], more[1]]);
                name_at += 2;
            }
            let shared = match version {
                4 => {
                    let (strip, after) = varint(bytes, name_at).ok_or(CUT)?;
                    name_at = after;
                    let before = self.slots.last().map_or(0..0, |slot| slot.path.clone());
                    let keep = before.len().checked_sub(strip).ok_or("a path takes away too much")?;
                    before.start..before.start + keep
                }
                _full => 0..0,
            };
            let rest = bytes.get(name_at..end).ok_or(CUT)?;
            let len = memchr::memchr(0, rest).ok_or(CUT)?;
            let from = self.paths.len();
            let path_len = shared.len() + len;
            if path_len == 0 || path_len > MAX_PATH_BYTES || from + path_len > MAX_ALL_PATHS_BYTES {
                return Err("a path is empty, as in a split index, or too long");
            }
            if usize::from(flags & NAME_LEN) != path_len.min(usize::from(NAME_LEN)) {
                return Err("a path has another length than its entry says");
            }
            self.paths.extend_from_within(shared);
            self.paths.extend_from_slice(&rest[..len]);
            let slot = Slot { at, path: from..from + path_len, flags, extended };
            self.slots.push(slot);
            self.check_order()?;
            at = match version {
                4 => name_at + len + 1,
                _padded => at + (name_at + len - at + 8) / 8 * 8,
            };
        }
        if at > end { Err(CUT) } else { Ok(at) }
    }

    /// The last entry comes after the one before it: the order that everybody relies on who searches.
    fn check_order(&self) -> Result<(), &'static str> {
        let [.., before, last] = self.slots.as_slice() else { return Ok(()) };
        let key = |slot: &Slot| (slot.path.clone(), slot.flags & STAGE);
        let ((one, stage), (two, later)) = (key(before), key(last));
        match self.paths[one].cmp(&self.paths[two]).then(stage.cmp(&later)) {
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Err("the entries are not in order"),
        }
    }

    fn check_extensions(&self) -> Result<(), &'static str> {
        let parts = self.extensions();
        if parts.last().map_or(self.extensions_at, |part| part.end) != self.end() {
            return Err("an extension is cut off");
        }
        for part in parts {
            match &self.bytes[part.start..part.start + 4] {
                b"link" => return Err("it is a split index"),
                // Entries of sparse folders, told by their mode.
                b"sdir" => {}
                [b'A'..=b'Z', ..] => {}
                _must_be_known => return Err("it has an extension that is not known"),
            }
        }
        Ok(())
    }

    /// Where each extension is, name and length included, as far as they are whole.
    fn extensions(&self) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut at = self.extensions_at;
        while at + 8 <= self.end() {
            let next = at + 8 + number(&self.bytes, at + 4) as usize;
            if next > self.end() {
                break;
            }
            parts.push(at..next);
            at = next;
        }
        parts
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(body: &[u8], hash_len: usize) -> Vec<u8> {
    match hash_len {
        20 => Sha1::digest(body).to_vec(),
        _longer => Sha256::digest(body).to_vec(),
    }
}

/// A number of version 4, and where it ends.
fn varint(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut byte = *bytes.get(at)?;
    let mut value = usize::from(byte & 127);
    while byte & 128 != 0 {
        at += 1;
        byte = *bytes.get(at)?;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 127))?;
    }
    Some((value, at + 1))
}

#[cfg(test)]
mod tests {
    use super::varint;

    #[test]
    fn a_varint_may_have_two_bytes() {
        assert_eq!(varint(&[5], 0), Some((5, 1)));
        assert_eq!(varint(&[0x80, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xFF; 12], 0), None);
    }
}
