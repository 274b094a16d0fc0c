//! A repository, a configuration, names and secrets that mean harm: nothing of them runs, shows or stays.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::e2e::Scene;
use crate::support::git::write;
use crate::support::stage::until;

#[test]
fn a_configuration_that_is_wrong_is_refused_with_file_line_and_the_nearest_key() {
    let scene = Scene::new();
    let user = scene.path().join("user/.config/lanes/config.toml");
    let cases = [
        (
            "# x\n[lanes]\ncapcity = 3\n",
            &[":3: unknown key `lanes.capcity`", "did you mean `lanes.capacity`?"][..],
        ),
        ("[lanes]\ncapacity = \"x\"\n", &[":2:", "whole number"]),
        ("lanes = [\n", &[":1:", "TOML"]),
        ("copy = 5\n", &[":1:", "`copy`"]),
        ("[git]\ntimeout = \"5\"\n", &[":2:", "git.timeout"]),
    ];
    for (text, words) in cases {
        for file in [&scene.repo().join("lanes.toml"), &scene.repo().join(".lanes.local.toml"), &user] {
            write(file, text);
            let name = file.file_name().expect("a name").to_string_lossy().into_owned();
            scene.refuses(&["create", "a"], 2, "CONFIG_INVALID", &[words, &[name.as_str()]].concat());
            std::fs::remove_file(file).expect("removed");
        }
    }
    let file = scene.repo().join("lanes.toml");
    std::os::unix::fs::symlink("/etc/passwd", &file).expect("a link");
    scene.refuses(&["create", "a"], 2, "CONFIG_INVALID", &["lanes.toml", "not a regular file"]);
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("a folder");
    scene.refuses(&["create", "a"], 2, "CONFIG_INVALID", &["lanes.toml", "not a regular file"]);
    std::fs::remove_dir(&file).expect("removed");
    scene.write(".lanes.local.toml", "[lanes]\ncapacity = 3\n");
    scene.git(&["add", "-f", ".lanes.local.toml"]);
    scene.refuses(
        &["create", "a"],
        2,
        "CONFIG_INVALID",
        &[".lanes.local.toml is tracked", "git rm --cached"],
    );
    scene.git(&["rm", "-q", "--cached", ".lanes.local.toml"]);
    let _lane = scene.create("a");
}

