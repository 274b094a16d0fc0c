//! `SSH_AUTH_SOCK` of a lane: one path, whoever came last behind it.

use std::path::PathBuf;

use crate::support::e2e::Scene;
use crate::support::tty::Terminal;

#[test]
fn a_task_reaches_the_agent_of_whoever_came_last() {
    let mut scene = Scene::new();
    scene.set("SSH_AUTH_SOCK", "/tmp/agent.first");
    scene.create_with(&["create", "a", "--", "sh", "-c", "echo at $SSH_AUTH_SOCK; exec sleep 300"]);
    let link = PathBuf::from(scene.sh("a", "echo $SSH_AUTH_SOCK"));
    assert!(link.starts_with(scene.home()), "{}", link.display());
    let target = || std::fs::read_link(&link).expect("a link");
    assert_eq!(target(), PathBuf::from("/tmp/agent.first"));
    let said = scene.ok(&["logs", "a"]);
    assert!(said.contains(link.to_str().expect("text")), "{said}");

    scene.set("SSH_AUTH_SOCK", "/tmp/agent.second");
    scene.sh("a", "true");
    assert_eq!(target(), PathBuf::from("/tmp/agent.second"));

    scene.set("SSH_AUTH_SOCK", "/tmp/agent.third");
    let terminal = Terminal::new();
    let mut child = terminal.start(scene.command(&scene.repo(), &["attach", "a"]));
    crate::support::stage::until("attach refreshes it", || target().ends_with("agent.third"));
    terminal.until_drawn("at ");
    terminal.type_in(b"\x1cd");
    assert_eq!(child.wait().expect("ends").code(), Some(0));

    // From within, the link stays what it is.
    let inside = format!("{} exec a -- true", env!("CARGO_BIN_EXE_lanes"));
    scene.sh("a", &format!("{inside} || true"));
    assert_eq!(target(), PathBuf::from("/tmp/agent.third"));
    scene.ok(&["cleanup", "a"]);
    assert!(link.symlink_metadata().is_err(), "the link is left");
}
