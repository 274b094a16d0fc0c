//! Mounts overlays, unmounts them, and renames what they are mounted on.
//!
//! Renaming a mount point is refused in the namespace that the mount is in. A thread with a copy of the
//! namespace takes the mount off there and renames the folder: the mount here stays on it, with everybody who
//! is in it and every file that is open, under the new name.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// What `statfs` says of an overlay.
const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// Mounts on one another that are taken off before a folder is renamed; nobody has so many.
const MAX_STACKED: u32 = 16;
/// What the layers of one overlay are told to the kernel as, beside the folders.
const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "on"), ("index", "off"), ("metacopy", "off"), ("xino", "off")];

/// The folders of an overlay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folders<'a> {
    /// What is read; never changed.
    pub lower: &'a Path,
    /// What is written.
    pub upper: &'a Path,
    /// The kernel's own, on the same file system as `upper`.
    pub work: &'a Path,
}

/// Mounts an overlay, with what the mount below it says of devices, programs and times. `name` is what people
/// see it called.
///
/// # Errors
/// What the kernel says.
pub(super) fn mount(folders: Folders<'_>, at: &Path, name: &str) -> Result<(), Errno> {
    let place = open(at)?;
    let below = rustix::fs::fstatvfs(&place)?.f_flag;
    let [lower, upper, work] = [open(folders.lower)?, open(folders.upper)?, open(folders.work)?];
    match new_mount(&[&lower, &upper, &work], name, below) {
        Ok(made) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            rustix::mount::move_mount(&made, "", &place, "", flags)
        }
        // Before Linux 6.13 an overlay takes no descriptors, before 5.2 nothing does.
        Err(Errno::INVAL | Errno::NOSYS) => old_mount(&[&lower, &upper, &work], &place, name, below),
        Err(error) => Err(error),
    }
}

/// By descriptors a name may have any bytes and any length, and the table of mounts shows it.
fn new_mount(layers: &[&OwnedFd; 3], name: &str, below: StatVfsMountFlags) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&fs, "source", name)?;
    for (key, layer) in ["lowerdir+", "upperdir", "workdir"].into_iter().zip(layers) {
        rustix::mount::fsconfig_set_fd(&fs, key, layer)?;
    }
    for (key, value) in OPTIONS {
        rustix::mount::fsconfig_set_string(&fs, key, value)?;
    }
    rustix::mount::fsconfig_create(&fs)?;
    let flags = [
        (StatVfsMountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (StatVfsMountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (StatVfsMountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (StatVfsMountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ];
    let set = flags.into_iter().filter(|(has, _set)| below.contains(*has)).map(|(_has, set)| set);
    rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, set.collect())
}

/// Through links to our descriptors a name may have any bytes, too.
fn old_mount(
    layers: &[&OwnedFd; 3],
    place: &OwnedFd,
    name: &str,
    below: StatVfsMountFlags,
) -> Result<(), Errno> {
    let link = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let [lower, upper, work] = layers.map(link);
    let mut data = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    for (key, value) in OPTIONS {
        data.push_str(&format!(",{key}={value}"));
    }
    let flags = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ];
    let set = flags.into_iter().filter(|(has, _set)| below.contains(*has)).map(|(_has, set)| set);
    let data = std::ffi::CString::new(data).map_err(|_nul| Errno::INVAL)?;
    rustix::mount::mount(name, link(place), "overlay", set.collect(), Some(data.as_c_str()))
}

fn open(folder: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty())
}

/// Unmounts what is mounted on a folder.
///
/// # Errors
/// `BUSY` while somebody is in it, `INVAL` when nothing is mounted there.
pub(super) fn unmount(at: &Path) -> Result<(), Errno> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW)
}

/// Takes a mount off its folder; it ends when nobody is in it any more.
///
/// # Errors
/// `INVAL` when nothing is mounted there.
pub(super) fn detach(at: &Path) -> Result<(), Errno> {
    rustix::mount::unmount(at, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
}

/// True when a folder shows an overlay.
pub(super) fn is_overlay(folder: impl AsFd) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the width of this field differs between targets")]
    rustix::fs::fstatfs(folder).is_ok_and(|about| about.f_type as u64 == OVERLAY_MAGIC)
}

/// Renames a folder that something is mounted on; nothing may be at the new name.
///
/// # Errors
/// What the kernel says; nothing has changed then.
pub(super) fn rename_mounted(
    path: &Path,
    (above, name): (BorrowedFd<'_>, &OsStr),
    (into, new_name): (BorrowedFd<'_>, &OsStr),
) -> Result<(), Errno> {
    let rename = || {
        off_in_a_copy(path)?;
        rustix::fs::renameat_with(above, name, into, new_name, RenameFlags::NOREPLACE)
    };
    // What a thread has done to its namespace is its own as long as it lives.
    std::thread::scope(|scope| {
        let spawned = std::thread::Builder::new().name("lanes-rename".to_owned());
        let thread = spawned.spawn_scoped(scope, || in_a_copy(rename)).map_err(|error| errno_of(&error))?;
        thread.join().unwrap_or(Err(Errno::IO))
    })
}

/// Does something in a copy of the mounts that nobody else sees.
fn in_a_copy(act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let own = File::open("/proc/thread-self/ns/mnt").map_err(|error| errno_of(&error))?;
    // SAFETY: no table of descriptors is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let done = rustix::mount::mount_change("/", private).and_then(|()| act());
    // The copy is gone when this returns, not some time after the thread.
    rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    done
}

fn off_in_a_copy(path: &Path) -> Result<(), Errno> {
    for _mounted in 0..MAX_STACKED {
        match detach(path) {
            Ok(()) => {}
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY)
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
