//! Agents in one lane, and what a run may leave behind, through the command line.

use crate::support::e2e::Scene;
use crate::support::stage::until;

/// A run that says it is up (a file of that name) and then waits for `go`.
fn waits(name: &str) -> String {
    format!("touch {name}; while ! test -e go; do sleep 0.05; done")
}

#[test]
fn a_second_agent_is_refused_until_the_lane_is_shared_and_then_both_run_at_once() {
    let scene = Scene::new();
    let lane = scene.create("a");
    scene.ok(&["join", "a", "--agent", "one"]);
    scene.ok(&["join", "a", "--agent", "one"]);
    scene.fails(&["join", "a", "--agent", "two"], 3, "LANE_NOT_SHARED");
    scene.fails(&["exec", "a", "--agent", "two", "--", "true"], 3, "LANE_NOT_SHARED");
    scene.ok(&["leave", "a", "--agent", "nobody"]);
    scene.ok(&["share", "a"]);
    let run = |agent: &str| scene.start(&["exec", "a", "--agent", agent, "--", "sh", "-c", &waits(agent)]);
    let (one, two) = (run("one"), run("two"));
    until("both are up", || lane.path.join("one").exists() && lane.path.join("two").exists());
    let shown = scene.json(&["show", "a"]);
    let agents: Vec<_> = shown["lane"]["agents"].as_array().expect("a list").iter().collect();
    assert_eq!(agents.len(), 2, "{shown}");
    assert_eq!(shown["lane"]["state"], "shared");
    scene.fails(&["unshare", "a"], 3, "SHARED_IN_USE");
    let refused = scene.lanes(&["--json", "cleanup", "a"]);
    assert_eq!(refused.code, Some(3), "{}", refused.stdout);
    assert!(refused.stdout.contains("SHARED_IN_USE"), "{}", refused.stdout);
    std::fs::write(lane.path.join("go"), "").expect("writes");
    for mut run in [one, two] {
        assert_eq!(run.wait().expect("ends").code(), Some(0));
    }
    scene.ok(&["leave", "a", "--agent", "one"]);
    scene.ok(&["leave", "a", "--agent", "two"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready", "the last one left");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn an_agent_that_runs_in_an_unshared_lane_keeps_the_others_out() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let one = scene.start(&["exec", "a", "--agent", "one", "--", "sh", "-c", &waits("one")]);
    until("it is up", || lane.path.join("one").exists());
    scene.fails(&["exec", "a", "--agent", "two", "--", "true"], 3, "LANE_NOT_SHARED");
    scene.fails(&["join", "a", "--agent", "two"], 3, "LANE_NOT_SHARED");
    std::fs::write(lane.path.join("go"), "").expect("writes");
    assert_eq!(one.wait_with_output().expect("ends").status.code(), Some(0));
    scene.ok(&["join", "a", "--agent", "two"]);
    scene.ok(&["cleanup", "a"]);
}

#[test]
fn one_run_at_a_time_in_an_unshared_lane_and_terminals_do_not_count() {
    let scene = Scene::new();
    let lane = scene.create_with(&["create", "a", "--", "sleep", "300"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "running");
    scene.sh("a", "true");
    let first = scene.start(&["exec", "a", "--", "sh", "-c", &waits("first")]);
    until("it is up", || lane.path.join("first").exists());
    scene.fails(&["exec", "a", "--", "true"], 3, "LANE_BUSY");
    scene.ok(&["share", "a"]);
    scene.sh("a", "true");
    std::fs::write(lane.path.join("go"), "").expect("writes");
    assert_eq!(first.wait_with_output().expect("ends").status.code(), Some(0));
    scene.ok(&["unshare", "a"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "running", "the terminal's command lives");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn a_timeout_leaves_none_of_the_grandchildren() {
    let scene = Scene::new();
    let lane = scene.create("a");
    let script = "trap '' TERM HUP\n\
        setsid sleep 301 &\n\
        nohup sleep 302 >/dev/null 2>&1 &\n\
        ( ( setsid sh -c 'trap \"\" TERM; sleep 303; sleep 304' ) & )\n\
        env -i setsid sleep 305 &\n\
        touch up; wait; sleep 306";
    let run =
        scene.command(&scene.repo(), &["--json", "exec", "a", "--timeout", "1s", "--", "sh", "-c", script]);
    let output = { run }.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lane.path.join("up").exists(), "it did not come so far: {said}");
    assert_eq!(output.status.code(), Some(124), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_str(&said).expect("one object");
    assert_eq!(value["task"]["exit"]["timed_out"], true, "{value}");
    // Not git of ours, which may be looking at the tree by now.
    let in_tree = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let stands = std::fs::read_link(format!("/proc/{pid}/cwd"));
        (line.starts_with(b"sleep") || line.starts_with(b"sh"))
            && stands.is_ok_and(|cwd| cwd.starts_with(&lane.path))
    };
    // The exit is told when nobody is left.
    let left: Vec<u32> = lanes::proc::all().iter().map(|one| one.pid).filter(|pid| in_tree(*pid)).collect();
    assert_eq!(left, Vec::<u32>::new());
    until("the lane is ready again", || scene.json(&["show", "a"])["lane"]["state"] == "ready");
    let timeouts = scene.events("lane.command.timeout");
    assert_eq!(timeouts.len(), 1);
    assert_eq!(timeouts[0]["task_id"], value["task"]["id"]);
    assert_eq!(timeouts[0]["lane_id"], lane.id);
    until("its keeper has left", || scene.inventory().processes.is_empty());
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn one_run_after_another_never_finds_the_lane_busy_with_the_one_before() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        for lane in ["a", "b", "c", "d"] {
            let scene = &scene;
            scope.spawn(move || {
                scene.create(lane);
                for code in 0..15 {
                    let ran = scene.lanes(&["exec", lane, "--", "sh", "-c", &format!("exit {code}")]);
                    assert_eq!(ran.code, Some(code), "{}", ran.stderr);
                }
            });
        }
    });
    scene.ok(&["cleanup", "--all"]);
    scene.nothing_open();
}
