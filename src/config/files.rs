//! Reads the files of the configuration.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::ConfigError;
use super::parse::{self, Layer, Loaded, Origin};

/// The file of the project, in the main checkout.
pub const PROJECT_FILE: &str = "lanes.toml";
/// The file of one user of the project, in the main checkout, never tracked.
pub const LOCAL_FILE: &str = ".lanes.local.toml";
/// The largest file; a configuration is a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads and merges what is there: the user's file, then the two of the main checkout.
/// `local_tracked` says that git tracks [`LOCAL_FILE`].
///
/// # Errors
/// A file that cannot be read or is not what it must be; see [`ConfigError`].
pub fn load(
    main_tree: Option<&Path>,
    user_file: Option<&Path>,
    local_tracked: bool,
) -> Result<Loaded, ConfigError> {
    let mut layers = Vec::new();
    if let Some(path) = user_file {
        layers.extend(read(path, Origin::User)?);
    }
    if let Some(tree) = main_tree {
        layers.extend(read(&tree.join(PROJECT_FILE), Origin::Repository)?);
        let local = read(&tree.join(LOCAL_FILE), Origin::Repository)?;
        if let Some(layer) = local.as_ref().filter(|_| local_tracked) {
            return Err(ConfigError::LocalTracked { path: layer.path.clone() });
        }
        layers.extend(local);
    }
    parse::merge(&layers)
}

/// Nothing when there is no such file. A repository's file is neither followed when it is a link nor
/// waited for when it is a pipe.
fn read(path: &Path, origin: Origin) -> Result<Option<Layer>, ConfigError> {
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if origin == Origin::Repository {
        flags |= libc::O_NOFOLLOW;
    }
    let not_a_file = || ConfigError::NotAFile { path: path.to_path_buf() };
    let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Err(not_a_file());
        }
        Err(error) => return Err(failed(error)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() || about.len() > MAX_BYTES {
        return Err(not_a_file());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Syntax { path: path.to_path_buf(), line, message: "not UTF-8".into() }
    })?;
    Ok(Some(Layer { path: path.to_path_buf(), origin, text }))
}
