//! Real programs behind `lanes attach` in a real terminal emulator look as they do without.

use crate::support::e2e::Scene;
use crate::support::stage::until;
use crate::support::tmux::{Tmux, is_there};

/// Attaches again once it was detached; then waits.
const AGAIN: &str = "echo >> ~/again; lanes attach a 2>/dev/null; exec sleep 1000";

fn scene() -> Scene {
    let scene = Scene::new();
    let text: String = (1..=200).map(|n| format!("line {n} of a text with a word{n} in it\n")).collect();
    scene.write("text.txt", &text);
    scene.commit("text");
    scene
}

/// Runs a program by itself and behind `attach`; types the same, compares after each step, after coming
/// back and after another size.
fn check(program: &str, command: &str, steps: &[&[&str]], redraw: &str, quit: &[&str]) {
    if !is_there("tmux") || !is_there(program) {
        return;
    }
    let scene = scene();
    let lane = scene.create("a");
    let tmux = Tmux::new(&scene);
    tmux.start("direct", 80, 24, &lane.path, &format!("{command}; exec sleep 1000"));
    tmux.start("lanes", 80, 24, &scene.repo(), &format!("lanes attach a --new -- {command}; {AGAIN}"));
    tmux.until_shown("direct", "line 3 of");
    tmux.until_shown("lanes", "line 3 of");
    for keys in steps {
        tmux.keys("direct", keys);
        tmux.keys("lanes", keys);
        tmux.until_same("direct", "lanes");
    }
    // Who comes back to a program has it paint again: so does the other.
    tmux.keys("lanes", &["C-\\", "d"]);
    tmux.keys("direct", &[redraw]);
    tmux.until_same("direct", "lanes");
    for (cols, rows) in [(100, 30), (61, 17)] {
        tmux.resize("direct", cols, rows);
        tmux.resize("lanes", cols, rows);
        tmux.until_same("direct", "lanes");
    }
    for name in ["direct", "lanes"] {
        tmux.keys(name, quit);
    }
    let modes = "#{alternate_on} #{mouse_any_flag} #{keypad_cursor_flag} #{keypad_flag} #{cursor_flag} #{insert_flag}";
    until("the terminal is as it was", || tmux.ask("lanes", modes) == "0 0 0 0 1 0");
    drop(tmux);
    scene.ok(&["cleanup", "a", "--force"]);
}

#[test]
fn vim_looks_the_same() {
    let command = "vim -u NONE -i NONE -n --cmd 'set nocp mouse=a' text.txt";
    let steps: &[&[&str]] = &[
        &["1", "0", "j", "d", "d"],
        &["i", "h", "e", "l", "l", "o", "Escape"],
        &[":", "s", "e", "t", " ", "n", "u", " ", "h", "l", "s", "Enter"],
        &["/", "w", "o", "r", "d", "5", "0", "Enter"],
        &[":", "s", "p", "l", "i", "t", "Enter", "G"],
    ];
    check("vim", command, steps, "C-l", &["Escape", ":", "q", "a", "!", "Enter"]);
}

#[test]
fn less_looks_the_same() {
    let steps: &[&[&str]] =
        &[&["Space"], &["/", "w", "o", "r", "d", "9", "0", "Enter"], &["k", "k"], &["G"], &["g"]];
    check("less", "less text.txt", steps, "C-l", &["q"]);
}

#[test]
fn a_shell_has_its_jobs_keys_and_sizes() {
    if !is_there("tmux") || !is_there("bash") {
        return;
    }
    let scene = Scene::new();
    scene.create("a");
    let tmux = Tmux::new(&scene);
    let shell = "env PS1='ready> ' bash --norc --noprofile -i";
    tmux.start("one", 80, 24, &scene.repo(), &format!("lanes attach a --new -- {shell}; exec sleep 1000"));
    let type_in = |name: &str, line: &str| {
        tmux.text(name, line);
        tmux.keys(name, &["Enter"]);
    };
    tmux.until_shown("one", "ready>");
    type_in("one", "stty size");
    tmux.until_shown("one", "24 80");
    type_in("one", "sh -c 'echo run''ning; exec sleep 1001'");
    tmux.until_shown("one", "\nrunning");
    tmux.keys("one", &["C-c"]);
    tmux.until_shown("one", "^C\nready>");
    type_in("one", "echo status $?");
    tmux.until_shown("one", "status 130");
    type_in("one", "sh -c 'echo go''ing; exec sleep 1002'");
    tmux.until_shown("one", "\ngoing");
    tmux.keys("one", &["C-z"]);
    tmux.until_shown("one", "Stopped");
    type_in("one", "fg");
    // Typed, stopped, and again in front.
    until("it is in front again", || tmux.letters("one").matches("sleep 1002").count() == 3);
    tmux.keys("one", &["C-c"]);
    type_in("one", "echo status $?; jobs | wc -l");
    tmux.until_shown("one", "status 130\n0\n");

    // Another window, smaller: it has the size while it types, the first shows what fits.
    tmux.start("two", 60, 15, &scene.repo(), AGAIN);
    tmux.until_shown("two", "ready>");
    type_in("two", "clear; stty size");
    tmux.until_shown("two", "15 60");
    tmux.until_shown("one", "15 60");
    tmux.until_shown("one", "····");
    type_in("one", "clear; stty size");
    tmux.until_shown("one", "24 80");
    assert!(!tmux.letters("one").contains('·'));
    tmux.until_shown("two", "24 80");
    tmux.resize("one", 90, 20);
    type_in("one", "while test \"$(stty size)\" != '20 90'; do sleep 0.05; done; echo re''sized");
    tmux.until_shown("one", "resized");
    tmux.keys("one", &["C-d"]);
    scene.ok(&["wait", "a", "--until", "exit", "--timeout", "20s"]);
    drop(tmux);
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn htop_is_drawn_again() {
    if !is_there("tmux") || !is_there("htop") {
        return;
    }
    let scene = Scene::new();
    scene.create("a");
    let tmux = Tmux::new(&scene);
    tmux.start("one", 100, 30, &scene.repo(), &format!("lanes attach a --new -- htop -d 100; {AGAIN}"));
    tmux.until_shown("one", "F10");
    tmux.keys("one", &["C-\\", "d"]);
    // That is after the other screen was left.
    until("somebody comes again", || scene.path().join("user/again").exists());
    tmux.until_shown("one", "F10");
    tmux.keys("one", &["F10"]);
    let modes = "#{alternate_on} #{mouse_any_flag}";
    until("it has ended", || tmux.ask("one", modes) == "0 0");
    drop(tmux);
    scene.ok(&["cleanup", "a", "--force"]);
}
