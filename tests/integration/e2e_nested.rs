//! The command line used from inside lanes: what it may do there, and whom it harms.

use std::path::Path;

use serde_json::Value;

use crate::support::e2e::{Made, Ran, Scene};
use crate::support::stage::until;

/// Runs `lanes` in a lane (as `$LANES_BIN`, the way agents do) and gives how that ended.
fn inside(scene: &Scene, lane: &str, words: &str) -> Ran {
    let script = format!("exec \"$LANES_BIN\" --json {words}");
    scene.lanes(&["exec", lane, "--", "sh", "-c", &script])
}

/// Runs it in a terminal of the lane; what it said goes to a file.
fn in_terminal(scene: &Scene, lane: &str, words: &str) -> (i32, String) {
    let said = scene.path().join("tmp").join(format!("said-{lane}"));
    let (tmp, done) = (said.with_extension("tmp"), said.display());
    let script = format!(
        "{{ \"$LANES_BIN\" --json {words}; echo \"code $?\"; }} >'{0}' 2>&1; mv '{0}' '{done}'; sleep 300",
        tmp.display()
    );
    let reply = scene.lanes(&["exec", lane, "--", "true"]);
    assert_eq!(reply.code, Some(0), "{}", reply.stderr);
    let terminal = crate::support::tty::Terminal::new();
    let command = scene.command(&scene.repo(), &["attach", lane, "--new", "--", "sh", "-c", &script]);
    let mut attached = terminal.start(command);
    until("the terminal's command has spoken", || said.exists());
    terminal.type_in(b"\x1cd");
    assert_eq!(attached.wait().expect("ends").code(), Some(0));
    let text = std::fs::read_to_string(&said).expect("reads");
    std::fs::remove_file(&said).expect("removes");
    let code = text.lines().last().and_then(|line| line.strip_prefix("code ")).expect("a code");
    (code.parse().expect("a number"), text.clone())
}

fn refused(ran: &Ran, code: i32, stable: &str) {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    // What several lanes are asked for is told for each of them.
    let error = match &read(&ran.stderr)["error"] {
        Value::Null => read(&ran.stdout)["results"][0]["error"].clone(),
        error => error.clone(),
    };
    let told = (ran.code, error["code"].as_str());
    assert_eq!(told, (Some(code), Some(stable)), "{}{}", ran.stdout, ran.stderr);
    assert!(error["hint"].is_string(), "{error}");
}

fn is_open(scene: &Scene, lane: &Made) -> bool {
    scene.json(&["show", &lane.id])["lane"]["state"] != "closed"
}

