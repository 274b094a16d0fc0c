//! Which environment a runtime starts with, and where it may be started from: decided on values.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::detach::DETACH_MARK;
use crate::api::socket::socket_path;

/// Kept as they are: what programs need to find their user, language and folders. What a task needs
/// besides comes with the request that starts it.
const KEPT: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "SSH_AUTH_SOCK"];
/// Kept by what they start with.
const KEPT_PREFIXES: &[&str] = &["LC_", "XDG_", "LANES_"];
/// Never kept: they say which task a process belongs to, and mark it for its end.
const DROPPED: &[&str] = &[
    "LANES_LANE_ID",
    "LANES_LANE_NAME",
    "LANES_TASK_ID",
    "LANES_TASK_SECRET",
    "LANES_SOCKET",
    "LANES_BIN",
    DETACH_MARK,
];

/// What a runtime keeps of its caller's environment.
pub fn kept(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    vars.into_iter().filter(|(name, _value)| is_kept(name)).collect()
}

fn is_kept(name: &OsStr) -> bool {
    let is = |other: &&str| name == OsStr::new(other);
    let starts = |prefix: &&str| name.as_bytes().starts_with(prefix.as_bytes());
    !DROPPED.iter().any(&is) && (KEPT.iter().any(is) || KEPT_PREFIXES.iter().any(starts))
}

/// True when the variables of a task of `home` are set: what is started from there ends with its lane.
///
/// A task of a runtime that serves no socket has no `LANES_SOCKET`, and counts.
pub fn starts_from(home: &Path, task_id: Option<&OsStr>, socket: Option<&OsStr>) -> bool {
    let in_task = task_id.is_some_and(|id| !id.is_empty());
    let of_home = socket.is_none_or(|socket| Path::new(socket) == socket_path(home));
    in_task && of_home
}
