//! Archives what git cannot give back of a retired tree, then frees the rest.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{Mode as FileMode, OFlags};
use tokio_util::sync::CancellationToken;

use super::archive::{self, Content, HASH_LIMIT, Item, Manifest, Tracked};
use super::archive_walk::{Halt, list_tree, open_parent, open_top, stamp_of};
use super::error::{WorktreeError, is_disk_full, quoted};
use super::git::{Git, Mode, Place};
use super::in_use;
use super::model::{Repository, Saved, TrashEntry};
use super::overlay::{self, Overlay};
use super::pace::{Pace, Stint};
use super::pins::{answer, plain};
use super::pins_copy;
use super::pins_vault;
use super::remove::remove_tree;
use super::trash::{self, Spot, is_there};
use super::trash_lock;
use crate::fault;
use crate::ids::LaneId;

/// Fast enough to be limited by the disk; agents' leftovers compress well at any level.
const COMPRESSION: u32 = 3;

/// Saves what a retired tree has that git has not, then frees its disk. Idempotent; dropping the future stops
/// it between two files, and nothing is freed then.
///
/// The judgement asks neither the index nor any filter: a file is left to git only when its raw bytes hash to
/// the blob of HEAD's tree at its path and its mode agrees. A tree that cannot be archived is kept whole, and
/// the entry says why.
///
/// # Errors
/// `NotOurs` without a complete entry, `Stopped` when cancelled, else what git or the disk said. The tree is
/// whole after an error, unless it was already archived and could not be removed in full.
pub async fn save(
    git: &Git,
    repo: &Repository,
    root: &Path,
    lane_id: LaneId,
    limit_bytes: u64,
    pace: &Pace,
) -> Result<TrashEntry, WorktreeError> {
    save_until(git, repo, root, lane_id, limit_bytes, pace, SaveStep::Free).await
}

/// The steps of [`save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SaveStep {
    /// The archive is on the disk, the entry does not know.
    Write,
    /// The entry knows.
    Record,
    /// The tree is gone.
    Free,
}

/// Does the steps of [`save`] up to this one: what a crash after it leaves behind.
///
/// # Errors
/// As [`save`].
#[doc(hidden)]
pub async fn save_until(
    git: &Git,
    repo: &Repository,
    root: &Path,
    lane_id: LaneId,
    limit_bytes: u64,
    pace: &Pace,
    last: SaveStep,
) -> Result<TrashEntry, WorktreeError> {
    let spot = Spot::new(root, lane_id);
    let missing = |reason: &str| WorktreeError::NotOurs { path: spot.dir.clone(), reason: reason.to_owned() };
    if !is_there(&spot.dir)? {
        return Err(missing("there is no such entry in the trash"));
    }
    let lock = Arc::new(trash_lock::lock_entry(&spot).await?);
    let mut entry = trash::load(&spot)?.ok_or_else(|| missing("there is no such entry in the trash"))?;
    if !entry.complete {
        return Err(missing("the lane is not retired yet"));
    }
    if is_there(&spot.restoring())? {
        return Err(missing("it is being brought back"));
    }
    fault::at("save.begin")?;
    if entry.saved == Saved::Pending {
        let tracked = match tracked_files(git, repo, entry.head.as_deref()).await {
            // Somebody may have collected what the lane held.
            Err(WorktreeError::RunGit { .. }) => {
                let _was_missing = pins_copy::put_back(git, repo, &spot, &entry).await?;
                tracked_files(git, repo, entry.head.as_deref()).await?
            }
            other => other?,
        };
        let overlay = overlay::of(root, lane_id)?;
        let job = Job { spot: spot.clone(), overlay, tracked, oid_len: repo.oid_len, limit: limit_bytes };
        let held = lock.clone();
        let work = move |pace: &Pace, cancel: &CancellationToken| {
            let _held = held;
            job.run(&mut pace.stint(), cancel)
        };
        let outcome = pace.run("saving a retired tree", work).await?;
        if last == SaveStep::Write {
            return Ok(entry);
        }
        fault::at("save.published")?;
        match outcome {
            Outcome::Saved(saved) => (entry.saved, entry.stays) = (saved, None),
            Outcome::Later(reason) => entry.stays = Some(reason),
        }
        match trash::store(&spot, &entry) {
            // Only the reason is not written down then, and the disk says it as well.
            Err(error) if error.is_disk_full() && entry.saved == Saved::Pending => {
                tracing::debug!(%error, "why a tree is not saved yet was not written down");
            }
            other => other?,
        }
    }
    // Whoever collected while the lane was retired has come to its end now, or will be seen the next time.
    if let Err(error) = pins_vault::mend(git, repo, root).await {
        tracing::warn!(root = %root.display(), %error, "the vault could not be looked through");
    }
    if last == SaveStep::Free && matches!(entry.saved, Saved::Archived { .. }) {
        fault::at("save.recorded")?;
        let (tree, root) = (spot.tree(), root.to_path_buf());
        let held = lock.clone();
        let work = move |pace: &Pace, _cancel: &CancellationToken| {
            let _held = held;
            overlay::free(&root, lane_id, &tree, pace)?;
            remove_tree(&tree, None, pace)
        };
        let stays = match pace.run("freeing a retired tree", work).await {
            Ok(_removed) => None,
            Err(error @ (WorktreeError::RemoveTree { .. } | WorktreeError::NotOurs { .. })) => {
                Some(error.with_hint())
            }
            Err(error) => return Err(error),
        };
        fault::at("save.freed")?;
        if stays != entry.stays {
            entry.stays = stays;
            trash::store(&spot, &entry)?;
        }
    }
    Ok(entry)
}

