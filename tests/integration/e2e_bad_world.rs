//! A machine that does not play along: git, disk, folders, home, store and socket; each told clearly, nothing left.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::e2e::Scene;
use crate::support::git::{Mounted, write};
use crate::support::stage::until;

#[test]
fn a_git_that_is_old_missing_odd_or_stuck_is_told_and_a_better_one_is_found() {
    let scripts = [
        (Some("#!/bin/sh\necho git version 2.20.1\n"), 1, "GIT_TOO_OLD", "2.20.1"),
        (Some("#!/bin/sh\necho nonsense\n"), 1, "GIT_FAILED", "git version"),
        (Some("#!/bin/sh\nPATH=/usr/bin:/bin exec sleep 300\n"), 124, "GIT_TIMEOUT", "1s"),
        (None, 1, "GIT_MISSING", "git"),
    ];
    for (script, code, stable, word) in scripts {
        let mut scene = Scene::new();
        let good = std::env::var_os("PATH").expect("a PATH");
        scene.configure("[git]\ntimeout = \"1s\"\n");
        std::fs::create_dir_all(scene.path().join("scripts")).expect("a folder");
        if let Some(script) = script {
            let _git = scene.script("git", script);
        }
        let bad = scene.path().join("scripts");
        scene.set("PATH", &bad);
        for args in [&["create", "a"][..], &["ls"]] {
            let before = std::fs::read_dir(scene.path().join("work")).expect("a folder").count();
            let error = scene.fails(args, code, stable);
            let said = format!("{} | {}", error["message"], error["hint"]);
            assert!(said.contains(word) && !said.contains("--everywhere"), "{said}");
            assert!(stable == "GIT_TIMEOUT" || said.contains("lanes daemon restart"), "{said}");
            assert!(!matches!(stable, "GIT_TOO_OLD" | "GIT_MISSING") || said.contains("2.34"), "{said}");
            assert_eq!(std::fs::read_dir(scene.path().join("work")).expect("a folder").count(), before);
        }
        scene.set("PATH", good);
        let _restarted = scene.ok(&["daemon", "restart"]);
        let _lane = scene.create("a");
    }
}

#[test]
fn a_checkout_that_hangs_fails_or_is_refused_by_a_hook_leaves_nothing() {
    let scene = Scene::new();
    scene.configure("[git]\ncheckout_timeout = \"1s\"\n");
    scene.write(".gitattributes", "*.slow filter=slow\n");
    scene.write("a.slow", "x\n");
    let _commit = scene.commit("slow");
    scene.git(&["config", "filter.slow.smudge", "sleep 300; cat"]);
    scene.refuses(&["create", "a"], 124, "GIT_TIMEOUT", &["did not end within 1s", "filter"]);
    let stuck = || {
        let mut all = lanes::proc::all().into_iter();
        let root = scene.root();
        all.any(|one| {
            std::fs::read_link(format!("/proc/{}/cwd", one.pid)).is_ok_and(|at| at.starts_with(&root))
        })
    };
    until("the filter has ended", || !stuck());
    scene.git(&["config", "filter.slow.smudge", "no-such-program-x"]);
    scene.git(&["config", "filter.slow.required", "true"]);
    scene.refuses(&["create", "a"], 1, "GIT_FAILED", &["no-such-program-x", "try again"]);
    scene.git(&["config", "--remove-section", "filter.slow"]);
    let hook = scene.repo().join(".git/hooks/post-checkout");
    write(&hook, "#!/bin/sh\necho not here >&2\nexit 9\n");
    crate::support::git::executable(&hook);
    scene.refuses(
        &["create", "a"],
        1,
        "GIT_FAILED",
        &["post-checkout", "exit 9", "not here", "correct the hook"],
    );
    std::fs::remove_file(&hook).expect("removed");
    let _lane = scene.create("a");
}

