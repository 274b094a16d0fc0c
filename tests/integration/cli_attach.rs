//! `lanes attach` as a program at a real terminal.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::stage::Stage;
use crate::support::tty::Terminal;

const SHELL: &[&str] = &["attach", "a", "--new", "--", "sh", "-c", "printf ready; exec sh"];

#[test]
fn keys_go_in_the_screen_comes_out_and_the_detach_key_leaves_it_running() {
    let stage = Stage::new();
    let terminal = Terminal::new();
    let mut child = terminal.start(stage.lanes(SHELL));
    terminal.until_drawn("ready");
    assert!(!terminal.is_cooked());
    terminal.type_in(b"echo $((6*7))x; trap 'stty size' WINCH\r");
    terminal.until_drawn("42x");
    terminal.type_in(b"\x1cd");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(terminal.is_cooked());
    terminal.until_drawn("\x1b[?1049l");
    terminal.until_drawn("\x1b[?25h");

    let again = Terminal::new();
    let mut child = again.start(stage.lanes(&["attach", "a"]));
    again.until_drawn("42x");
    again.resize(100, 30);
    kill_process(Pid::from_child(&child), Signal::WINCH).expect("signals");
    // The shell sees the size once the signal has been handled: it waits for that itself.
    again.type_in(b"while test \"$(stty size)\" != '30 100'; do sleep 0.05; done; echo si''ze\r");
    again.until_drawn("size\r\n");
    again.type_in(b"exit 9\r");
    assert_eq!(child.wait().expect("ends").code(), Some(9));
    assert!(again.is_cooked());
}

#[test]
fn a_read_only_client_types_nothing_but_the_detach_key() {
    let stage = Stage::new();
    let terminal = Terminal::new();
    let mut child = terminal.start(stage.lanes(SHELL));
    terminal.until_drawn("ready");
    let looker = Terminal::new();
    let mut looking = looker.start(stage.lanes(&["attach", "a", "--read-only"]));
    looker.until_drawn("ready");
    looker.type_in(b"echo never$((1+1))\r");
    looker.type_in(b"\x1cd");
    assert_eq!(looking.wait().expect("ends").code(), Some(0));
    terminal.type_in(b"echo done$((1+1)); exit\r");
    terminal.until_drawn("done2");
    assert!(!terminal.drew("never"));
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_and_the_command_running() {
    let stage = Stage::new();
    let terminal = Terminal::new();
    let mut child = terminal.start(stage.lanes(SHELL));
    terminal.until_drawn("ready");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("signals");
    assert_eq!(child.wait().expect("ends").code(), Some(143));
    assert!(terminal.is_cooked());
    let again = Terminal::new();
    let mut child = again.start(stage.lanes(&["attach", "a"]));
    again.until_drawn("ready");
    again.type_in(b"exit\r");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn without_a_terminal_attach_says_what_to_use() {
    let stage = Stage::new();
    let output = stage.lanes(&["attach", "a"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lanes logs -f"));
}
