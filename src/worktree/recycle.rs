//! Makes a retired tree a pooled one instead of removing it: to correct what differs is cheaper than to delete
//! everything and write it again.
//!
//! Whoever worked in it could have left anything. So its index is thrown away and every content hashed, by
//! the attributes of the commit and not by those that lie there; what git does not look at (permissions,
//! attributes, owners, other names of a file) is compared here.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::entry::{self, NewEntry};
use super::error::WorktreeError;
use super::extras::EXTRAS_FILE;
use super::git::{Git, Mode, Place};
use super::in_use::mounts_below;
use super::lock::WorkspaceLock;
use super::model::Repository;
use super::pace::Pace;
use super::pool::check_files;
use super::provision::{LOCK_PATIENCE, MARK};
use super::retarget::{blocking, refresh, restart_log};
use super::spare::{self, Kept, Want};
use super::spare_remove::{discard, stage_of};
use super::template::{PLAIN_INDEX, check_template};
use super::verify::{listing, verify};
use crate::fault;

/// Names of attributes of a file may take so much; one with more is not recycled.
const MAX_NAMES_BYTES: usize = 4_096;
/// Set by the system itself where it is in use.
const OF_SYSTEM: &[u8] = b"security.selinux";

/// Takes a tree out of the trash, whose content is saved, and makes it a pooled one like the template. `warm`:
/// what git ignores stays in it. None when it cannot be made sure that it is as a checkout would be: then it
/// is where it was, or, from the moment on that git works in it, removed.
///
/// What a crash or a dropped future leaves, [`sweep_spares`](super::sweep_spares) removes.
///
/// # Errors
/// `SpareUnusable` when the template is not as it was made, `Lock`; the tree is where it was then.
pub async fn recycle(
    git: &Git,
    repo: &Repository,
    spot_tree: &Path,
    template: &Kept,
    want: &Want,
    warm: bool,
) -> Result<Option<Kept>, WorktreeError> {
    let (repo_, template_, base) = (repo.clone(), template.clone(), want.base.clone());
    blocking(move || check_template(&repo_, &template_, &base)).await?;
    let (from, like, admin) = (spot_tree.to_path_buf(), template.tree().to_path_buf(), template.admin(repo));
    let Some(repairs) = blocking(move || Ok(look(&from, &like, &admin))).await? else { return Ok(None) };
    let name = spare::spare_name(want.home.as_path());
    let recycling = Recycling { git, repo, template, want, name: &name, warm };
    let holder = "a tree that is recycled";
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, holder).await?;
    let made = match recycling.take(spot_tree, repairs, held).await {
        Ok(tree) => recycling.make(tree).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => {
            tracing::debug!(%error, "a tree was not recycled");
            discard(repo, want.root.as_path(), &name).await;
            Ok(None)
        }
    }
}

/// What has to be done to files before git looks at them.
#[derive(Debug, Default)]
struct Repairs {
    /// Attributes as somebody left them: they say how git reads the other files.
    attributes: Vec<PathBuf>,
    modes: Vec<(PathBuf, u32)>,
}

struct Recycling<'a> {
    git: &'a Git,
    repo: &'a Repository,
    template: &'a Kept,
    want: &'a Want,
    name: &'a str,
    warm: bool,
}

