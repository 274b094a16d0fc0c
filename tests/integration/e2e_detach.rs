//! `lanes detach`: whoever is attached leaves, and everything goes on.

use crate::support::e2e::Scene;
use crate::support::tty::Terminal;

#[test]
fn detach_makes_attached_terminals_leave_and_nobody_else() {
    let scene = Scene::new();
    scene.create("a");
    let script = "printf ready; read line; echo got $line; sleep 300";
    let mut attached = Vec::new();
    let first = Terminal::new();
    let new = ["attach", "a", "--new", "--", "sh", "-c", script];
    attached.push((first.start(scene.command(&scene.repo(), &new)), first));
    attached[0].1.until_drawn("ready");
    for more in [&["attach", "a"][..], &["attach", "a", "--read-only"]] {
        let terminal = Terminal::new();
        let child = terminal.start(scene.command(&scene.repo(), more));
        terminal.until_drawn("ready");
        attached.push((child, terminal));
    }
    let mut follower = scene.command(&scene.repo(), &["logs", "a", "-f"]).spawn().expect("starts");
    let mut out = follower.stdout.take().expect("piped");
    let mut seen = [0; 5];
    std::io::Read::read_exact(&mut out, &mut seen).expect("follows");
    scene.ok(&["detach", "a"]);
    for (mut child, terminal) in attached {
        assert_eq!(child.wait().expect("ends").code(), Some(0));
        terminal.until_drawn("detached by");
        terminal.until_drawn("\x1b[?25h");
        assert!(terminal.is_cooked());
    }
    // The follower stays, the command too, and one can come back.
    scene.ok(&["send", "a", "words"]);
    let mut rest = Vec::new();
    while !String::from_utf8_lossy(&rest).contains("got words") {
        let mut byte = [0; 64];
        let n = std::io::Read::read(&mut out, &mut byte).expect("follows");
        assert!(n > 0, "the follower was ended: {:?}", String::from_utf8_lossy(&rest));
        rest.extend_from_slice(&byte[..n]);
    }
    let again = Terminal::new();
    let mut child = again.start(scene.command(&scene.repo(), &["attach", "a"]));
    again.until_drawn("got words");
    scene.ok(&["detach", "a"]);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    scene.ok(&["cleanup", "a"]);
    assert_eq!(follower.wait().expect("ends").code(), Some(0));
    scene.nothing_open();
}

#[test]
fn detaching_a_lane_without_terminals_does_nothing() {
    let scene = Scene::new();
    scene.create("a");
    scene.ok(&["exec", "a", "--detach", "--", "sleep", "300"]);
    scene.ok(&["detach", "a"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "running");
    scene.fails(&["detach", "nobody"], 4, "LANE_NOT_FOUND");
    scene.ok(&["cleanup", "a"]);
}