#[test]
fn hooks_run_when_approved_and_again_only_when_the_change_is_approved() {
    let scene = Scene::new();
    let mark = scene.path().join("ran");
    let hook = |rest: &str| format!("[hooks]\npost_create = \"echo x >> {}; {rest}\"\n", mark.display());
    scene.write("lanes.toml", &hook("echo says why; echo on stderr >&2; exit 3"));
    scene.refuses(&["create", "a"], 3, "NOT_TRUSTED", &["hooks.post_create", "lanes trust"]);
    scene.refuses(&["trust"], 2, "VALIDATION_ERROR", &["--yes"]);
    assert!(!mark.exists());
    assert!(scene.ok(&["trust", "--yes"]).contains("says why"));
    let said = ["exit 3", "says why", "on stderr", "mend the command", "lanes logs"];
    scene.refuses(&["create", "a"], 1, "GIT_FAILED", &said);
    assert_eq!(std::fs::read_to_string(&mark).expect("it ran"), "x\n");
    scene.write("lanes.toml", &hook("true"));
    scene.refuses(&["create", "a"], 3, "NOT_TRUSTED", &["hooks.post_create"]);
    let _approved = scene.ok(&["trust", "--yes"]);
    let _lane = scene.create("a");
    let _revoked = scene.ok(&["trust", "--revoke"]);
    scene.refuses(&["create", "b"], 3, "NOT_TRUSTED", &["lanes trust"]);
    let _closed = scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn copied_and_linked_files_stay_inside_of_the_tree() {
    let scene = Scene::new();
    write(&scene.path().join("work/outside"), "secret\n");
    std::os::unix::fs::symlink("../outside", scene.repo().join("out")).expect("a link");
    std::os::unix::fs::symlink("..", scene.repo().join("dir")).expect("a link");
    scene.write(".git/info/exclude", "out\ndir\n.env\n");
    scene.write(".env", "E=1\n");
    let refused = [
        ("copy", "../outside", "it leaves the main checkout"),
        ("link", "../outside", "it leaves the main checkout"),
        ("copy", "sub/../../outside", "it leaves the main checkout"),
        ("copy", "/etc/passwd", "relative"),
        ("link", "/etc/passwd", "relative"),
        ("link", "out", "symbolic link"),
        ("link", "dir/outside", "symbolic link"),
        ("copy", ".git/config", ".git"),
        ("link", ".git/hooks", ".git"),
        ("link", "a.txt", "tracks it"),
    ];
    for (key, pattern, word) in refused {
        scene.write("lanes.toml", &format!("{key} = [\"{pattern}\"]\n"));
        let _approved = scene.ok(&["trust", "--yes"]);
        scene.refuses(&["create", "a"], 2, "CONFIG_INVALID", &[word, pattern, "correct"]);
    }
    for patterns in ["copy = [\"dir/**\", \"dir/outside\", \"**\"]\n", ""] {
        scene.write("lanes.toml", patterns);
        scene.write(".worktreeinclude", "../outside\n/etc/passwd\ndir/*\nout/*\n.git/*\n[[\n.env\n");
        let _approved = scene.lanes(&["trust", "--yes"]);
        let lane = scene.create("a");
        assert_eq!(std::fs::read_to_string(lane.path.join(".env")).expect("copied"), "E=1\n");
        let real = |name: &str| {
            std::fs::symlink_metadata(lane.path.join(name)).is_ok_and(|found| !found.is_symlink())
        };
        assert!(!real("out") && !real("dir") && !real("outside") && !real("etc"), "{patterns}");
        let _closed = scene.ok(&["cleanup", "a"]);
    }
    std::fs::remove_file(scene.repo().join(".worktreeinclude")).expect("removed");
    std::os::unix::fs::symlink("../outside", scene.repo().join(".worktreeinclude")).expect("a link");
    let lane = scene.create("a");
    assert!(!lane.path.join("secret").exists());
}

/// Everything in git's configuration that names a program.
const PROGRAMS: &str = "core.fsmonitor core.pager core.editor core.sshCommand core.askPass \
    core.alternateRefsCommand core.gitProxy filter.f.clean filter.f.process diff.external diff.d.textconv \
    diff.d.command merge.m.driver gpg.program credential.helper sequence.editor uploadpack.packObjectsHook \
    remote.origin.uploadpack interactive.diffFilter pager.diff pager.log pager.status pager.worktree";

#[test]
fn nothing_that_a_repository_would_run_is_run_when_it_is_looked_at() {
    let scene = Scene::new().without_spares();
    let lane = scene.create("a");
    let marks = scene.path().join("marks");
    std::fs::create_dir(&marks).expect("a folder");
    let program = |name: &str| {
        let text = format!("#!/bin/sh\ntouch '{}/{name}'\ncat\n", marks.display());
        scene.script(name, &text).to_string_lossy().into_owned()
    };
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc", "post-rewrite"]
    {
        let _script = program(&format!("hooks/{hook}"));
    }
    std::fs::create_dir(marks.join("hooks")).expect("a folder");
    for key in PROGRAMS.split_whitespace() {
        scene.git(&["config", key, &program(key)]);
    }
    let included = scene.path().join("included");
    write(&included, &format!("[core]\n\tfsmonitor = {}\n", program("included")));
    let attributes = scene.path().join("attributes");
    write(&attributes, "* filter=f diff=d merge=m\n");
    let more = [
        ("core.hooksPath", scene.path().join("scripts/hooks").to_string_lossy().into_owned()),
        ("core.attributesFile", attributes.to_string_lossy().into_owned()),
        ("include.path", included.to_string_lossy().into_owned()),
        ("alias.status", format!("!{}", program("alias"))),
        ("alias.worktree", format!("!{}", program("alias"))),
        ("remote.origin.url", format!("ext::{} %S", program("ext"))),
        ("remote.origin.promisor", "true".into()),
        ("commit.gpgsign", "true".into()),
        ("log.showSignature", "true".into()),
        ("gc.auto", "1".into()),
        ("filter.f.required", "true".into()),
    ];
    for (key, value) in more {
        scene.git(&["config", key, &value]);
    }
    write(&lane.path.join("a.txt"), "changed\n");
    write(&lane.path.join("new.txt"), "untracked\n");
    write(&lane.path.join(".gitattributes"), "* filter=f diff=d merge=m\n");
    for mark in lanes_marks(&marks) {
        std::fs::remove_file(marks.join(mark)).expect("of the set-up");
    }
    let commands = [
        "ls",
        "show a",
        "path a",
        "exec a -- true",
        "ls --all",
        "reconcile",
        "cleanup a --dry-run",
        "cleanup a",
        "trash ls",
        "restore a",
        "daemon restart",
        "ls",
        "cleanup a",
    ];
    for command in commands {
        let args: Vec<&str> = command.split_whitespace().collect();
        let _told = scene.ok(&args);
        assert_eq!(lanes_marks(&marks), BTreeSet::new(), "lanes {command} ran them");
    }
    until("the files of both lanes are saved", || scene.events("lane.worktree.saved").len() == 2);
    let _emptied = scene.ok(&["trash", "empty", "--yes"]);
    assert_eq!(lanes_marks(&marks), BTreeSet::new());
}

fn lanes_marks(marks: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in [marks.to_path_buf(), marks.join("hooks")] {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_file() {
                let _new = found
                    .insert(entry.path().strip_prefix(marks).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn control_and_bidirectional_characters_are_shown_and_not_obeyed() {
    let scene = Scene::new();
    let (branch, agent) = ("evil\u{202e}txt", "ag\u{202e}ent\u{200b}");
    scene.git(&["branch", branch]);
    let _lane = scene.create_with(&["create", "a", "--branch", branch]);
    let _run = scene.ok(&[
        "exec",
        "a",
        "--detach",
        "--agent",
        agent,
        "--",
        "sh",
        "-c",
        "sleep 300",
        "\u{1b}]0;x\u{7}\u{202e}",
    ]);
    let _blocked = scene.ok(&["block", "a", "--reason", "wait\u{202e}\u{1b}]0;x\u{7}\nlanes: fake line"]);
    let _unblocked = scene.lanes(&["unblock", "a"]);
    let _blocked = scene.ok(&["block", "a", "--reason", "wait\u{202e}\u{1b}]0;x\u{7}\nlanes: fake line"]);
    let _shared = scene.ok(&["share", "a"]);
    let _joined = scene.ok(&["join", "a", "--agent", agent]);
    write(&scene.root().join("a").join("f\u{202e}\u{1b}[31m.txt"), "x\n");
    let commands = [
        "ls",
        "ls --all",
        "show a",
        "events --since 0",
        "wait a --until shared",
        "create a --branch HEAD^{\u{202e}\u{1b}",
        "show \u{202e}\u{1b}[31m",
        "exec a --agent \u{202e} -- \u{1b}[31m\u{202e}",
        "leave a --agent ag\u{202e}ent\u{200b}",
        "cleanup a --force",
        "trash ls",
        "restore \u{202e}",
        "restore a",
        "ls",
        "cleanup a",
    ];
    for command in commands {
        let args: Vec<&str> = command.split(' ').collect();
        let ran = scene.lanes(&args);
        for text in [&ran.stdout, &ran.stderr] {
            let bad = |c: char| matches!(c, '\u{1b}' | '\u{7}' | '\u{202e}' | '\u{200b}' | '\u{9b}');
            assert!(!text.contains(bad), "lanes {command:?}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("lanes: fake")), "lanes {command:?}: {text:?}");
        }
    }
    assert!(scene.ok(&["ls", "--all"]).contains("evil\\u{202e}txt"));
}

#[test]
fn secrets_of_a_command_line_or_environment_are_kept_nowhere() {
    let mut scene = Scene::new();
    let key = "sk-ant-api03-ABCDEFGHIJKLMNOPQRSTUVWX1234567890";
    let token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
    let (password, header, url, assigned) =
        ("hunter2secretpw", "zzzzsecretheader", "urlpassw0rd", "envassign123456");
    scene.set("SOME_API_KEY", key);
    scene.set("DB_PASSWORD", password);
    let _lane = scene.create("a");
    let commands: [&[&str]; 6] = [
        &["true", "-H", &format!("Authorization: Bearer {key}")],
        &["true", &format!("--password={password}"), "--token", token],
        &["true", "-H", &format!("X-Api-Key: {header}"), &format!("https://user:{url}@example.com/x")],
        &["env", &format!("MY_TOKEN={assigned}"), "true"],
        &["sh", "-c", &format!("true {key}; export PASSWORD={password}")],
        &["sh", "-c", "exit 3", &format!("--api-key={key}")],
    ];
    for command in commands {
        let _ran = scene.lanes(&[&["exec", "a", "--"], command].concat());
    }
    let _missing =
        scene.lanes(&["exec", "a", "--", &format!("nosuch-{key}"), &format!("--password={password}")]);
    let _live =
        scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", "sleep 300", &format!("--token={token}")]);
    let _blocked = scene.ok(&["block", "a", "--reason", &format!("needs {key}")]);
    let _made = scene.ok(&["create", "b", "--", "sh", "-c", "sleep 300", &format!("--api-key={key}")]);
    let secrets = [key, token, password, header, url, assigned];
    let told =
        [scene.ok(&["show", "a"]), scene.ok(&["--json", "show", "b"]), scene.ok(&["events", "--since", "0"])]
            .concat();
    let kept_nowhere = |when: &str| {
        for folder in [scene.home(), scene.repo(), scene.root()] {
            for secret in secrets {
                assert_eq!(holders(&folder, secret), Vec::<String>::new(), "{when}: {secret}");
            }
        }
    };
    for secret in secrets {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    kept_nowhere("while they live");
    let _closed = scene.ok(&["cleanup", "--all"]);
    kept_nowhere("after cleanup");
    let _stopped = scene.ok(&["daemon", "stop"]);
    kept_nowhere("after the daemon");
}

/// The files below a folder that hold a text.
fn holders(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(holders(&path, text));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