impl Recycling<'_> {
    /// Makes the entry and moves the tree to its place.
    async fn take(
        &self,
        from: &Path,
        repairs: Repairs,
        held: WorkspaceLock,
    ) -> Result<PathBuf, WorktreeError> {
        let (repo, template, want) = (self.repo.clone(), self.template.clone(), self.want.clone());
        let (name, from) = (self.name.to_owned(), from.to_path_buf());
        blocking(move || {
            for (path, mode) in &repairs.modes {
                fs::set_permissions(path, Permissions::from_mode(*mode))
                    .map_err(|error| WorktreeError::file("set the permissions of", path, error))?;
            }
            for path in &repairs.attributes {
                fs::remove_file(path).map_err(|error| WorktreeError::file("remove", path, error))?;
            }
            let tree = spare::place_of(&repo, want.root.as_path(), want.kind, &name)?;
            let (like, stage) = (template.admin(&repo), stage_of(&repo, &name));
            let new = NewEntry {
                like: &like,
                tree: &tree,
                branch: None,
                base: &want.base,
                lock_reason: &want.lock_reason,
            };
            new.stage(&stage)?;
            spare::write_spare(&stage, &spare::unfinished(&want, &tree))?;
            let admin = entry::publish(&repo, &stage, &name)?;
            drop(held);
            fault::at("recycle.entered")?;
            renameat_with(CWD, &from, CWD, &tree, RenameFlags::NOREPLACE)
                .map_err(|error| WorktreeError::file("move", &from, error))?;
            fault::at("recycle.taken")?;
            entry::point_tree(&tree, &admin, template.tree())?;
            Ok(tree)
        })
        .await
    }

    /// Brings everything to the commit.
    async fn make(&self, tree: PathBuf) -> Result<Kept, WorktreeError> {
        let (repo, base) = (self.repo, self.want.base.as_str());
        let admin = repo.common_dir.join("worktrees").join(self.name);
        // An index that remembers no file: each content is read.
        self.run(&Place::git_dir(&admin), &["read-tree", base]).await?;
        let place = Place::tree(&admin, &tree);
        self.run(&place, &["update-index", "-q", "--refresh"]).await?;
        self.run(&place, &["reset", "--quiet", "--hard", "--no-recurse-submodules", base, "--"]).await?;
        let clean = if self.warm { "-fdq" } else { "-fdxq" };
        self.run(&place, &["clean", clean]).await?;
        fault::at("recycle.cleaned")?;
        refresh(self.git, &admin, &tree, self.name).await?;
        fault::at("recycle.aged")?;
        let (name, oid_len, warm) = (self.name.to_owned(), repo.oid_len, self.warm);
        let spare = spare::unfinished(self.want, &tree);
        let like = self.template.admin(repo).join("index");
        blocking(move || {
            let (index, pace) = (admin.join("index"), Pace::full());
            entry::like_index(&index, &like)?;
            let extras = match warm {
                true => Some(listing(&tree, &index, oid_len, &pace)?),
                false => None,
            };
            check_files(verify(&tree, &index, oid_len, extras.as_ref(), &pace)?, &tree)?;
            if let Some(extras) = extras {
                let path = admin.join(EXTRAS_FILE);
                extras.write(&path).map_err(|error| WorktreeError::file("write", path, error))?;
            }
            restart_log(&admin, &spare.base)?;
            spare::finish(&admin, &name, spare)
        })
        .await
    }

    async fn run(&self, place: &Place, args: &[&str]) -> Result<(), WorktreeError> {
        let command = self.git.command(Mode::Checkout, place, args.to_vec()).env(MARK, self.name);
        let command = PLAIN_INDEX.iter().fold(command, |command, (key, value)| command.config(*key, *value));
        let label = command.label.clone();
        self.git.run(command, self.git.checkout_timeout()).await?.success(&label).map(|_said| ())
    }
}

/// What has to be put right in a tree; none when it holds something that a checkout never has. Blocks.
fn look(tree: &Path, like: &Path, like_admin: &Path) -> Option<Repairs> {
    // With these, which files a tree has is not the same in every tree.
    if ["info/sparse-checkout", "config.worktree"].iter().any(|name| like_admin.join(name).exists()) {
        return None;
    }
    let top = fs::symlink_metadata(tree).ok().filter(Metadata::is_dir)?;
    if !mounts_below(tree).is_empty() {
        return None;
    }
    let mut repairs = Repairs::default();
    let mut folders = vec![PathBuf::new()];
    check_one(&tree.join(""), &top, &top)?;
    repair_mode(&mut repairs, tree, like, &top);
    while let Some(folder) = folders.pop() {
        let is_in_both = like.join(&folder).is_dir();
        for entry in fs::read_dir(tree.join(&folder)).ok()? {
            let entry = entry.ok()?;
            let (name, path) = (entry.file_name(), entry.path());
            let meta = fs::symlink_metadata(&path).ok()?;
            if name.eq_ignore_ascii_case(".git") {
                if !folder.as_os_str().is_empty() || !meta.is_file() || name != ".git" {
                    return None;
                }
                continue;
            }
            check_one(&path, &meta, &top)?;
            let inner = folder.join(&name);
            if is_in_both && name.eq_ignore_ascii_case(".gitattributes") && !meta.is_dir() {
                repairs.attributes.push(path);
                continue;
            }
            repair_mode(&mut repairs, &path, &like.join(&inner), &meta);
            if meta.is_dir() {
                folders.push(inner);
            }
        }
    }
    Some(repairs)
}

/// None for what is not to be touched, or not ours alone.
fn check_one(path: &Path, meta: &Metadata, top: &Metadata) -> Option<()> {
    let kind = meta.file_type();
    let fits = meta.dev() == top.dev()
        && meta.uid() == rustix::process::geteuid().as_raw()
        && (kind.is_dir() || kind.is_symlink() || (kind.is_file() && meta.nlink() == 1));
    (fits && has_no_attributes(path).unwrap_or(false)).then_some(())
}

fn has_no_attributes(path: &Path) -> io::Result<bool> {
    let mut names = [0_u8; MAX_NAMES_BYTES];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(true),
        found => found?,
    };
    let mut names = names[..len].split(|byte| *byte == 0);
    Ok(names.all(|name| name.is_empty() || name == OF_SYSTEM))
}

/// The permissions that the same name has in the template.
fn repair_mode(repairs: &mut Repairs, path: &Path, like: &Path, meta: &Metadata) {
    let Ok(wanted) = fs::symlink_metadata(like) else { return };
    let same_kind = wanted.is_dir() == meta.is_dir() && wanted.is_file() == meta.is_file();
    if same_kind && !meta.is_symlink() && (wanted.mode() ^ meta.mode()) & 0o7777 != 0 {
        repairs.modes.push((path.to_path_buf(), wanted.mode() & 0o7777));
    }
}
