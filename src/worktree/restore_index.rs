//! Tells a restored index that files which are byte for byte what they were need no second look.
//!
//! Git compares what lstat says with what the index remembers, and runs filters on every file that differs.
//! A file whose raw bytes a filter would alter (mixed line endings under `text=auto`) would then look
//! modified although nobody touched it. So an entry that matched before is made to match again; one that
//! did not match, or was too young for git to trust, is left as it is.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::AtFlags;
use sha2::{Digest, Sha256};

use super::archive::{Item, Stamp};
use super::archive_walk::{open_parent, stamp_of};
use super::trash::{read_small, write_synced};

/// The largest index that is looked at.
const MAX_INDEX_BYTES: u64 = 1 << 30;

/// Where the ten numbers of an entry are, and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub at: usize,
    pub path: Vec<u8>,
}

/// Patches the index file in place. An index of an unknown kind is left alone.
pub(super) fn restamp(index: &Path, oid_len: usize, items: &[Item], top: &OwnedFd) -> io::Result<()> {
    let mut bytes = match read_small(index, MAX_INDEX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let written = std::fs::metadata(index)?.modified()?;
    let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written_at = (since.as_secs() as u32, since.subsec_nanos());
    let Some(slots) = parse(&bytes, oid_len / 2) else { return Ok(()) };
    let known: HashMap<&[u8], &Stamp> =
        items.iter().map(|item| (item.path.as_bytes(), &item.stamp)).collect();
    let mut changed = false;
    for slot in slots {
        let Some(before) = known.get(slot.path.as_slice()) else { continue };
        let old = stat_bytes(before);
        let mtime = (before.mtime as u32, before.mtime_ns);
        if !same_stat(&bytes[slot.at..slot.at + 40], &old) || mtime >= written_at {
            continue;
        }
        let (dir, name) = open_parent(top, &slot.path)?;
        let now = stamp_of(&rustix::fs::statat(&dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?);
        put_stat(&mut bytes[slot.at..slot.at + 40], &stat_bytes(&now));
        changed = true;
    }
    if !changed {
        return Ok(());
    }
    seal(&mut bytes, oid_len / 2);
    write_synced(index, &bytes)?;
    // Which entries are too young to trust depends on when the index was written.
    std::fs::File::options().write(true).open(index)?.set_modified(written)
}

/// The slots of an index of version 2, 3 or 4.
pub(super) fn parse(bytes: &[u8], hash_len: usize) -> Option<Vec<Slot>> {
    let version = match bytes.get(..8)? {
        [b'D', b'I', b'R', b'C', 0, 0, 0, version @ 2..=4] => *version,
        _other => return None,
    };
    let count = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?) as usize;
    let end = bytes.len().checked_sub(hash_len)?;
    let mut slots = Vec::new();
    let mut at = 12;
    let mut previous: Vec<u8> = Vec::new();
    for _entry in 0..count {
        let flags_at = at + 40 + hash_len;
        let flags = u16::from_be_bytes(bytes.get(flags_at..flags_at + 2)?.try_into().ok()?);
        let extended = version >= 3 && flags & 0x4000 != 0;
        let mut name_at = flags_at + if extended { 4 } else { 2 };
        let mut path = Vec::new();
        if version == 4 {
            let (strip, after) = varint(bytes, name_at)?;
            path.extend_from_slice(previous.get(..previous.len().checked_sub(strip)?)?);
            name_at = after;
        }
        let len = bytes.get(name_at..end)?.iter().position(|byte| *byte == 0)?;
        path.extend_from_slice(&bytes[name_at..name_at + len]);
        previous.clone_from(&path);
        slots.push(Slot { at, path });
        let next = name_at + len;
        at = if version == 4 { next + 1 } else { at + (next - at + 8) / 8 * 8 };
    }
    (at <= end).then_some(slots)
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut byte = *bytes.get(at)?;
    let mut value = usize::from(byte & 127);
    while byte & 128 != 0 {
        at += 1;
        byte = *bytes.get(at)?;
        value = value.checked_add(1)?.checked_mul(128)? + usize::from(byte & 127);
    }
    Some((value, at + 1))
}

/// ctime, mtime (seconds and nanoseconds), device, inode, (mode), uid, gid, size as the index has them.
fn stat_bytes(stamp: &Stamp) -> [u32; 9] {
    [
        stamp.ctime as u32,
        stamp.ctime_ns,
        stamp.mtime as u32,
        stamp.mtime_ns,
        stamp.dev as u32,
        stamp.ino as u32,
        stamp.uid,
        stamp.gid,
        stamp.size as u32,
    ]
}

/// The mode stands between the inode and the owner and is not touched.
const PLACES: [usize; 9] = [0, 4, 8, 12, 16, 20, 28, 32, 36];

fn same_stat(slot: &[u8], stat: &[u32; 9]) -> bool {
    PLACES.iter().zip(stat).all(|(at, value)| slot[*at..at + 4] == value.to_be_bytes())
}

fn put_stat(slot: &mut [u8], stat: &[u32; 9]) {
    for (at, value) in PLACES.iter().zip(stat) {
        slot[*at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes the checksum at the end; one of zeros (`index.skipHash`) stays.
fn seal(bytes: &mut [u8], hash_len: usize) {
    let (body, sum) = bytes.split_at_mut(bytes.len() - hash_len);
    if sum.iter().all(|byte| *byte == 0) {
        return;
    }
    match hash_len {
        20 => sum.copy_from_slice(&sha1(body)),
        _longer => sum.copy_from_slice(&Sha256::digest(body)),
    }
}

/// SHA-1 of FIPS 180-4: what git puts at the end of an index. Nothing here relies on it being hard to break.
pub(super) fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0u32; 80];
        for (word, four) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (f, k) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _last => (b ^ c ^ d, 0xCA62_C1D6),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut out = [0; 20];
    for (four, word) in out.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{sha1, varint};
    use crate::worktree::archive::hex;

    #[test]
    fn sha1_of_the_standard_examples() {
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn a_varint_may_have_two_bytes() {
        assert_eq!(varint(&[5], 0), Some((5, 1)));
        assert_eq!(varint(&[0x80, 0x00], 0), Some((128, 2)));
    }
}