#[test]
fn what_runs_in_a_lane_cannot_end_or_use_another_lane() {
    let scene = Scene::new();
    let (a, b) = (scene.create("a"), scene.create_with(&["create", "b", "--", "sleep", "300"]));
    let (code, said) = in_terminal(&scene, "a", "cleanup b");
    assert!(said.contains("NOT_YOUR_LANE"), "{said}");
    assert_eq!(code, 3, "{said}");
    for words in [
        "exec b -- touch harm",
        "send b text",
        "share b",
        "block b --reason x",
        "daemon stop",
        "daemon restart",
        "trash empty --yes",
        "create c --grant all",
    ] {
        let ran = inside(&scene, "a", words);
        refused(&ran, 3, "NOT_YOUR_LANE");
    }
    // Also one that took itself out of the terminal's group and dropped every variable.
    let home = scene.home().display().to_string();
    let script = format!("exec env -i setsid -w \"$LANES_BIN\" --json --home '{home}' cleanup b");
    let ran = scene.lanes(&["exec", "a", "--", "sh", "-c", &script]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    assert!(is_open(&scene, &a) && is_open(&scene, &b) && !b.path.join("harm").exists());
    // To look is allowed.
    assert_eq!(inside(&scene, "a", "show b").code, Some(0));
    scene.ok(&["cleanup", "a", "b"]);
    scene.nothing_open();
}

#[test]
fn approvals_are_not_given_from_inside_a_lane() {
    let scene = Scene::new();
    scene.create("a");
    scene.write("lanes.toml", "[hooks]\npost_create = \"true\"\n");
    refused(&inside(&scene, "a", "trust --yes"), 3, "NOT_YOUR_LANE");
    scene.fails(&["create", "b"], 3, "NOT_TRUSTED");
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_grant_and_being_the_maker_allow_it() {
    let scene = Scene::new();
    scene.create("plain");
    scene.create_with(&["create", "boss", "--grant", "all"]);
    let victim = scene.create("victim");
    let (code, said) = in_terminal(&scene, "boss", "cleanup victim");
    assert_eq!(code, 0, "{said}");
    assert!(!is_open(&scene, &victim));
    assert_eq!(inside(&scene, "plain", "create child").code, Some(0));
    refused(&inside(&scene, "child", "cleanup plain"), 3, "NOT_YOUR_LANE");
    let ran = inside(&scene, "plain", "cleanup child");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    scene.ok(&["cleanup", "plain", "boss"]);
    scene.nothing_open();
}

#[test]
fn a_lane_closes_itself_from_its_own_terminal() {
    let scene = Scene::new();
    let (lane, other) = (scene.create("a"), scene.create("b"));
    let script = "\"$LANES_BIN\" cleanup .; sleep 300";
    let terminal = crate::support::tty::Terminal::new();
    let command = scene.command(&scene.repo(), &["attach", "a", "--new", "--", "sh", "-c", script]);
    let mut attached = terminal.start(command);
    assert!(attached.wait().expect("ends").code().is_some_and(|code| code > 128));
    until("the lane is closed", || !is_open(&scene, &lane));
    assert!(!lane.path.exists() && is_open(&scene, &other));
    scene.ok(&["cleanup", "b"]);
    scene.nothing_open();
}

#[test]
fn closing_the_lane_that_the_daemon_was_started_from_harms_nobody() {
    let scene = Scene::new();
    let (lane, other) = (scene.create("a"), scene.create("b"));
    let terminal = scene.lanes(&["exec", "b", "--detach", "--", "sleep", "300"]);
    assert_eq!(terminal.code, Some(0));
    scene.ok(&["daemon", "stop"]);
    // A user's shell that happens to stand in the lane: the next command starts the daemon from there.
    let started = scene.lanes_in(&lane.path, &["show", "."]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let pid = scene.json(&["daemon", "status"])["daemon"]["pid"].as_u64().expect("a pid");
    let stands = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("its folder");
    assert!(!stands.starts_with(scene.path()) || stands == scene.home(), "{}", stands.display());
    let cleaned = scene.lanes_in(&lane.path, &["cleanup", "."]);
    assert_eq!(cleaned.code, Some(0), "{}", cleaned.stderr);
    assert!(!lane.path.exists());
    assert_eq!(scene.json(&["daemon", "status"])["daemon"]["pid"].as_u64(), Some(pid));
    let shown = scene.json(&["show", "b"]);
    assert_eq!(shown["lane"]["state"], "running", "{shown}");
    assert_eq!(scene.create("c").path.parent(), Some(scene.root().as_path()));
    assert!(is_open(&scene, &other));
    scene.ok(&["cleanup", "b", "c"]);
    scene.nothing_open();
}

#[test]
fn no_daemon_is_started_from_inside_a_lane() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let said = lane.path.join("said");
    let script = "while ! test -e go; do sleep 0.05; done\n\
        for words in 'ls' 'create x' 'daemon start' 'cleanup .'; do\n\
          \"$LANES_BIN\" --json $words 2>>said.tmp; echo \"code $?\" >>said.tmp\n\
        done\n\
        env -i setsid -w \"$LANES_BIN\" --json --home \"$LANES_HOME\" daemon start 2>>said.tmp\n\
        echo \"code $?\" >>said.tmp; mv said.tmp said";
    scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", script]);
    scene.ok(&["daemon", "stop"]);
    std::fs::write(lane.path.join("go"), "").expect("writes");
    until("it has tried", || said.exists());
    let text = std::fs::read_to_string(said).expect("reads");
    assert_eq!(text.matches("DAEMON_DOWN").count(), 5, "{text}");
    assert_eq!(text.matches("code 1\n").count(), 5, "{text}");
    assert!(!serves(&scene.home()), "a daemon was started from inside");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

fn serves(home: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(home.join("daemon.sock")).is_ok()
}
