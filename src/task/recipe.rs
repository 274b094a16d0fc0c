//! How a task is started again after a reboot: a file beside its log, for its user alone.
//!
//! Never in the store or an event: an argument list may hold secrets.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::raw::Raw;

/// The file, in the folder of the task's recorded output.
pub const RECIPE: &str = "revive.json";

/// What a task was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Program and arguments.
    pub argv: Vec<Raw>,
    /// What goes on where it stopped; empty to start it as before.
    #[serde(default)]
    pub resume: Vec<Raw>,
    /// Below the tree of the lane.
    pub dir: Option<Raw>,
    /// After so long it is ended.
    pub timeout_ms: Option<u64>,
}

impl Recipe {
    /// Writes it down (0600). Not synced: it costs each start more than it is worth after a power cut.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, log_dir: &Path) -> io::Result<()> {
        let body = serde_json::to_vec(self).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(log_dir.join(RECIPE))?.write_all(&body)
    }

    /// Reads it; `None` when there is none.
    pub fn read(log_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(log_dir.join(RECIPE)).ok()?).ok()
    }

    /// Removes it: nothing is to be started again.
    pub fn remove(log_dir: &Path) {
        let _never_written = fs::remove_file(log_dir.join(RECIPE));
    }

    /// What is started now.
    pub fn command(&self) -> Vec<Raw> {
        if self.resume.is_empty() { self.argv.clone() } else { self.resume.clone() }
    }
}
