//! Where the state folder is; what the shell function does with odd paths.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lanes::cli::args::CdShell;
use lanes::cli::{environment, shell};

fn check(given: Option<&str>, variables: &[(&str, &str)], expected: &str) {
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let found = environment::home(given.map(Path::new), variable, Path::new("/work"));
    assert_eq!(found.ok(), Some(PathBuf::from(expected)), "{variables:?}");
}

#[test]
fn the_state_folder_is_the_first_that_somebody_named() {
    let home = ("HOME", "/home/me");
    check(None, &[home], "/home/me/.local/state/lanes");
    check(None, &[home, ("XDG_STATE_HOME", "/state")], "/state/lanes");
    check(None, &[home, ("XDG_STATE_HOME", "state")], "/home/me/.local/state/lanes");
    check(None, &[home, ("LANES_HOME", "/l")], "/l");
    check(None, &[home, ("LANES_HOME", "")], "/home/me/.local/state/lanes");
    check(Some("x"), &[home, ("LANES_HOME", "/l")], "/work/x");
    let lane = [home, ("LANES_LANE_ID", "ln"), ("LANES_SOCKET", "/other/daemon.sock")];
    check(None, &lane, "/other");
    check(None, &[home, ("LANES_SOCKET", "/other/daemon.sock")], "/home/me/.local/state/lanes");
}

#[test]
fn the_users_configuration_is_the_named_one_or_none() {
    let check = |variables: &[(&str, &str)], expected: Option<&str>| {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(environment::user_file(variable), expected.map(PathBuf::from), "{variables:?}");
    };
    let home = ("HOME", "/home/me");
    check(&[home], Some("/home/me/.config/lanes/config.toml"));
    check(&[home, ("XDG_CONFIG_HOME", "/config")], Some("/config/lanes/config.toml"));
    check(&[home, ("XDG_CONFIG_HOME", "config")], Some("/home/me/.config/lanes/config.toml"));
    check(&[home, ("LANES_CONFIG", "/own.toml")], Some("/own.toml"));
    check(&[home, ("LANES_CONFIG", "")], None);
}

#[test]
fn without_any_the_failure_says_what_to_set() {
    let failure = environment::home(None, |_| None, Path::new("/")).expect_err("there is none");
    assert!(failure.hint.is_some_and(|hint| hint.contains("LANES_HOME")));
}

#[test]
fn the_shell_function_never_splits_a_path() {
    for shell in [CdShell::Bash, CdShell::Zsh, CdShell::Sh] {
        assert!(shell::function(shell).contains("cd -- \"$_lanes_path\""));
    }
    assert!(shell::function(CdShell::Fish).contains("string collect"));
}
