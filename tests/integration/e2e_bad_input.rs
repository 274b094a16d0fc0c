//! What a clumsy user types: each is refused with a stable code, an exit code, words that help, and no trace.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::git::{executable, write};

/// Refused like this, the message and hint hold these words, and nothing is there that was not before.
fn check(scene: &Scene, args: &[&str], code: i32, stable: &str, words: &[&str]) -> Value {
    let before = scene.inventory();
    let error = scene.fails(args, code, stable);
    let said = format!("{} | {}", error["message"], error["hint"]);
    for word in words {
        assert!(said.contains(word), "lanes {args:?} does not say {word:?}: {said}");
    }
    assert!(error["retryable"].is_boolean(), "{error}");
    assert_eq!(scene.inventory(), before, "lanes {args:?} left something");
    let human = scene.lanes(args);
    assert_eq!(human.code, Some(code), "the same for people: {}", human.stderr);
    assert!(human.stderr.contains(&format!("[{stable}]")), "{}", human.stderr);
    assert!(human.stderr.contains("\n  hint: "), "{}", human.stderr);
    assert!(!human.stderr.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{:?}", human.stderr);
    assert_eq!(scene.inventory(), before, "lanes {args:?} left something");
    error
}

#[test]
fn outside_of_a_repository_and_without_a_commit_is_said() {
    let scene = Scene::empty(&[]);
    check(&scene, &["create", "a"], 1, "NO_COMMITS", &["no commit", "git commit --allow-empty"]);
    check(&scene, &["create", "a", "--base", "main"], 1, "BASE_NOT_FOUND", &["'main'"]);
    let outside = scene.path().join("user").to_string_lossy().into_owned();
    for command in
        [&["create", "a"][..], &["ls"], &["cleanup", "--all"], &["trust"], &["cleanup", "--merged"]]
    {
        let args = [&["-C", &outside], command].concat();
        check(&scene, &args, 1, "NOT_A_REPOSITORY", &["is not in a git repository", "go into"]);
    }
    let missing = scene.path().join("missing").to_string_lossy().into_owned();
    check(&scene, &["-C", &missing, "ls"], 1, "IO", &["No such file", "-C"]);
}

#[test]
fn hostile_bases_and_branches_are_names_of_nothing() {
    let scene = Scene::new();
    let long = "x".repeat(10_000);
    let bases = [
        "nope",
        "--upload-pack=touch x",
        "../x",
        "refs/heads/..",
        "a\nb",
        "-x",
        "",
        &long,
        "\u{1}\u{1b}[31m",
        "\u{202e}abc",
        "HEAD~9",
        "@{-1}",
        "HEAD:a.txt",
        "main^{tree}",
        ":/",
        "main:",
        "$(touch x)",
    ];
    for base in bases {
        check(&scene, &["create", "a", "--base", base], 1, "BASE_NOT_FOUND", &["the base", "git branch"]);
    }
    for branch in ["nope", "main/x", "$(touch-x)", "refs/heads/main", "origin/main", "\u{202e}abc"] {
        check(&scene, &["create", "a", "--branch", branch], 1, "BASE_NOT_FOUND", &["there is no branch"]);
    }
    let never =
        ["--upload-pack=x", "../x", "refs/heads/..", "a\nb", "-x", "", &long, "a\u{9b}31m", "HEAD", "@{-1}"];
    for branch in never {
        check(
            &scene,
            &["create", "a", "--branch", branch],
            2,
            "NAME_INVALID",
            &["the branch name", "git check-ref-format"],
        );
    }
    check(&scene, &["create", "a", "--branch", "main"], 3, "BRANCH_CHECKED_OUT", &["--base 'main'"]);
    scene.git(&["tag", "nope"]);
    check(&scene, &["create", "a", "--branch", "nope"], 1, "BASE_NOT_FOUND", &["there is no branch 'nope'"]);
    scene.git(&["branch", "lanes"]);
    check(&scene, &["create", "a"], 3, "BRANCH_EXISTS", &["lanes"]);
    scene.git(&["branch", "-m", "lanes", "lanes/a"]);
    check(&scene, &["create", "a"], 3, "BRANCH_EXISTS", &["lanes/a"]);
}

#[test]
fn hostile_names_of_lanes_are_refused_and_names_differ_by_more_than_case() {
    let scene = Scene::new();
    let long = "x".repeat(10_000);
    for name in [
        "../x",
        "refs/heads/..",
        "a\nb",
        "",
        &long,
        "\u{1b}[31m",
        "\u{202e}abc",
        "a..b",
        "a.lock",
        "a.",
        ".a",
        "a@{",
        ".",
        "-",
        "@",
        "a b",
        "a/b",
        "ünï",
        "a\\b",
        "_a",
    ] {
        check(&scene, &["create", name], 2, "NAME_INVALID", &["cannot be used", "letters, digits"]);
    }
    let _lane = scene.create("Abc");
    for name in ["Abc", "abc", "ABC"] {
        check(&scene, &["create", name], 3, "NAME_TAKEN", &[name, "--ensure"]);
    }
    check(&scene, &["create", "--attach", "x"], 2, "VALIDATION_ERROR", &["--attach"]);
}

#[test]
fn what_is_not_there_is_not_found_and_the_nearest_is_suggested() {
    let mut scene = Scene::new();
    scene.set("EDITOR", "true");
    let _lane = scene.create("payments");
    let commands = [
        &["show", "paymnets"][..],
        &["path", "paymnets"],
        &["diff", "paymnets"],
        &["open", "paymnets"],
        &["exec", "paymnets", "--", "true"],
        &["send", "paymnets", "x"],
        &["logs", "paymnets"],
        &["wait", "paymnets", "--until", "exit"],
        &["share", "paymnets"],
        &["unshare", "paymnets"],
        &["join", "paymnets", "--agent", "a"],
        &["leave", "paymnets", "--agent", "a"],
        &["block", "paymnets", "--reason", "r"],
        &["unblock", "paymnets"],
        &["detach", "paymnets"],
    ];
    for args in commands {
        check(&scene, args, 4, "LANE_NOT_FOUND", &["paymnets", "did you mean payments?"]);
    }
    for args in [&["restore", "paymnets"][..], &["trash", "empty", "paymnets", "--yes"]] {
        check(&scene, args, 4, "LANE_NOT_FOUND", &["in the trash", "lanes trash ls"]);
    }
    let ran = scene.lanes(&["--json", "cleanup", "paymnets"]);
    let results: Value = serde_json::from_str(&ran.stdout).expect("results");
    assert_eq!(
        (ran.code, &results["results"][0]["error"]["code"]),
        (Some(4), &Value::from("LANE_NOT_FOUND"))
    );
    let run = "rn_00000000000000000000000000";
    check(&scene, &["logs", "payments"], 4, "TASK_NOT_FOUND", &["nothing has run", "lanes exec"]);
    check(&scene, &["logs", "payments", "--run", run], 4, "TASK_NOT_FOUND", &[run, "lanes show"]);
    check(&scene, &["logs", "payments", "--run", "\u{1b}]0;x"], 4, "TASK_NOT_FOUND", &["lanes show"]);
    check(
        &scene,
        &["send", "payments", "x"],
        4,
        "TASK_NOT_FOUND",
        &["no live terminal", "lanes attach payments"],
    );
}

#[test]
fn a_state_that_refuses_and_a_full_workspace_are_told_apart() {
    let scene = Scene::new();
    let _lane = scene.create("a");
    check(
        &scene,
        &["block", "a", "--reason", "r"],
        3,
        "INVALID_TRANSITION",
        &["does not allow block", "something runs"],
    );
    check(&scene, &["unblock", "a"], 3, "INVALID_TRANSITION", &["does not allow unblock", "does not wait"]);
    check(&scene, &["unshare", "a"], 3, "INVALID_TRANSITION", &["does not allow unshare", "not shared"]);
    for agent in ["", "a\u{1b}[31m", &"a".repeat(65)] {
        check(&scene, &["join", "a", "--agent", agent], 2, "VALIDATION_ERROR", &["1 to 64 printable"]);
        check(
            &scene,
            &["exec", "a", "--agent", agent, "--", "true"],
            2,
            "VALIDATION_ERROR",
            &["1 to 64 printable"],
        );
    }
    let timed = check(
        &scene,
        &["wait", "a", "--until", "blocked", "--timeout", "50ms"],
        124,
        "TIMEOUT",
        &["is ready"],
    );
    assert_eq!(timed["retryable"], true);
    scene.write("lanes.toml", "[lanes]\ncapacity = 1\n");
    check(&scene, &["create", "b"], 3, "AT_CAPACITY", &["1 lane", "lanes.capacity", "lanes cleanup"]);
    let _run = scene.ok(&["exec", "a", "--detach", "--", "sleep", "300"]);
    check(&scene, &["exec", "a", "--", "true"], 3, "LANE_BUSY", &["a run is live", "lanes share a"]);
    let _closed = scene.ok(&["cleanup", "a"]);
    check(&scene, &["exec", "a", "--", "true"], 3, "INVALID_TRANSITION", &["is closed", "lanes restore a"]);
    scene.nothing_open();
}

#[test]
fn a_command_that_cannot_be_started_is_an_error_and_a_lane_made_for_it_goes_again() {
    let scene = Scene::new();
    let _lane = scene.create("a");
    let cases = [
        (&["nope"][..], 1, "COMMAND_NOT_FOUND", "nope"),
        (&["nope\u{202e}\u{1b}[31m"], 1, "COMMAND_NOT_FOUND", "not found"),
        (&["./a.txt"], 1, "COMMAND_NOT_FOUND", "chmod +x"),
        (&["/etc"], 1, "COMMAND_NOT_FOUND", "not executable"),
        (&["./missing"], 1, "COMMAND_NOT_FOUND", "./missing"),
        (&[""], 2, "VALIDATION_ERROR", "empty"),
    ];
    for (command, code, stable, word) in cases {
        check(&scene, &[&["exec", "a", "--"], command].concat(), code, stable, &[word]);
        let lanes_before = scene.json(&["ls"])["lanes"].as_array().expect("lanes").len();
        let mut args = vec!["create", "made", "--"];
        args.extend(command);
        let error = scene.fails(&args, code, stable);
        assert!(error["hint"].as_str().expect("a hint").contains("made was closed again"), "{error}");
        assert_eq!(scene.json(&["ls"])["lanes"].as_array().expect("lanes").len(), lanes_before);
        let left = scene.inventory();
        assert!(!left.trees.contains("made") && !left.branches.contains("lanes/made"), "{left:?}");
    }
    let script = scene.root().join("a/run");
    write(&script, "#!/no/such/interpreter\n");
    executable(&script);
    check(&scene, &["exec", "a", "--", "./run"], 1, "COMMAND_NOT_FOUND", &["./run", "interpreter"]);
}

#[test]
fn a_command_line_or_environment_above_the_cap_is_a_validation_error_with_a_way_out() {
    let mut scene = Scene::new();
    let _lane = scene.create("a");
    let large = "x".repeat(100_000);
    let mut args = vec!["exec", "a", "--", "true"];
    args.extend([large.as_str(); 12]);
    check(&scene, &args, 2, "VALIDATION_ERROR", &["bytes", "into a file"]);
    check(&scene, &["exec", "a", "--agent", &large, "--", "true"], 2, "VALIDATION_ERROR", &["1 to 64"]);
    check(&scene, &["events", "--topic", &large], 2, "VALIDATION_ERROR", &["topic pattern"]);
    for number in 0..12 {
        scene.set(&format!("LARGE_{number}"), &large);
    }
    check(&scene, &["exec", "a", "--", "true"], 2, "VALIDATION_ERROR", &["bytes", "into a file"]);
    check(&scene, &["create", "b", "--", "true"], 2, "VALIDATION_ERROR", &["bytes", "into a file"]);
}

#[test]
fn nonsense_is_a_usage_error_of_every_command() {
    let scene = Scene::empty(&[]);
    let commands = "create ls show path diff open attach detach exec send logs wait share unshare join leave block \
                    unblock cleanup restore trash events reconcile trust daemon completions shell-init api quickstart";
    for command in commands.split_whitespace() {
        for extra in ["--no-such-flag", "-~", "--no-such-flag=\u{1b}[31m"] {
            let ran = scene.lanes(&["--json", command, extra]);
            let error: Value =
                serde_json::from_str(&ran.stderr).unwrap_or_else(|_| panic!("JSON: {}", ran.stderr));
            assert_eq!(
                (ran.code, &error["error"]["code"]),
                (Some(2), &Value::from("VALIDATION_ERROR")),
                "{command}"
            );
            assert!(error["schema"] == 1 && error["error"]["hint"].is_string(), "{error}");
            let human = scene.lanes(&[command, extra]);
            assert_eq!((human.code, human.stdout.as_str()), (Some(2), ""), "{command} {extra}");
            assert!(!human.stderr.contains('\u{1b}'), "{:?}", human.stderr);
        }
    }
    for args in [
        &["wait", "a", "--until", "nonsense"][..],
        &["exec", "a", "--timeout", "5", "--", "true"],
        &["events", "--since", "99999999999999999999"],
        &["logs", "a", "--since", "-1"],
        &["frobnicate"],
        &["exec", "a"],
        &["cleanup"],
        &["create", "--ensure"],
    ] {
        let _error = scene.fails(args, 2, "VALIDATION_ERROR");
    }
    let raw = OsString::from_vec(b"na\xffme".to_vec());
    let ran = scene.lanes(&[OsString::from("create"), raw]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(!scene.home().exists(), "nobody was asked");
}

#[test]
fn streams_that_are_closed_or_full_harm_nobody() {
    let scene = Scene::new();
    let _lane = scene.create("a");
    let program = env!("CARGO_BIN_EXE_lanes");
    let cases = [
        ("\"$0\" exec a -- cat <&-", 0),
        ("\"$0\" exec a -- sh -c 'cat; exit 3' <&-", 3),
        ("\"$0\" create b <&- >&- 2>&-; \"$0\" path b >/dev/null", 0),
        ("\"$0\" show nope 2>&-", 4),
        ("\"$0\" ls >/dev/full", 1),
        ("\"$0\" exec a -- seq 100000 | head -n 1", 0),
        ("\"$0\" events --since 0 | head -n 1", 0),
        ("\"$0\" attach a", 2),
    ];
    for (script, code) in cases {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, program]).env_clear().envs(scene.env()).current_dir(scene.repo());
        let output = command.stdin(Stdio::null()).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{script}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn the_end_of_a_command_that_is_over_at_once_is_always_known() {
    let scene = Scene::new();
    let _lane = scene.create("a");
    let _shared = scene.ok(&["share", "a"]);
    std::thread::scope(|threads| {
        for _caller in 0..4 {
            threads.spawn(|| {
                for _time in 0..12 {
                    let ran = scene.lanes(&["exec", "a", "--", "sh", "-c", "echo out; exit 7"]);
                    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "out\n"), "{}", ran.stderr);
                }
            });
        }
    });
}

#[test]
fn files_of_a_lane_have_the_modes_that_the_user_asks_for() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let script = "umask 027; \"$0\" create a >/dev/null && \"$0\" exec a -- sh -c 'umask; echo x > new'";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_lanes")]).env_clear().envs(scene.env());
    let output = command.current_dir(scene.repo()).stdin(Stdio::null()).output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0027\n", "{output:?}");
    let mode = |path| std::fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(scene.root().join("a/a.txt")), 0o640);
    assert_eq!(mode(scene.root().join("a/new")), 0o640);
    for ours in ["lanes.db", "daemon.sock", "daemon.log", "daemon.lock"] {
        assert_eq!(mode(scene.home().join(ours)), 0o600, "{ours}");
    }
    for ours in ["", "run", "logs", "bin"] {
        assert_eq!(mode(scene.home().join(ours)), 0o700, "{ours}");
    }
}
