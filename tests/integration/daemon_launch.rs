//! Tests of `src/daemon/launch.rs` and `src/daemon/detach.rs`, with a real process that detaches.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanes::api::{Client, DaemonStop, Nothing};
use lanes::daemon::{self, Launch, ServeOptions, Socket, ensure_running};
use lanes::failure::{Code, Failure};
use lanes::store::OwnerLock;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::server::{DEADLINE, World, soon};

/// A program that does `body`; it is called as `program daemon run --home HOME`.
fn program(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("it may run");
    path
}

/// A program that becomes `the_child` below.
fn child(folder: &Path) -> PathBuf {
    let ours = std::env::current_exe().expect("our own path");
    let ours = ours.to_str().expect("a path that is text");
    let test = "daemon_launch::the_child";
    program(folder, &format!("LANES_TEST_HOME=\"$4\" exec '{ours}' --exact {test} --ignored --nocapture"))
}

async fn launch(home: &Path, program: &Path) -> Result<(), Failure> {
    // A script that was just written may still be open in a sibling that is between fork and exec.
    soon(async {
        loop {
            match Launch::new(home, program).within(DEADLINE).ensure().await {
                Err(failure) if failure.message.contains("Text file busy") => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    })
    .await
}

/// Not a test: the runtime that the others start. It serves until it is told to stop.
#[test]
#[ignore = "run by the other tests"]
fn the_child() {
    let home = std::env::var_os("LANES_TEST_HOME").map(PathBuf::from).expect("run by the other tests");
    assert!(daemon::asked_to_detach());
    let readiness = daemon::detach(&home).expect("it detaches");
    let lock = match OwnerLock::acquire(&home) {
        Ok(lock) => lock,
        Err(error) => return readiness.failed(&error.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        world.on("daemon.stop", move |_params, _context| {
            stopping.cancel();
            async { Ok(json!({})) }
        });
        world.on("test.self", |_params, _context| async {
            let fds: Vec<String> = (3..20)
                .filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok())
                .map(|target| target.to_string_lossy().into_owned())
                .collect();
            let session = rustix::process::getsid(None).map(|pid| pid.as_raw_nonzero().get());
            Ok(json!({
                "pid": std::process::id(),
                "session": session.expect("a session"),
                "cwd": std::env::current_dir().expect("a folder"),
                "umask": rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077)).bits(),
                "stdout": std::fs::read_link("/proc/self/fd/1").expect("a link"),
                "env": std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect::<Vec<_>>(),
                "fds": fds,
            }))
        });
        let socket = Socket::bind(&home).expect("it is bound");
        let serving = tokio::spawn(daemon::serve(ServeOptions::new(socket, world.bus.clone()), stop));
        eprintln!("ready");
        readiness.ready();
        serving.await.expect("it ends");
    });
    drop(lock);
}

/// The umask of this process, without changing it.
fn own_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("there");
    u32::from_str_radix(mask.trim(), 8).expect("octal")
}

#[tokio::test]
async fn many_ask_at_once_and_one_runtime_is_started_that_has_left_its_caller() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let program = child(folder.path());
    // Something inheritable, as a careless parent has it.
    let careless = std::fs::File::open("/dev/zero").expect("a file");
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).expect("it is inheritable");
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (home, program) = (home.clone(), program.clone());
        starts.spawn(async move { launch(&home, &program).await });
    }
    while let Some(ended) = soon(starts.join_next()).await {
        ended.expect("it ends").expect("somebody serves");
    }
    soon(ensure_running(&home, Path::new("/nonexistent"))).await.expect("it is there already");

    let client = soon(Client::connect(&home, "test 1")).await.expect("it greets");
    let found = soon(client.request("test.self", json!({}))).await.expect("it answers");
    assert_eq!(found["pid"], found["session"]);
    assert_eq!(found["cwd"], "/");
    // The umask is the user's, because files of lanes are made with it.
    assert_eq!(found["umask"], own_umask());
    assert_eq!(found["stdout"], json!(home.join("daemon.log")));
    let env: Vec<&str> =
        found["env"].as_array().expect("names").iter().filter_map(|name| name.as_str()).collect();
    assert!(!env.iter().any(|name| name.starts_with("CARGO")), "{env:?}");
    assert!(!found["fds"].to_string().contains("/dev/zero"), "{found}");
    let log = home.join("daemon.log");
    assert_eq!(std::fs::metadata(&log).expect("a log").permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&log).expect("text").contains("ready"));

    soon(client.call::<DaemonStop>(Nothing {})).await.expect("it stops");
    let gone = async {
        while OwnerLock::acquire(&home).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn what_a_runtime_says_about_its_failure_is_the_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = json!({ "error": Failure::new(Code::StoreNewer, "the store is newer") });
    let program = program(folder.path(), &format!("echo noise; echo '{said}'; exit 1"));
    let failure = launch(&folder.path().join("home"), &program).await.expect_err("it failed");
    assert_eq!(failure.code, Code::StoreNewer);
}

#[tokio::test]
async fn a_runtime_that_ends_without_a_word_is_told_with_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let program = program(folder.path(), "echo broken >&2; exit 1");
    let failure = launch(&home, &program).await.expect_err("it ended");
    assert_eq!(failure.code, Code::DaemonDown);
    assert!(failure.hint.is_some_and(|hint| hint.contains("daemon.log")));
    assert_eq!(std::fs::read_to_string(home.join("daemon.log")).expect("a log"), "broken\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_daemon_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let failure =
        launch(&folder.path().join("home"), Path::new("/nonexistent/lanes")).await.expect_err("none");
    assert_eq!(failure.code, Code::DaemonDown);
}

#[tokio::test]
async fn nothing_is_started_from_inside_a_lane() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let program = program(folder.path(), "touch \"$(dirname \"$0\")/started\"");
    let inside = || true;
    let failure =
        Launch::new(&home, &program).unless_descendant(&inside).ensure().await.expect_err("refused");
    assert_eq!((failure.code, failure.retryable), (Code::DaemonDown, false));
    assert!(failure.hint.is_some_and(|hint| hint.contains("outside of any lane")));
    assert!(!folder.path().join("started").exists() && !home.exists());
}
