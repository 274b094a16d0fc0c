//! What can be wrong with configuration.

use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// What can be wrong with configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there but cannot be read.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is a link, a pipe, a device or too large.
    #[error("{} is not a regular file of at most 1 MiB", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    #[error("{}:{line}: unknown key `{key}`{}", path.display(), near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As written, with its section.
        key: String,
        /// The nearest known one, when one is near.
        near: Option<&'static str>,
    },
    /// The value of a key is of the wrong type or out of bounds.
    #[error("{}:{line}: `{key}` must be {wanted}", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The key with its section.
        key: String,
        /// What it may be.
        wanted: String,
    },
    /// `.lanes.local.toml` is part of the repository, so it is not yours alone.
    #[error("{} is tracked by git", path.display())]
    LocalTracked {
        /// The file.
        path: PathBuf,
    },
    /// The list of approvals cannot be read or written.
    #[error("could not {attempt} {}: {source}", path.display())]
    Approvals {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        let details = |path: &PathBuf, line: Option<usize>, key: Option<&str>| {
            let mut map = serde_json::Map::new();
            map.insert("file".into(), serde_json::json!(crate::raw::Raw::from(path.as_path())));
            if let Some(line) = line {
                map.insert("line".into(), line.into());
            }
            if let Some(key) = key {
                map.insert("key".into(), key.into());
            }
            serde_json::Value::Object(map)
        };
        match &error {
            ConfigError::Read { path, source: _ } => Self::new(Code::ConfigInvalid, message)
                .hint("make the file readable for you, or take it away")
                .details(details(path, None, None)),
            ConfigError::NotAFile { path } => Self::new(Code::ConfigInvalid, message)
                .hint("put a regular file there, or take it away; links are not followed")
                .details(details(path, None, None)),
            ConfigError::Syntax { path, line, message: _ } => Self::new(Code::ConfigInvalid, message)
                .hint("the file must be TOML")
                .details(details(path, Some(*line), None)),
            ConfigError::UnknownKey { path, line, key, near } => Self::new(Code::ConfigInvalid, message)
                .hint(match near {
                    Some(near) => format!("write `{near}`, or take the line out"),
                    None => "take the line out; the keys are listed in the documentation".into(),
                })
                .details(details(path, Some(*line), Some(key))),
            ConfigError::BadValue { path, line, key, wanted: _ } => Self::new(Code::ConfigInvalid, message)
                .hint("change the value, or take the line out to get the default")
                .details(details(path, Some(*line), Some(key))),
            ConfigError::LocalTracked { path } => Self::new(Code::ConfigInvalid, message)
                .hint("take it out of the index (`git rm --cached .lanes.local.toml`) and ignore it, or move its keys to lanes.toml")
                .details(details(path, None, None)),
            ConfigError::Approvals { attempt, path: _, source: _ } => {
                Self::new(Code::Io, message).hint(format!("look why it was not possible to {attempt} the file"))
            }
        }
    }
}
