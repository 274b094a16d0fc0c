//! Tests of `src/store/lock.rs`: real processes that want the same state folder.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lanes::failure::{Code, Failure};
use lanes::store::{LOCK_FILE, LockError, OwnerLock, last_holder};

const HOME: &str = "LANES_TEST_LOCK_HOME";

#[test]
fn one_owner_at_a_time_and_the_other_is_told_who() {
    let home = tempfile::tempdir().expect("a folder");
    let first = OwnerLock::acquire(home.path()).expect("free");
    let Err(LockError::Held { path: _, holder }) = OwnerLock::acquire(home.path()) else {
        panic!("taken twice")
    };
    assert_eq!(holder.as_ref(), Some(first.holder()));
    assert_eq!(first.holder().pid, std::process::id());

    assert_eq!(Some(first.holder().start), lanes::proc::start_of(std::process::id()));
    let mode = fs::metadata(first.path()).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    drop(first);
    OwnerLock::acquire(home.path()).expect("free again");
}

#[test]
fn an_owner_that_is_killed_leaves_the_lock_free() {
    let home = tempfile::tempdir().expect("a folder");
    let mut child = start_child(home.path());
    let failure = Failure::from(OwnerLock::acquire(home.path()).expect_err("held"));
    assert_eq!(failure.code, Code::Busy);
    assert!(failure.message.contains(&child.id().to_string()), "{failure}");
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert_eq!(last_holder(home.path()).map(|holder| holder.pid), Some(child.id()));
    let lock = OwnerLock::acquire(home.path()).expect("free");
    assert_eq!(last_holder(home.path()).as_ref(), Some(lock.holder()));
}

#[test]
fn a_program_that_the_owner_starts_does_not_keep_the_lock() {
    let home = tempfile::tempdir().expect("a folder");
    let lock = OwnerLock::acquire(home.path()).expect("free");
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    // Dropping unlocks by itself, so the descriptor must not be there at all.
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).expect("list");
    let names: Vec<_> = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
    assert!(!names.iter().any(|name| name.starts_with(home.path())), "{names:?}");
    drop(lock);
    OwnerLock::acquire(home.path()).expect("free");
    drop(child.stdin.take());
    child.wait().expect("gone");
}

#[test]
fn a_lock_file_that_says_nothing_or_nonsense_is_no_obstacle() {
    for text in ["", "nonsense", "{\"pid\": 1}", "{\"pid\":1,\"start\":1,\"boot_id\":\"\",\"since\":\"x\"}"] {
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join(LOCK_FILE), text.repeat(40)).expect("write");
        assert_eq!(last_holder(home.path()), None);
        let lock = OwnerLock::acquire(home.path()).expect("free");
        assert_eq!(last_holder(home.path()).as_ref(), Some(lock.holder()));
    }
}

#[test]
fn a_link_in_its_place_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let target = home.path().join("target");
    std::os::unix::fs::symlink(&target, home.path().join(LOCK_FILE)).expect("link");
    assert!(matches!(OwnerLock::acquire(home.path()), Err(LockError::Lock { .. })));
    assert!(!target.exists());
}

#[test]
#[ignore = "the other process of these tests"]
fn child_that_holds_the_lock() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let _lock = OwnerLock::acquire(Path::new(&home)).expect("free");
    println!("\nheld");
    let _ends_with_our_parent = std::io::stdin().lines().next();
}

fn start_child(home: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "store_lock::child_that_holds_the_lock", "--ignored", "--nocapture"])
        .env(HOME, home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    assert!(output.lines().map_while(Result::ok).any(|line| line == "held"));
    child
}
