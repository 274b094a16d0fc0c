//! Writes the files of an archived tree again: from the archive, and raw blobs from git.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use flate2::read::GzDecoder;
use rustix::fs::{AtFlags, Mode as FileMode, OFlags, Timespec, Timestamps};
use tokio_util::sync::CancellationToken;

use super::archive::{self, Content, Item, Manifest};
use super::archive_walk::{open_dir, open_parent, open_top};
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::Repository;
use super::pace::Pace;
use super::pins::{answer, plain};
use super::remove::remove_tree;
use super::trash::Spot;
use crate::fault;

/// Zeros of this length become a hole; a multiple of the blocks of the usual file systems.
const BLOCK_BYTES: usize = 64 << 10;
/// Blobs asked for in one call.
const BATCH_COUNT: usize = 2_000;
/// Bytes of blobs asked for in one call, below what one answer of git may measure.
const BATCH_BYTES: u64 = 16 << 20;

/// Writes the tree of an archived entry into its staging folder and returns what it holds.
pub(super) async fn unpack(git: &Git, repo: &Repository, spot: &Spot) -> Result<Manifest, WorktreeError> {
    let staging = spot.staging();
    let place = spot.clone();
    let work = move |_pace: &Pace, _cancel: &CancellationToken| extract(&place);
    let manifest = Pace::full().run("unpacking an archive", work).await?;
    fault::at("restore.blobs")?;
    let blobs: Vec<Item> =
        manifest.items.iter().filter(|item| matches!(item.content, Content::Blob { .. })).cloned().collect();
    let mut rest = blobs.as_slice();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(batch_len(rest));
        rest = later;
        let output = ask_blobs(git, repo, batch).await?;
        let (batch, staging) = (batch.to_vec(), staging.clone());
        let work = move |_pace: &Pace, _cancel: &CancellationToken| {
            write_blobs(&staging, &batch, &output)
                .map_err(|error| WorktreeError::file("write", &staging, error))
        };
        Pace::full().run("writing files", work).await?;
    }
    let (items, top_mode) = (manifest.clone(), manifest.top_mode);
    let work = move |_pace: &Pace, _cancel: &CancellationToken| {
        finish_folders(&staging, &items.items, top_mode)
            .map_err(|error| WorktreeError::file("write", &staging, error))
    };
    Pace::full().run("writing files", work).await?;
    Ok(manifest)
}

fn batch_len(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += item.stamp.size;
        bytes <= BATCH_BYTES
    };
    items.iter().take(BATCH_COUNT).take_while(fits).count().max(1)
}

async fn ask_blobs(git: &Git, repo: &Repository, items: &[Item]) -> Result<Vec<u8>, WorktreeError> {
    let mut input = String::new();
    for item in items {
        if let Content::Blob { oid } = &item.content {
            input.push_str(oid);
            input.push('\n');
        }
    }
    let command = plain(git, Mode::Look, &Place::repository(repo), &["cat-file", "--batch"]);
    Ok(answer(git, command.stdin(input.into_bytes())).await?.stdout)
}

fn extract(spot: &Spot) -> Result<Manifest, WorktreeError> {
    let staging = spot.staging();
    let _old = remove_tree(&staging, None, &Pace::full())?;
    let path = spot.manifest();
    let manifest = File::open(&path)
        .and_then(|file| archive::read_manifest(BufReader::new(GzDecoder::new(BufReader::new(file)))))
        .map_err(|error| WorktreeError::file("read", path, error))?;
    DirBuilder::new()
        .mode(0o700)
        .create(&staging)
        .map_err(|error| WorktreeError::file("make", &staging, error))?;
    fill(spot, &staging, &manifest.items)
        .map_err(|error| WorktreeError::file("unpack", spot.archive(), error))?;
    Ok(manifest)
}

