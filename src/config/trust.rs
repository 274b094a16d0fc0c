//! What the user has approved, in a file of ours.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use crate::clock::{self, Timestamp};
use crate::files;
use crate::raw::Raw;

/// The approvals of one `LANES_HOME`. The runtime that owns the home is its only writer.
#[derive(Clone, Debug)]
pub struct Approvals {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    schema: u32,
    approved: Vec<Approval>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { schema: 1, approved: Vec::new() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Approval {
    common_dir: Raw,
    fingerprint: String,
    at: Timestamp,
}

impl Approvals {
    /// The approvals kept in `home`.
    pub fn at(home: &Path) -> Self {
        Self { path: home.join("trust.json") }
    }

    /// Says whether exactly this was approved for the repository with this common directory.
    ///
    /// # Errors
    /// The file cannot be read. A broken one approves nothing.
    pub fn is_approved(&self, common_dir: &Path, fingerprint: &str) -> Result<bool, ConfigError> {
        let wanted = Raw::from(common_dir);
        let stored = self.read()?;
        Ok(stored.approved.iter().any(|one| one.common_dir == wanted && one.fingerprint == fingerprint))
    }

    /// The same for one who only looks: `None` when the file cannot be read. Changes nothing.
    pub fn look(&self, common_dir: &Path, fingerprint: &str) -> Option<bool> {
        let stored = match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice::<Stored>(&text).ok()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Stored::default(),
            Err(_unreadable) => return None,
        };
        let wanted = Raw::from(common_dir);
        Some(stored.approved.iter().any(|one| one.common_dir == wanted && one.fingerprint == fingerprint))
    }

    /// Approves exactly this for the repository, instead of what was approved before.
    ///
    /// # Errors
    /// The file cannot be read or written; nothing has changed then.
    pub fn approve(&self, common_dir: &Path, fingerprint: &str) -> Result<(), ConfigError> {
        let common_dir = Raw::from(common_dir);
        let mut stored = self.read()?;
        stored.approved.retain(|one| one.common_dir != common_dir);
        stored.approved.push(Approval { common_dir, fingerprint: fingerprint.to_owned(), at: clock::now() });
        self.write(&stored)
    }

    /// Takes back what was approved for the repository; false when nothing was.
    ///
    /// # Errors
    /// The file cannot be read or written; nothing has changed then.
    pub fn revoke(&self, common_dir: &Path) -> Result<bool, ConfigError> {
        let common_dir = Raw::from(common_dir);
        let mut stored = self.read()?;
        let before = stored.approved.len();
        stored.approved.retain(|one| one.common_dir != common_dir);
        if stored.approved.len() == before {
            return Ok(false);
        }
        self.write(&stored)?;
        Ok(true)
    }

    fn read(&self) -> Result<Stored, ConfigError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(source) => return Err(self.error("read", source)),
        };
        match serde_json::from_slice(&text) {
            Ok(stored) => Ok(stored),
            Err(broken) => {
                let aside = self.path.with_extension(format!("broken-{}", clock::now().as_ms()));
                tracing::warn!(path = %self.path.display(), aside = %aside.display(), %broken, "approvals unreadable, moved aside");
                std::fs::rename(&self.path, &aside).map_err(|source| self.error("move aside", source))?;
                Ok(Stored::default())
            }
        }
    }

    fn write(&self, stored: &Stored) -> Result<(), ConfigError> {
        let body = serde_json::to_vec_pretty(stored).expect("invariant: approvals are JSON");
        files::replace(&self.path, &body).map_err(|source| self.error("write", source))
    }

    fn error(&self, attempt: &'static str, source: std::io::Error) -> ConfigError {
        ConfigError::Approvals { attempt, path: self.path.clone(), source }
    }
}
