//! What an entry of git's index remembers of its file: nine numbers of lstat.

use super::archive::Stamp;

/// The length of the numbers in the file, the mode included.
pub(super) const SLOT_BYTES: usize = 40;
/// Where the nine are. The mode stands between the inode and the owner.
const PLACES: [usize; 9] = [0, 4, 8, 12, 16, 20, 28, 32, 36];

/// What lstat said, as far as the index has it: the lower 32 bits of each number. All zero for an entry
/// that git is to look at again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStat {
    /// Last change of the inode: seconds, nanoseconds.
    pub ctime: (u32, u32),
    /// Last modification: seconds, nanoseconds.
    pub mtime: (u32, u32),
    /// Device.
    pub dev: u32,
    /// Inode.
    pub ino: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u32,
}

impl IndexStat {
    /// What the index would remember of a file.
    pub fn of(stamp: &Stamp) -> Self {
        Self {
            ctime: (stamp.ctime as u32, stamp.ctime_ns),
            mtime: (stamp.mtime as u32, stamp.mtime_ns),
            dev: stamp.dev as u32,
            ino: stamp.ino as u32,
            uid: stamp.uid,
            gid: stamp.gid,
            size: stamp.size as u32,
        }
    }

    /// True when a file of which lstat says `now` is the one that is remembered, as git judges: the device
    /// may be another one (it changes with a mount), and a git that keeps no nanoseconds remembers none.
    pub fn agrees(&self, now: &Self) -> bool {
        let whole = self.ctime.1 == 0 && self.mtime.1 == 0;
        let same = |one: (u32, u32), two: (u32, u32)| one.0 == two.0 && (whole || one.1 == two.1);
        same(self.mtime, now.mtime)
            && same(self.ctime, now.ctime)
            && (self.ino, self.size, self.uid, self.gid) == (now.ino, now.size, now.uid, now.gid)
    }

    /// True when git is to look at the file again whatever lstat says.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn from_slot(slot: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
        let [cs, cn, ms, mn, dev, ino, uid, gid, size] = PLACES.map(number);
        Self { ctime: (cs, cn), mtime: (ms, mn), dev, ino, uid, gid, size }
    }

    pub(super) fn put(&self, slot: &mut [u8]) {
        let Self { ctime, mtime, dev, ino, uid, gid, size } = *self;
        let numbers = [ctime.0, ctime.1, mtime.0, mtime.1, dev, ino, uid, gid, size];
        for (at, value) in PLACES.iter().zip(numbers) {
            slot[*at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
    }
}
