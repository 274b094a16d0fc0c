//! What the daemon does for terminals that nobody is attached to: screens, answers, what programs say.

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;
use crate::support::tty::Terminal;

fn payloads(scene: &Scene, topic: &str) -> Vec<Value> {
    scene.events(topic).into_iter().map(|event| event["payload"].clone()).collect()
}

fn terminal_id(scene: &Scene, lane: &str) -> String {
    let shown = scene.json(&["show", lane]);
    shown["lane"]["tasks"][0]["id"].as_str().expect("a terminal").to_owned()
}

#[test]
fn what_a_program_says_is_told_once_also_over_the_end_of_the_daemon() {
    let scene = Scene::new();
    let script = r"
        printf '\033]2;one\007\033]2;one\007\033]7;file:///x\007\033]9;done\007\033]133;D;3\007'
        while ! [ -e ../go ]; do sleep 0.02; done
        printf '\033]777;notify;t;b\007'; sleep 1.1; printf '\033]2;two\007'
        exec sleep 1000";
    let lane = scene.create_with(&["create", "a", "--", "sh", "-c", script]);
    until("the first are told", || payloads(&scene, "terminal.prompt").len() == 1);
    scene.ok(&["daemon", "restart"]);
    std::fs::write(lane.path.parent().expect("the root").join("go"), "").expect("writes");
    until("the last is told", || payloads(&scene, "terminal.title").len() == 2);
    let said = |topic: &str, field: &str| -> Vec<String> {
        payloads(&scene, topic).iter().map(|p| p[field].to_string()).collect()
    };
    assert_eq!(said("terminal.title", "title"), [r#""one""#, r#""two""#]);
    assert_eq!(said("terminal.cwd", "cwd"), [r#""file:///x""#]);
    assert_eq!(said("terminal.notification", "body"), [r#""done""#, r#""b""#]);
    assert_eq!(said("terminal.prompt", "exit"), ["3"]);
    assert!(payloads(&scene, "terminal.resized").is_empty());
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_program_that_asks_for_the_cursor_is_answered_while_nobody_is_attached() {
    let scene = Scene::new();
    let script = r#"
        stty raw -echo; printf 'x\r\nab\033[6n'
        answer=$(dd bs=1 count=6 2>/dev/null | tr -d '\033'); stty sane
        echo "got:$answer:"; exec sleep 1000"#;
    scene.create_with(&["create", "a", "--", "sh", "-c", script]);
    until("it got its answer", || scene.ok(&["logs", "a"]).contains("got:[2;3R:"));
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_long_history_is_a_screen_at_once() {
    let scene = Scene::new();
    let script = r"printf '\033[?2004h\033]2;t\007'; seq 100000; printf 'the end'; exec sleep 1000";
    let lane = scene.create_with(&["create", "a", "--", "sh", "-c", script]);
    let log = scene.home().join("logs").join(&lane.id).join(terminal_id(&scene, "a"));
    let drawn = || lanes::keeper::Checkpoint::read(&log).is_some_and(|found| found.offset > 500_000);
    until("a screen near the end is written down", drawn);
    let terminal = Terminal::new();
    let mut child = terminal.start(scene.command(&scene.repo(), &["attach", "a"]));
    terminal.until_drawn("the end");
    // The checkpoint has the modes; of the history, only what is on the screen is drawn.
    assert!(terminal.drew("\x1b[?2004h") && terminal.drew("99999"));
    assert!(!terminal.drew("\n50000\r"), "history went over the screen");
    terminal.type_in(b"\x1cd");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    terminal.until_drawn("back with `lanes attach a`");
    scene.ok(&["cleanup", "a"]);
}