fn fill(spot: &Spot, staging: &Path, items: &[Item]) -> io::Result<()> {
    let top = open_top(staging)?;
    let mut files: HashMap<&[u8], &Item> = HashMap::new();
    for item in items {
        match &item.content {
            Content::Dir => {
                let (dir, name) = open_parent(&top, item.path.as_bytes())?;
                rustix::fs::mkdirat(&dir, name.as_bytes(), FileMode::RWXU)?;
            }
            Content::Link { target } => {
                let (dir, name) = open_parent(&top, item.path.as_bytes())?;
                rustix::fs::symlinkat(target.as_bytes(), &dir, name.as_bytes())?;
                let times = times_of(item);
                rustix::fs::utimensat(&dir, name.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Content::File => {
                let _new = files.insert(item.path.as_bytes(), item);
            }
            Content::Blob { oid: _later } => {}
        }
    }
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(File::open(spot.archive())?)));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        let Some(item) = files.remove(name.as_slice()) else { continue };
        let mut file = create(&top, item)?;
        let copied = copy_sparse(&mut entry, &mut file)?;
        if copied != item.stamp.size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is cut off", item.path)));
        }
        finish(&file, item)?;
    }
    // The checksum is at the very end.
    let _padding = io::copy(&mut tar.into_inner(), &mut io::sink())?;
    match files.values().next() {
        None => Ok(()),
        Some(item) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is not in the archive", item.path)))
        }
    }
}

/// Copies, and leaves holes where whole blocks are zero: what was sparse takes no more room than before.
fn copy_sparse(from: &mut impl Read, to: &mut File) -> io::Result<u64> {
    let mut block = [0; BLOCK_BYTES];
    let mut written = 0;
    loop {
        let mut got = 0;
        while got < block.len() {
            match from.read(&mut block[got..])? {
                0 => break,
                n => got += n,
            }
        }
        if got == 0 {
            to.set_len(written)?;
            return Ok(written);
        }
        match block[..got].iter().all(|byte| *byte == 0) {
            true => to.seek_relative(got as i64)?,
            false => to.write_all(&block[..got])?,
        }
        written += got as u64;
    }
}

fn write_blobs(staging: &Path, items: &[Item], output: &[u8]) -> io::Result<()> {
    let top = open_top(staging)?;
    let mut rest = output;
    for item in items {
        let bytes = next_blob(&mut rest)
            .filter(|bytes| bytes.len() as u64 == item.stamp.size)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("git lost {:?}", item.path)))?;
        let mut file = create(&top, item)?;
        file.write_all(bytes)?;
        finish(&file, item)?;
    }
    Ok(())
}

/// Takes one answer off the output of `cat-file --batch`.
pub(super) fn next_blob<'o>(rest: &mut &'o [u8]) -> Option<&'o [u8]> {
    let line_end = rest.iter().position(|byte| *byte == b'\n')?;
    let mut words = rest[..line_end].split(|byte| *byte == b' ');
    let (_oid, kind, size) = (words.next()?, words.next()?, words.next()?);
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let start = line_end + 1;
    if kind != b"blob" || rest.get(start + size) != Some(&b'\n') {
        return None;
    }
    let bytes = &rest[start..start + size];
    *rest = &rest[start + size + 1..];
    Some(bytes)
}

fn create(top: &OwnedFd, item: &Item) -> io::Result<File> {
    let (dir, name) = open_parent(top, item.path.as_bytes())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(&dir, name.as_bytes(), flags, FileMode::RUSR | FileMode::WUSR)?))
}

fn finish(file: &File, item: &Item) -> io::Result<()> {
    rustix::fs::fchmod(file, FileMode::from_raw_mode(item.stamp.mode & 0o7777))?;
    rustix::fs::futimens(file, &times_of(item))?;
    Ok(())
}

/// Gives folders their modes and times, the innermost first: afterwards one may be read-only.
fn finish_folders(staging: &Path, items: &[Item], top_mode: u32) -> io::Result<()> {
    let top = open_top(staging)?;
    for item in items.iter().rev().filter(|item| item.content == Content::Dir) {
        let (dir, name) = open_parent(&top, item.path.as_bytes())?;
        let folder = open_dir(&dir, name.as_bytes())?;
        rustix::fs::fchmod(&folder, FileMode::from_raw_mode(item.stamp.mode & 0o7777))?;
        rustix::fs::futimens(&folder, &times_of(item))?;
    }
    rustix::fs::fchmod(&top, FileMode::from_raw_mode(top_mode & 0o7777))?;
    Ok(())
}

#[allow(clippy::useless_conversion, reason = "the widths of these fields differ between targets")]
fn times_of(item: &Item) -> Timestamps {
    let modified = Timespec { tv_sec: item.stamp.mtime.into(), tv_nsec: item.stamp.mtime_ns.into() };
    Timestamps { last_access: modified, last_modification: modified }
}