async fn tracked_files(
    git: &Git,
    repo: &Repository,
    head: Option<&str>,
) -> Result<HashMap<Vec<u8>, Tracked>, WorktreeError> {
    let Some(head) = head else { return Ok(HashMap::new()) };
    let args = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", head];
    match answer(git, plain(git, Mode::Look, &Place::repository(repo), &args)).await {
        Ok(listed) => Ok(archive::parse_ls_tree(&listed.stdout)),
        // Nothing is left to git then.
        Err(WorktreeError::GitOutputLimit { .. }) => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

/// How far saving came.
enum Outcome {
    /// To its end.
    Saved(Saved),
    /// It has to wait, and why.
    Later(String),
}

struct Job {
    spot: Spot,
    overlay: Option<Overlay>,
    tracked: HashMap<Vec<u8>, Tracked>,
    oid_len: usize,
    limit: u64,
}

impl Job {
    fn run(&self, stint: &mut Stint<'_>, cancel: &CancellationToken) -> Result<Outcome, WorktreeError> {
        let outcome = self.archive(stint, cancel);
        if outcome.is_err() {
            for path in [part(&self.spot.archive()), part(&self.spot.manifest())] {
                trash::remove_file_if_there(&path)
                    .map_err(|error| WorktreeError::file("remove", path, error))?;
            }
        }
        match outcome {
            Ok(saved) => Ok(Outcome::Saved(saved)),
            Err(Halt::Unfit(reason)) => Ok(Outcome::Saved(Saved::Whole { reason })),
            Err(Halt::Later(reason)) => Ok(Outcome::Later(reason)),
            Err(Halt::Io(error)) if is_disk_full(&error) => {
                Ok(Outcome::Later("there is no room for its archive: lanes trash empty".to_owned()))
            }
            Err(Halt::Io(error)) => Err(WorktreeError::file("archive", self.spot.tree(), error)),
            Err(Halt::Cancelled) => Err(WorktreeError::Stopped { attempt: "saving a retired tree" }),
        }
    }

    fn archive(&self, stint: &mut Stint<'_>, cancel: &CancellationToken) -> Result<Saved, Halt> {
        let modules = self.spot.admin().join("modules");
        if std::fs::read_dir(&modules).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Halt::Unfit("it has initialised submodules".to_owned()));
        }
        let tree = self.spot.tree();
        self.look_whole(&tree)?;
        if let Some(at) = in_use::mounts_below(&tree).first() {
            return Err(Halt::Later(in_use::mounted_at(at)));
        }
        let top = match open_top(&tree) {
            Ok(top) => Some(top),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let before = match &top {
            Some(top) => list_tree(top, stint, cancel)?,
            None => Vec::new(),
        };
        let mut items = before.clone();
        let (files, total) = self.judge(top.as_ref(), &mut items, stint, cancel)?;
        if total > self.limit {
            return Err(Halt::Unfit(format!(
                "what git does not have is {total} bytes, above the limit of {}",
                self.limit
            )));
        }
        fault::at("save.write").map_err(io::Error::from)?;
        let archive = self.write_archive(top.as_ref(), &items, stint, cancel)?;
        let top_mode = match &top {
            Some(top) => stamp_of(&rustix::fs::fstat(top)?).mode & 0o7777,
            None => 0o755,
        };
        let manifest = self.write_manifest(&Manifest { top_mode, items })?;
        // Who is in it could write after the last look.
        if let Some((pid, name)) = in_use::user_of(&tree) {
            return Err(Halt::Later(format!("process {pid} ({}) is in it", quoted(&name))));
        }
        if let Some(top) = &top
            && list_tree(top, stint, cancel)? != before
        {
            return Err(Halt::Later("something changed it while it was being saved".to_owned()));
        }
        self.look_whole(&tree)?;
        fault::at("save.written").map_err(io::Error::from)?;
        std::fs::rename(&manifest, self.spot.manifest())?;
        fault::at("save.half").map_err(io::Error::from)?;
        std::fs::rename(&archive, self.spot.archive())?;
        trash::sync_parent(&archive)?;
        let bytes = std::fs::metadata(self.spot.archive())?.len();
        Ok(Saved::Archived { files, bytes })
    }

    /// An overlay shows all of the tree only while it is mounted and its template is there.
    fn look_whole(&self, tree: &Path) -> Result<(), Halt> {
        let Some(overlay) = &self.overlay else { return Ok(()) };
        if let Some(why) = overlay.lost_template() {
            return Err(Halt::Later(why));
        }
        overlay.bring_up(tree).map(drop).map_err(|error| Halt::Later(error.with_hint()))
    }

    /// Marks the files that git can give back; returns the number of the other paths and their bytes.
    fn judge(
        &self,
        top: Option<&OwnedFd>,
        items: &mut [Item],
        stint: &mut Stint<'_>,
        cancel: &CancellationToken,
    ) -> Result<(u64, u64), Halt> {
        let (mut kept, mut bytes) = (0, 0);
        for item in items {
            if cancel.is_cancelled() {
                return Err(Halt::Cancelled);
            }
            stint.step();
            if let (Some(top), Some(entry)) = (top, self.tracked.get(item.path.as_bytes()))
                && self.git_has(top, item, entry)?
            {
                item.content = Content::Blob { oid: entry.oid.clone() };
                continue;
            }
            kept += 1;
            if item.content == Content::File {
                bytes += item.stamp.size;
            }
        }
        Ok((kept, bytes))
    }

    fn git_has(&self, top: &OwnedFd, item: &Item, entry: &Tracked) -> Result<bool, Halt> {
        let candidate = item.content == Content::File
            && item.stamp.size <= HASH_LIMIT
            && archive::mode_agrees(entry, item.stamp.mode);
        if !candidate {
            return Ok(false);
        }
        let mut content = Vec::new();
        let _bytes = open_as_listed(top, item)?.take(HASH_LIMIT + 1).read_to_end(&mut content)?;
        let same_size = content.len() as u64 == item.stamp.size;
        Ok(same_size && archive::blob_oid(&content, self.oid_len).is_some_and(|oid| oid == entry.oid))
    }

    fn write_archive(
        &self,
        top: Option<&OwnedFd>,
        items: &[Item],
        stint: &mut Stint<'_>,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Halt> {
        let path = part(&self.spot.archive());
        let file = create(&path)?;
        let mut tar = tar::Builder::new(GzEncoder::new(BufWriter::new(file), Compression::new(COMPRESSION)));
        for item in items {
            if cancel.is_cancelled() {
                return Err(Halt::Cancelled);
            }
            stint.step();
            if let (Some(top), Content::File) = (top, &item.content) {
                let mut header = header_of(item);
                let mut source = Exact { file: open_as_listed(top, item)?, left: item.stamp.size };
                tar.append_data(&mut header, item.path.as_path(), &mut source)?;
            }
            // Folders and links are in the manifest byte for byte; here they are for people with `tar`.
            if item.content == Content::Dir {
                tar.append_data(&mut header_of(item), item.path.as_path(), io::empty())?;
            }
            if let Content::Link { target } = &item.content
                && !target.as_bytes().is_empty()
            {
                let mut header = header_of(item);
                tar.append_link(&mut header, item.path.as_path(), target.as_path())?;
            }
        }
        let file = tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(path)
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<PathBuf, Halt> {
        let path = part(&self.spot.manifest());
        let mut out = BufWriter::new(GzEncoder::new(create(&path)?, Compression::new(COMPRESSION)));
        archive::write_manifest(&mut out, manifest)?;
        out.flush()?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Opens a listed file, if it is still the one that was listed.
fn open_as_listed(top: &OwnedFd, item: &Item) -> Result<File, Halt> {
    let (dir, name) = open_parent(top, item.path.as_bytes())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name.as_bytes(), flags, FileMode::empty())?;
    if stamp_of(&rustix::fs::fstat(&file)?) != item.stamp {
        return Err(Halt::Later(format!("{:?} changed while it was being saved", item.path)));
    }
    if has_attributes(&file) {
        return Err(Halt::Unfit(format!("{:?} has extended attributes", item.path)));
    }
    Ok(File::from(file))
}

/// True when somebody has given a file attributes or capabilities: neither git nor the archive holds them.
fn has_attributes(file: &OwnedFd) -> bool {
    // Nearly always nothing, or nothing but what the system itself sets.
    let length = rustix::fs::flistxattr_query(file).unwrap_or(0);
    let mut names = vec![0; length];
    let listed = if length > 0 { rustix::fs::flistxattr(file, &mut names[..]).unwrap_or(0) } else { 0 };
    names[..listed]
        .split(|byte| *byte == 0)
        .any(|name| name.starts_with(b"user.") || name == b"security.capability")
}

fn header_of(item: &Item) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    let (kind, size) = match &item.content {
        Content::Dir => (tar::EntryType::Directory, 0),
        Content::Link { target: _in_manifest } => (tar::EntryType::Symlink, 0),
        Content::File | Content::Blob { oid: _ } => (tar::EntryType::Regular, item.stamp.size),
    };
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(item.stamp.mode & 0o7777);
    header.set_mtime(u64::try_from(item.stamp.mtime).unwrap_or(0));
    header
}

/// Reads exactly as many bytes as the header promises, or fails.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read(&mut buffer[..most])?;
        if got == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

fn create(path: &Path) -> io::Result<File> {
    trash::remove_file_if_there(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
