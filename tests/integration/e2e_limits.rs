//! Limits of a lane, by what this machine has for them: tests look at what `show` says.

use serde_json::Value;

use crate::support::e2e::Scene;
use crate::support::stage::until;

fn scene(config: &str) -> Scene {
    let scene = Scene::new();
    let folder = scene.path().join("user/.config/lanes");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), config).expect("a configuration");
    scene
}

fn held(scene: &Scene, lane: &str, limit: &str) -> Option<(u64, String)> {
    let guarantees = scene.json(&["show", lane])["lane"]["guarantees"].clone();
    let all = guarantees["in_force"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one: &Value| one["limit"] == limit)?;
    Some((found["value"].as_u64()?, found["by"].as_str()?.to_owned()))
}

#[test]
fn limits_are_in_force_and_told() {
    let scene = scene("[limits]\nmemory = \"512MiB\"\nprocesses = 90\ncpu_weight = 50\nopen_files = 200\n");
    scene.create("a");
    let promised = scene.json(&["show", "a"])["lane"]["guarantees"].clone();
    assert_eq!(scene.sh("a", "ulimit -n"), "200");
    scene.ok(&["exec", "a", "--detach", "--", "sleep", "300"]);
    let now = scene.json(&["show", "a"])["lane"]["guarantees"].clone();
    assert_eq!(now, promised, "what was promised is not what holds");
    assert_eq!(held(&scene, "a", "open_files"), Some((200, "rlimits".into())));
    assert!(matches!(held(&scene, "a", "memory"), Some((value, _)) if value == 512 << 20));
    assert!(matches!(now["tree_kill"].as_str(), Some("cgroup" | "subreaper")), "{now}");
    assert!(scene.ok(&["show", "a"]).contains("open_files 200 (rlimits)"));
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn a_run_over_its_memory_is_ended_and_only_it() {
    let scene = scene("[limits]\nmemory = \"200MiB\"\n");
    scene.create("a");
    scene.create("b");
    scene.ok(&["exec", "b", "--detach", "--", "sleep", "300"]);
    // Some hundred megabytes in one variable.
    let greedy = "x=$(head -c 600000000 /dev/zero | tr '\\0' x); echo got ${#x}";
    let ran = scene.lanes(&["exec", "a", "--", "sh", "-c", greedy]);
    assert_ne!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(!ran.stdout.contains("got 600000000"), "{}", ran.stdout);
    assert_eq!(scene.sh("a", "echo again"), "again");
    let other = scene.json(&["show", "b"])["lane"].clone();
    assert_eq!(other["state"], "running", "another lane was harmed");
}

#[test]
fn processes_that_multiply_stay_within_their_limit() {
    let scene = scene("[limits]\nprocesses = 40\n");
    scene.create("a");
    let Some((limit, by)) = held(&scene, "a", "processes") else {
        eprintln!("nothing limits processes here");
        return;
    };
    assert_eq!(limit, 40, "by {by}");
    // At most 200 tries, each child sleeps: without a limit all would be there.
    let bomb = "i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i+1)); done; echo all";
    scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", bomb]);
    let count = || {
        let pid = scene.json(&["show", "a"])["lane"]["tasks"][0]["keeper_pid"].as_u64();
        pid.map_or(0, |pid| lanes::proc::descendants(u32::try_from(pid).expect("a pid")).len())
    };
    until("it runs into the limit", || count() >= 30 || scene.ok(&["show", "a"]).contains("ended"));
    assert!(count() <= 40, "{} are there", count());
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
}

#[test]
fn groups_go_with_their_lane() {
    let scene = Scene::new();
    scene.create("a");
    scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", "setsid sleep 300 & sleep 300"]);
    let task = scene.json(&["show", "a"])["lane"]["tasks"][0].clone();
    let read = |pid: &Value| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("reads");
    let (command, keeper) = (read(&task["pid"]), read(&task["keeper_pid"]));
    let in_group = scene.json(&["show", "a"])["lane"]["guarantees"]["tree_kill"] == "cgroup";
    let id = task["id"].as_str().expect("an id");
    assert_eq!(command.contains(id), in_group, "{command}");
    assert!(!keeper.contains(id), "the keeper is in the group that is ended: {keeper}");
    scene.ok(&["cleanup", "a"]);
    scene.nothing_open();
    let group = command.lines().find_map(|line| line.strip_prefix("0::"));
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if let (true, Some(group)) = (in_group, group) {
            assert!(!std::path::Path::new(&format!("{root}{group}")).exists(), "{group} is left");
        }
    }
}

#[test]
fn what_hides_from_a_sweep_is_found_in_its_group() {
    let scene = Scene::new();
    scene.create("a");
    let mark = scene.path().join("hidden");
    let hide = format!(
        "env -i PATH=\"$PATH\" setsid sh -c '(trap \"\" TERM HUP; echo $$ >{}; sleep 300; sleep 300) & exit 0' & sleep 300",
        mark.display()
    );
    scene.ok(&["exec", "a", "--detach", "--", "sh", "-c", &hide]);
    let lane = scene.json(&["show", "a"])["lane"].clone();
    until("the hidden one runs", || mark.exists());
    let keeper = u32::try_from(lane["tasks"][0]["keeper_pid"].as_u64().expect("a pid")).expect("a pid");
    let below = lanes::proc::descendants(keeper);
    assert!(below.len() >= 3, "{below:?}");
    let killed = lanes::proc::process(keeper).expect("it lives");
    assert!(lanes::keeper::signal(&killed, &[rustix::process::Signal::KILL]));
    scene.ok(&["cleanup", "a"]);
    let alive = |p: &lanes::proc::Process| {
        lanes::proc::process(p.pid).is_some_and(|now| now.start == p.start && !now.is_dead())
    };
    if lane["guarantees"]["tree_kill"] == "cgroup" {
        let left: Vec<_> = below.iter().filter(|p| alive(p)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    for process in below.iter().filter(|p| alive(p)) {
        lanes::keeper::signal(process, &[rustix::process::Signal::KILL]);
    }
}
