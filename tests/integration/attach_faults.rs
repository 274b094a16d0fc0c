//! Attached clients, and what must not harm them or their program.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::e2e::Scene;
use crate::support::stage::{Stage, until};
use crate::support::tty::Terminal;

const LINES: usize = 60_000;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signals");
}

fn numbers(text: &str) -> Vec<usize> {
    text.lines().filter_map(|line| line.trim_end().parse().ok()).collect()
}

#[test]
fn a_window_that_takes_nothing_holds_nobody_up_and_leaves_when_told() {
    let scene = Scene::new();
    scene.create("a");
    // Nobody reads what is drawn there.
    let stalled = Terminal::unread();
    let script = format!("seq {LINES}; touch ../done; exec sleep 1000");
    let command = ["attach", "a", "--new", "--", "sh", "-c", &script];
    let mut child = stalled.start(scene.command(&scene.repo(), &command));
    until("the program has written it all", || scene.root().join("done").exists());
    let lines = numbers(&scene.ok(&["logs", "a"]));
    assert!(lines.len() == LINES && lines.is_sorted(), "{} lines", lines.len());
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("ends").code(), Some(143));
    assert!(stalled.is_cooked());
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn a_window_that_fell_behind_gets_the_screen_as_it_is() {
    let stage = Stage::new();
    let stalled = Terminal::unread();
    let script = "seq 1000000; printf '\\033[?2004hthe end'; touch done; exec sleep 1000";
    let mut child = stalled.start(stage.lanes(&["attach", "a", "--new", "--", "sh", "-c", script]));
    until("the program has written it all", || stage.work().join("done").exists());
    stalled.read();
    stalled.until_drawn("the end");
    assert!(stalled.drew("\x1b[?2004h") && stalled.drew("1000000\r\n"));
    assert!(!stalled.drew("\n500000\r"), "history went over the screen");
    stalled.type_in(b"\x1cd");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn ten_megabytes_pasted_arrive_whole() {
    let stage = Stage::new();
    let terminal = Terminal::new();
    let paste: Vec<u8> = (0..10_u32 << 20).map(|n| b'a' + u8::try_from(n % 23).expect("small")).collect();
    let script =
        format!("stty raw -echo; printf rea''dy; head -c {} > pasted; stty sane; exit 7", paste.len());
    let mut child = terminal.start(stage.lanes(&["attach", "a", "--new", "--", "sh", "-c", &script]));
    terminal.until_drawn("ready");
    terminal.type_in(&paste);
    assert_eq!(child.wait().expect("ends").code(), Some(7));
    assert!(std::fs::read(stage.work().join("pasted")).expect("reads") == paste, "not what was pasted");
}

#[test]
fn a_client_killed_while_it_attaches_leaves_the_terminal_to_the_next() {
    let stage = Stage::new();
    let terminal = Terminal::new();
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";
    let mut child = terminal.start(stage.lanes(&["attach", "a", "--new", "--", "sh", "-c", script]));
    terminal.until_drawn("line 3");
    for _ in 0..5 {
        let killed = Terminal::new();
        let mut child = killed.start(stage.lanes(&["attach", "a"]));
        signal(&child, Signal::KILL);
        child.wait().expect("ends");
    }
    let next = Terminal::new();
    let mut looking = next.start(stage.lanes(&["attach", "a"]));
    next.until_drawn("line 50");
    terminal.until_drawn("line 50");
    next.type_in(b"\x03");
    assert_eq!(looking.wait().expect("ends").code(), Some(130));
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert!(terminal.is_cooked() && next.is_cooked());
}

#[test]
fn ten_ends_of_the_daemon_by_force_do_not_interrupt_a_client() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let script = "i=0; while [ $i -lt 10 ]; do while ! [ -e \"../go-$i\" ]; do sleep 0.01; done; \
                  seq $((i*6000+1)) $((i*6000+6000)); i=$((i+1)); done; echo fin''ished; exec sleep 1000";
    let terminal = Terminal::new();
    let command = ["attach", "a", "--new", "--", "sh", "-c", script];
    let mut child = terminal.start(scene.command(&scene.repo(), &command));
    let live = || {
        let tasks = scene.json(&["show", "a"])["lane"]["tasks"].clone();
        (tasks[0]["pid"].clone(), tasks[0]["keeper_pid"].clone())
    };
    until("it runs", || live().0.is_number());
    let before = live();
    for round in 0..10 {
        std::fs::write(lane.path.parent().expect("the root").join(format!("go-{round}")), "")
            .expect("writes");
        scene.ok(&["daemon", "start"]);
        scene.kill_daemon();
        terminal.until_drawn(&format!("\n{}\r\n", round * 6000 + 6000));
        assert!(child.try_wait().expect("asks").is_none(), "the client has gone");
    }
    terminal.until_drawn("finished");
    assert_eq!(live(), before, "the same pids");
    let lines = numbers(&scene.ok(&["logs", "a"]));
    assert_eq!(lines, (1..=LINES).collect::<Vec<_>>());
    terminal.type_in(b"\x1cd");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    scene.ok(&["cleanup", "a"]);
}
