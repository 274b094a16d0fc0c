//! The state folder (`LANES_HOME`): its layout, and that nobody else may write there.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure};
use crate::files;
use crate::ids::{LaneId, TaskId, WorkspaceId};

/// The folders that a state folder always has.
pub const FOLDERS: [&str; 5] = ["run", "logs", "bin", "workspaces", "agents"];

/// The state folder of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Makes the folder where it is missing (0700) and checks that it is ours alone.
    ///
    /// # Errors
    /// As [`private_folder`].
    pub fn prepare(path: &Path) -> Result<Self, HomeError> {
        private_folder(path)?;
        let home = Self { path: path.to_path_buf() };
        for sub in FOLDERS {
            private_folder(&home.path.join(sub))?;
        }
        Ok(home)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path.join("lanes.db")
    }

    /// The socket of the runtime.
    pub fn socket(&self) -> PathBuf {
        self.path.join("daemon.sock")
    }

    /// Worktrees of repositories whose own parent folder cannot take them.
    pub fn worktrees(&self) -> PathBuf {
        self.path.join("worktrees")
    }

    /// The folder of the links to SSH agents, one a lane.
    pub fn agents(&self) -> PathBuf {
        self.path.join("agents")
    }

    /// The folder of a keeper's socket.
    pub fn run_dir(&self, task: TaskId) -> PathBuf {
        self.path.join("run").join(task.text().as_str())
    }

    /// The folder of a task's recorded output.
    pub fn log_dir(&self, lane: LaneId, task: TaskId) -> PathBuf {
        self.lane_logs(lane).join(task.text().as_str())
    }

    /// The folder of all recorded output.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The folder of a lane's recorded output.
    pub fn lane_logs(&self, lane: LaneId) -> PathBuf {
        self.logs().join(lane.text().as_str())
    }

    /// Writes a workspace down beside the store.
    ///
    /// # Errors
    /// `IO`.
    pub fn write_workspace(&self, id: &WorkspaceId, record: &impl serde::Serialize) -> Result<(), Failure> {
        let path = self.path.join("workspaces").join(format!("{id}.json"));
        let text = serde_json::to_vec(record).expect("invariant: a record is JSON");
        files::replace(&path, &text)
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))
    }

    /// True when any workspace was ever written down beside the store.
    pub fn has_workspaces(&self) -> bool {
        fs::read_dir(self.path.join("workspaces")).is_ok_and(|mut folder| folder.next().is_some())
    }

    /// What was written by [`Home::write_workspace`]; what cannot be read is left out.
    pub fn read_workspaces<T: serde::de::DeserializeOwned>(&self) -> Vec<T> {
        let Ok(folder) = fs::read_dir(self.path.join("workspaces")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
            .iter()
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok())
            .collect()
    }
}

/// Why a folder cannot be the state folder.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It could not be made or looked at.
    #[error("could not {attempt} {}: {source}", path.display())]
    Folder {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else could reach in.
    #[error("the home {} {why}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        let message = error.to_string();
        match error {
            HomeError::Folder { source, .. } => {
                Self::in_place(message, &source, "choose another home with --home or LANES_HOME")
            }
            HomeError::Unsafe { path: _, why: _ } => Self::new(Code::ConfigInvalid, message)
                .hint("give a folder of your own that nobody else can write to (mode 0700), not a link"),
        }
    }
}

/// Makes a folder when it is missing (0700), and makes sure that it is ours alone: one that others may read
/// is closed to them, one that they may write to is refused.
///
/// # Errors
/// [`HomeError::Unsafe`] for a link, another user's folder, or one that others can write to;
/// [`HomeError::Folder`].
pub fn private_folder(path: &Path) -> Result<(), HomeError> {
    let failed = |attempt| move |source| HomeError::Folder { attempt, path: path.to_path_buf(), source };
    let refused = |why| Err(HomeError::Unsafe { path: path.to_path_buf(), why });
    if !path.is_absolute() {
        return refused("is not an absolute path");
    }
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(failed("make"))?;
            fs::symlink_metadata(path).map_err(failed("look at"))?
        }
        Err(error) => return Err(failed("look at")(error)),
    };
    if let Some(why) = refusal(&found) {
        return refused(why);
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("close to others"))?;
    }
    Ok(())
}

/// Why what was found cannot be a folder of ours alone.
pub fn refusal(found: &fs::Metadata) -> Option<&'static str> {
    match () {
        () if found.is_symlink() => Some("is a symbolic link"),
        () if !found.is_dir() => Some("is not a folder"),
        () if found.uid() != rustix::process::geteuid().as_raw() => Some("belongs to another user"),
        () if found.mode() & 0o022 != 0 => Some("can be written to by others"),
        () => None,
    }
}

fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Somebody else was faster; what is there is looked at like any other.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}