#[test]
fn a_bare_repository_with_worktrees_is_good_input() {
    let scene = Scene::new();
    let bare = scene.path().join("work/bare.git");
    let tree = scene.path().join("work/tree");
    scene.git(&["clone".as_ref(), "-q".as_ref(), "--bare".as_ref(), ".".as_ref(), bare.as_os_str()]);
    scene.git_in(
        &bare,
        &["worktree".as_ref(), "add".as_ref(), "-q".as_ref(), "-b".as_ref(), "t".as_ref(), tree.as_os_str()],
    );
    for (folder, name) in [(&tree, "x"), (&bare, "y")] {
        let made = scene.lanes_in(folder, &["create", name]);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let ran = scene.lanes_in(folder, &["exec", name, "--", "git", "status", "--porcelain"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    }
    assert_eq!(scene.lanes_in(&bare, &["cleanup", "--all"]).code, Some(0));
    assert_eq!(scene.git_in(&bare, &["branch", "--list", "lanes/*"]), "");
}

#[test]
fn a_repository_path_may_hold_anything() {
    let scene = Scene::new();
    let names: [&[u8]; 6] = [
        b"with space",
        "ünï\u{202e}x".as_bytes(),
        b"new\nline",
        b"bad\xff\xfename",
        b"quo\"te's",
        b"$(touch pwn)",
    ];
    for name in names {
        let repo = scene.path().join("work").join(OsStr::from_bytes(name));
        std::fs::create_dir(&repo).expect("a folder");
        scene.git_in(&repo, &["init", "-q"]);
        write(&repo.join("f"), "x\n");
        scene.git_in(&repo, &["add", "."]);
        scene.git_in(&repo, &["commit", "-qm", "one"]);
        let run = |args: &[&str]| {
            let ran = scene.lanes_in(&repo, args);
            assert_eq!(ran.code, Some(0), "{args:?} in {repo:?}: {}", ran.stderr);
            ran.stdout
        };
        let _made = run(&["create", "a"]);
        assert_eq!(run(&["exec", "a", "--", "cat", "f"]), "x\n");
        let _wrote = run(&["exec", "a", "--", "sh", "-c", "echo more > g"]);
        for args in [&["show", "a"][..], &["ls"], &["ls", "--everywhere"]] {
            let told = run(args);
            assert!(!told.contains('\u{202e}') && !told.contains("new\nline"), "{told:?}");
        }
        let _closed = run(&["cleanup", "a"]);
        let _back = run(&["restore", "a"]);
        assert_eq!(run(&["exec", "a", "--", "cat", "g"]), "more\n");
        let _closed = run(&["cleanup", "a"]);
    }
    assert!(!scene.path().join("work/pwn").exists());
    let missing = [OsString::from("-C"), OsString::from_vec(b"\xffmissing".to_vec()), OsString::from("ls")];
    assert_eq!(scene.lanes(&missing).code, Some(1));
}

#[test]
fn beside_a_read_only_parent_lanes_go_to_the_data_folder() {
    let scene = Scene::new();
    let (work, held) = (scene.path().join("work"), scene.path().join("held"));
    std::fs::create_dir(&held).expect("a folder");
    let Some(_held) = Mounted::new(&["--bind".as_ref(), scene.repo().as_os_str()], &held) else { return };
    let Some(_work) = Mounted::new(&["--bind".as_ref(), work.as_os_str()], &work) else { return };
    let remount = std::process::Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&work).status();
    if !remount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a read-only bind mount is not possible here");
        return;
    }
    let Some(_repo) = Mounted::new(&["--bind".as_ref(), held.as_os_str()], &scene.repo()) else { return };
    let lane = scene.create("a");
    assert!(lane.path.starts_with(scene.home()), "{:?}", lane.path);
    assert_eq!(scene.sh("a", "cat a.txt; pwd").lines().count(), 4);
    let _closed = scene.ok(&["cleanup", "a"]);
    assert!(!lane.path.exists());
    let stopped = scene.stop();
    assert!(stopped.is_empty(), "{stopped:?}");
}

#[test]
fn a_disk_that_is_full_while_a_tree_is_made_is_told_and_nothing_is_left() {
    let scene = Scene::new();
    scene.write(".gitattributes", "*.big filter=grow\n");
    scene.write("a.big", "x\n");
    let _commit = scene.commit("grows");
    scene.git(&["config", "filter.grow.smudge", "head -c 20000000 /dev/zero"]);
    scene.git(&["config", "filter.grow.clean", "echo x"]);
    std::fs::create_dir(scene.root()).expect("a folder");
    std::fs::set_permissions(scene.root(), std::fs::Permissions::from_mode(0o700)).expect("permissions");
    let args = ["-t", "tmpfs", "-o", "size=4m,mode=0700", "lanes"].map(OsStr::new);
    let Some(_small) = Mounted::new(&args, &scene.root()) else { return };
    scene.refuses(&["create", "a"], 3, "DISK_LOW", &["free", "lanes trash empty"]);
    scene.configure("[disk]\nmin_free = 0\nmin_inodes = 0\n");
    let _restarted = scene.ok(&["daemon", "restart"]);
    scene.refuses(&["create", "a"], 3, "DISK_LOW", &["a.big", "lanes trash empty"]);
    let stopped = scene.stop();
    assert!(stopped.is_empty(), "{stopped:?}");
}

