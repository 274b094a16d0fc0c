//! Tests of `src/daemon/environment.rs`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use lanes::daemon::{kept, starts_from};

#[test]
fn a_runtime_keeps_what_is_listed_and_never_what_marks_a_task() {
    let check = |name: &str, expected: bool| {
        let found = kept([(OsString::from(name), OsString::from("x"))]);
        assert_eq!(!found.is_empty(), expected, "{name}");
    };
    for name in
        ["PATH", "HOME", "LC_ALL", "LANG", "XDG_STATE_HOME", "SSH_AUTH_SOCK", "LANES_LOG", "LANES_HOME"]
    {
        check(name, true);
    }
    for name in
        ["GIT_DIR", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY", "PATHS", "LANES_TASK_SECRET", "LANES_TASK_ID"]
    {
        check(name, false);
    }
    for name in ["LANES_LANE_ID", "LANES_SOCKET", "LANES_BIN", "LANES_LANE_NAME", "LANES_DETACH"] {
        check(name, false);
    }
}

#[test]
fn a_start_from_inside_a_lane_of_the_same_home_is_recognised() {
    let check = |task: Option<&str>, socket: Option<&str>, expected: bool| {
        let found = starts_from(Path::new("/h"), task.map(OsStr::new), socket.map(OsStr::new));
        assert_eq!(found, expected, "{task:?} {socket:?}");
    };
    check(Some("tm_1"), Some("/h/daemon.sock"), true);
    check(Some("tm_1"), None, true);
    check(Some("tm_1"), Some("/other/daemon.sock"), false);
    check(None, Some("/h/daemon.sock"), false);
    check(Some(""), None, false);
}
