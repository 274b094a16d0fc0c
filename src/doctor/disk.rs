//! File systems: what kind they are, what that means for lanes, and whether there is room.

use std::path::PathBuf;

use super::check::Check;
use crate::config::size_text;
use crate::worktree::Floors;

/// What lies on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The home: locks, sockets, the store, recorded output.
    Home,
    /// The repository.
    Repository,
    /// The folder of the trees.
    Trees,
}

impl Place {
    const fn id(self) -> &'static str {
        match self {
            Self::Home => "home.disk",
            Self::Repository => "repository.disk",
            Self::Trees => "trees.disk",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Home => "the home",
            Self::Repository => "the repository",
            Self::Trees => "the folder of the trees",
        }
    }
}

/// A kind of file system, by the number that the kernel gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext2, ext3, ext4.
    Ext,
    /// xfs.
    Xfs,
    /// btrfs.
    Btrfs,
    /// bcachefs.
    Bcachefs,
    /// zfs.
    Zfs,
    /// f2fs.
    F2fs,
    /// overlayfs, as containers have it.
    Overlay,
    /// In memory.
    Tmpfs,
    /// Over the network.
    Nfs,
    /// Over the network, as Windows does it.
    Smb,
    /// Some program of a user.
    Fuse,
    /// A folder of the host of a virtual machine.
    Host9p,
    /// FAT.
    Fat,
    /// ecryptfs.
    Ecryptfs,
    /// Another one.
    Other(u64),
}

impl FileSystem {
    /// From `f_type` of `statfs`.
    pub const fn from_magic(magic: u64) -> Self {
        match magic & 0xffff_ffff {
            0xef53 => Self::Ext,
            0x5846_5342 => Self::Xfs,
            0x9123_683e => Self::Btrfs,
            0xca45_1a4e => Self::Bcachefs,
            0x2fc1_2fc1 => Self::Zfs,
            0xf2f5_2010 => Self::F2fs,
            0x794c_7630 => Self::Overlay,
            0x0102_1994 | 0x8584_58f6 => Self::Tmpfs,
            0x6969 => Self::Nfs,
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => Self::Smb,
            0x6573_5546 => Self::Fuse,
            0x0102_1997 => Self::Host9p,
            0x4d44 | 0x2011_bab0 => Self::Fat,
            0xf15f => Self::Ecryptfs,
            other => Self::Other(other),
        }
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Ext => "ext4".into(),
            Self::Xfs => "xfs".into(),
            Self::Btrfs => "btrfs".into(),
            Self::Bcachefs => "bcachefs".into(),
            Self::Zfs => "zfs".into(),
            Self::F2fs => "f2fs".into(),
            Self::Overlay => "overlayfs".into(),
            Self::Tmpfs => "tmpfs".into(),
            Self::Nfs => "nfs".into(),
            Self::Smb => "smb".into(),
            Self::Fuse => "fuse".into(),
            Self::Host9p => "9p".into(),
            Self::Fat => "fat".into(),
            Self::Ecryptfs => "ecryptfs".into(),
            Self::Other(magic) => format!("a file system of type {magic:#x}"),
        }
    }

    /// What is good about it, when something is.
    const fn gift(self) -> Option<&'static str> {
        match self {
            Self::Btrfs | Self::Xfs | Self::Bcachefs => Some("copies of files can share their blocks"),
            Self::Ext
            | Self::Zfs
            | Self::F2fs
            | Self::Overlay
            | Self::Tmpfs
            | Self::Nfs
            | Self::Smb
            | Self::Fuse
            | Self::Host9p
            | Self::Fat
            | Self::Ecryptfs
            | Self::Other(_) => None,
        }
    }

    /// What harms lanes in that place, when something does: a failure, or a warning.
    const fn harm(self, place: Place) -> Option<(bool, &'static str, &'static str)> {
        match (self, place) {
            (Self::Fat, _) => Some((
                true,
                "it has no modes, links and sockets, so neither lanes nor git's trees work there",
                "use a folder on a file system of Linux",
            )),
            (Self::Nfs | Self::Smb | Self::Host9p, Place::Home) => Some((
                false,
                "locks and the log of the store are not safe there when another machine uses it too",
                "choose a home on a local disk with LANES_HOME",
            )),
            (Self::Fuse, Place::Home) => Some((
                false,
                "some file systems of this kind have no locks or no sockets, and hang when their program does",
                "choose a home on a local disk with LANES_HOME",
            )),
            (Self::Tmpfs, _) => {
                Some((false, "what is there is gone after a reboot", "use a folder on a disk"))
            }
            (Self::Nfs | Self::Smb | Self::Host9p | Self::Fuse, Place::Repository | Place::Trees) => {
                Some((false, "making a tree is slow there", "keep repositories on a local disk"))
            }
            (
                Self::Ext
                | Self::Xfs
                | Self::Btrfs
                | Self::Bcachefs
                | Self::Zfs
                | Self::F2fs
                | Self::Overlay
                | Self::Ecryptfs
                | Self::Other(_),
                _,
            ) => None,
        }
    }
}

/// A file system as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What was asked about.
    pub path: PathBuf,
    /// Its kind.
    pub kind: FileSystem,
    /// Bytes that we may still use.
    pub free_bytes: u64,
    /// Inodes that we may still use; none where there is no fixed number.
    pub free_inodes: Option<u64>,
    /// True when nothing can be written.
    pub read_only: bool,
}

/// Says how a file system does as the place of something.
pub fn judge_disk(place: Place, disk: &Disk, floors: Floors) -> Vec<Check> {
    let id = place.id();
    let (name, path) = (place.name(), disk.path.display());
    let mut checks = Vec::new();
    if disk.read_only {
        checks.push(
            Check::fail(id, format!("{name} ({path}) cannot be written to: its file system is read-only"))
                .hint("mount it for writing, or use another folder"),
        );
    }
    if disk.free_bytes < floors.bytes {
        let (free, floor) = (size_text(disk.free_bytes), size_text(floors.bytes));
        checks.push(
            Check::fail(id, format!("{name} has {free} free, less than {floor}: no new lane is made"))
                .hint("free space, for example with `lanes trash empty`, or lower `disk.min_free`"),
        );
    }
    if let Some(inodes) = disk.free_inodes.filter(|inodes| *inodes < floors.inodes) {
        let floor = floors.inodes;
        checks.push(
            Check::fail(
                id,
                format!("{name} has {inodes} inodes free, fewer than {floor}: no new lane is made"),
            )
            .hint("remove files, for example with `lanes trash empty`, or lower `disk.min_inodes`"),
        );
    }
    let kind = disk.kind.name();
    if let Some((fails, harm, hint)) = disk.kind.harm(place) {
        let message = format!("{name} ({path}) is on {kind}: {harm}");
        let check = if fails { Check::fail(id, message) } else { Check::warn(id, message) };
        checks.push(check.hint(hint));
    }
    if checks.is_empty() {
        let gift = disk.kind.gift().map(|gift| format!("; {gift}")).unwrap_or_default();
        let free = size_text(disk.free_bytes);
        checks.push(Check::ok(id, format!("{name} is on {kind} with {free} free{gift}")));
    }
    checks
}