#[test]
fn a_home_that_cannot_be_ours_is_refused_and_odd_ones_work() {
    let mut scene = Scene::new();
    let at = |name: &str| scene.path().join(name);
    let (link, open, file) = (at("link"), at("open"), at("file"));
    std::fs::create_dir(at("real")).expect("a folder");
    std::os::unix::fs::symlink(at("real"), &link).expect("a link");
    std::fs::create_dir(&open).expect("a folder");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("permissions");
    write(&file, "");
    let below = file.join("x");
    let cases: [(&Path, i32, &str, &str); 4] = [
        (&link, 2, "CONFIG_INVALID", "symbolic link"),
        (&open, 2, "CONFIG_INVALID", "written to by others"),
        (&file, 2, "CONFIG_INVALID", "not a folder"),
        (&below, 1, "IO", "Not a directory"),
    ];
    for (home, code, stable, word) in cases {
        for command in [&["ls"][..], &["create", "a"]] {
            let home = home.to_str().expect("text");
            scene.refuses(&[&["--home", home], command].concat(), code, stable, &[home, word, "home"]);
        }
    }
    assert_eq!(std::fs::read_dir(&open).expect("there").count(), 0);
    let long = at(&"d".repeat(200));
    let normal = scene.home();
    scene.set("LANES_HOME", &long);
    let _lane = scene.create("a");
    assert_eq!(scene.sh("a", "echo hi"), "hi");
    let _closed = scene.ok(&["cleanup", "a"]);
    assert!(scene.stop().is_empty());
    scene.set("LANES_HOME", "relative");
    let _lane = scene.create("b");
    assert!(scene.repo().join("relative/daemon.sock").exists());
    let _closed = scene.ok(&["cleanup", "b"]);
    assert!(scene.stop().is_empty());
    scene.set("LANES_HOME", "");
    scene.set("XDG_STATE_HOME", "");
    scene.set("HOME", "not/absolute");
    scene.refuses(&["ls"], 1, "IO", &["neither HOME nor XDG_STATE_HOME", "LANES_HOME"]);
    scene.set("LANES_HOME", normal);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone_and_a_damaged_one_is_rebuilt_around_what_lives() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let task = scene.ok(&["exec", "a", "--detach", "--", "sleep", "300"]);
    let _stopped = scene.ok(&["daemon", "stop"]);
    let store = scene.home().join("lanes.db");
    set_schema(&store, 999);
    scene.refuses(&["ls"], 1, "STORE_NEWER", &["999", "newer version", "--home"]);
    scene.refuses(&["create", "b"], 1, "STORE_NEWER", &["999"]);
    set_schema(&store, 1);
    assert_eq!(scene.json(&["ls"])["lanes"][0]["state"], "running");
    let _stopped = scene.ok(&["daemon", "stop"]);
    std::fs::write(&store, [0xA5; 8192]).expect("damage");
    let _gone = std::fs::remove_file(scene.home().join("lanes.db-wal"));
    let shown = scene.json(&["show", "a"]);
    assert_eq!(
        (shown["lane"]["id"].as_str(), shown["lane"]["state"].as_str()),
        (Some(lane.id.as_str()), Some("running"))
    );
    assert_eq!(shown["lane"]["tasks"][0]["id"], task.as_str(), "{shown}");
    assert!(scene.ok(&["daemon", "status"]).contains("lanes.db.corrupt-"));
    let _closed = scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    let _lane = scene.restore(&["a"]);
}

#[test]
fn a_client_that_sends_garbage_a_huge_line_or_half_a_request_harms_nobody() {
    let scene = Scene::new();
    let _lane = scene.create("a");
    let socket = scene.home().join("daemon.sock");
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&socket).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let _it_may_hang_up =
            stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    };
    let deep = [vec![b'['; 200_000], vec![b'\n']].concat();
    let huge = [vec![b'x'; 100 << 20], vec![b'\n']].concat();
    let cases: [(&[u8], &str); 9] = [
        (b"\x00\xff\xfe garbage\n", "VALIDATION_ERROR"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "VALIDATION_ERROR"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lane", ""),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lane.list\",\"params\":{\"cwd\":\"/\"}}\n",
            "daemon.hello",
        ),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lane.list\"}]\n", "batches are not taken"),
        (b"5\n", "VALIDATION_ERROR"),
        (b"\n\n\n", ""),
        (&deep, "VALIDATION_ERROR"),
        (&huge, "more than"),
    ];
    for (bytes, word) in cases {
        let answer = say(bytes);
        assert!(answer.contains(word) && (!word.is_empty() || answer.is_empty()), "{word}: {answer}");
        assert_eq!(scene.ok(&["ls"]).lines().count(), 2, "it goes on");
    }
    let idle: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).expect("connects")).collect();
    assert_eq!(scene.sh("a", "echo hi"), "hi");
    drop(idle);
}

fn set_schema(store: &Path, version: i64) {
    let connection = rusqlite::Connection::open(store).expect("opens");
    connection.pragma_update(None, "user_version", version).expect("set");
}
