//! The environment of the process: the one place of the command line that reads it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure};
use crate::raw::Raw;

/// Names the user's configuration; empty for none. A client tells the daemon that it starts by it.
pub const CONFIG_VARIABLE: &str = "LANES_CONFIG";

/// What the commands need to know of where they are.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The state folder.
    pub home: PathBuf,
    /// Absolute: where the command works.
    pub cwd: PathBuf,
    /// The user's configuration.
    pub user_file: Option<PathBuf>,
    /// The task that this was called from, if any.
    pub own_task: Option<String>,
    /// True inside a lane of this home: what is started there would end with the lane.
    pub in_lane: bool,
    /// `NO_COLOR`, or a terminal that cannot.
    pub plain: bool,
    /// The editor.
    pub editor: Option<OsString>,
    /// `LANES_LOG`.
    pub log: Option<String>,
}

/// Decides where the state folder is. Relative folders of the XDG kind are not valid and ignored.
pub fn home(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    cwd: &Path,
) -> Result<PathBuf, Failure> {
    let full = |name: &str| variable(name).filter(|value| !value.is_empty());
    let absolute = |name: &str| full(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = given {
        return Ok(cwd.join(given));
    }
    if let Some(home) = full("LANES_HOME") {
        return Ok(cwd.join(home));
    }
    // Inside a lane, the runtime that the lane belongs to.
    if let (Some(_), Some(socket)) = (full("LANES_LANE_ID"), absolute("LANES_SOCKET"))
        && let Some(home) = socket.parent()
    {
        return Ok(home.to_path_buf());
    }
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("lanes"))
        .ok_or_else(|| {
            Failure::new(
                Code::Io,
                "there is no state folder: neither HOME nor XDG_STATE_HOME is an absolute path",
            )
            .hint("set LANES_HOME, or give --home DIR")
        })
}

/// Decides which file is the user's configuration. `LANES_CONFIG` names another, or none when it is empty.
pub fn user_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    if let Some(named) = variable(CONFIG_VARIABLE) {
        return path(named);
    }
    variable("XDG_CONFIG_HOME")
        .and_then(path)
        .or_else(|| variable("HOME").and_then(path).map(|home| home.join(".config")))
        .map(|config| config.join("lanes/config.toml"))
}

impl Environment {
    /// Reads it.
    ///
    /// # Errors
    /// The folder to work in is not there, or there is no state folder.
    pub fn read(dir: Option<&Path>, given_home: Option<&Path>) -> Result<Self, Failure> {
        let here = std::env::current_dir().map_err(|error| {
            Failure::io("find the current folder", &error).hint("go to a folder that exists")
        })?;
        let cwd = match dir {
            None => here.clone(),
            Some(dir) => {
                let there = here.join(dir);
                std::fs::canonicalize(&there)
                    .and_then(|path| std::fs::read_dir(&path).map(|_it_is_a_folder| path))
                    .map_err(|error| {
                        Failure::io(format!("go to {}", there.display()), &error)
                            .hint("give a folder that exists with -C")
                    })?
            }
        };
        let variable = |name: &str| std::env::var_os(name);
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = home(given_home, variable, &here)?;
        let (task, socket) = (variable("LANES_TASK_ID"), variable("LANES_SOCKET"));
        Ok(Self {
            in_lane: crate::daemon::starts_from(&home, task.as_deref(), socket.as_deref()),
            home,
            user_file: user_file(variable),
            own_task: task.as_ref().and_then(|id| id.to_str().map(str::to_owned)),
            plain: text("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb"),
            editor: text("LANES_EDITOR").or_else(|| text("VISUAL")).or_else(|| text("EDITOR")),
            log: std::env::var("LANES_LOG").ok().filter(|filter| !filter.is_empty()),
            cwd,
        })
    }

    /// The environment that a command of the user gets.
    pub fn variables() -> Vec<(Raw, Raw)> {
        std::env::vars_os().map(|(name, value)| (Raw::from(name), Raw::from(value))).collect()
    }
}

/// The words as bytes.
pub fn raws(words: &[OsString]) -> Vec<Raw> {
    words.iter().map(|word| Raw(word.as_bytes().to_vec())).collect()
}
