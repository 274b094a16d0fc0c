//! The trash for people: what is in it, how large, for how long, and how it is freed.

use crate::support::e2e::{Made, Scene};
use crate::support::git::write;
use crate::support::stage::until;
use crate::support::tty::Terminal;

fn closed(scene: &Scene, name: &str, bytes: usize) -> Made {
    let lane = scene.create(name);
    let mut noise = 7_u64;
    let byte = |_at| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 33) as u8
    };
    std::fs::write(lane.path.join("large"), (0..bytes).map(byte).collect::<Vec<u8>>()).expect("a file");
    scene.ok(&["cleanup", name]);
    assert_eq!(scene.saved(&lane.id)["state"], "archived");
    until("it is freed", || !scene.root().join(".trash").join(&lane.id).join("tree").exists());
    lane
}

#[test]
fn sizes_ages_and_reasons_are_told_to_people_and_programs() {
    let scene = Scene::new();
    let small = closed(&scene, "small", 10);
    let large = closed(&scene, "large", 3 << 20);
    let listed = scene.json(&["trash", "ls"]);
    let entries = listed["trash"].as_array().expect("a list");
    let bytes = |entry: &serde_json::Value| entry["bytes"].as_u64().expect("bytes");
    assert!(bytes(&entries[0]) < 1 << 20 && bytes(&entries[1]) > 3 << 20, "{listed}");
    assert_eq!(bytes(&listed), bytes(&entries[0]) + bytes(&entries[1]));
    assert_eq!(entries[0]["id"].as_str(), Some(small.id.as_str()));
    for entry in entries {
        for field in ["at", "expires", "path", "branch", "head"] {
            assert!(entry[field].is_string(), "{field} in {entry}");
        }
        assert!(entry["expires"].as_str() > entry["at"].as_str(), "{entry}");
    }
    let told = scene.ok(&["trash", "ls"]);
    assert!(told.contains("3.1 MiB") && told.contains("29d") && told.contains(" in all"), "{told}");
    assert!(told.contains("2 saved"), "{told}");
    let before = scene.inventory();
    let would = scene.ok(&["trash", "empty", "--dry-run", "large"]);
    assert!(would.starts_with(&format!("would free large ({}), 3.", large.id)), "{would}");
    assert_eq!(scene.ok(&["trash", "empty", "--yes", "--older-than", "1h"]), "");
    assert_eq!(scene.inventory(), before);
    let freed = scene.json(&["trash", "empty", "--yes", "--older-than", "1ms", "large"]);
    assert_eq!(freed["trash"][0]["id"].as_str(), Some(large.id.as_str()), "{freed}");
    assert_eq!(scene.inventory().trash.len(), 1);
    let refused = scene.lanes(&["trash", "empty"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("small") && refused.stderr.contains("--yes"), "{}", refused.stderr);
}

#[test]
fn the_oldest_go_when_the_trash_is_larger_than_it_may_be() {
    let scene = Scene::new();
    let lanes: Vec<Made> = (0..3).map(|at| closed(&scene, &format!("l{at}"), 1 << 20)).collect();
    write(&scene.path().join("user/.config/lanes/config.toml"), "[trash]\nmax = \"2500KiB\"\n");
    scene.ok(&["daemon", "restart"]);
    until("the oldest is freed", || scene.inventory().trash.len() == 2);
    assert!(!scene.inventory().trash.contains(&lanes[0].id));
    assert!(scene.restore(&["l1"]).path.join("large").exists());
}

#[test]
fn an_entry_that_cannot_be_read_is_shown_and_harms_no_other() {
    let scene = Scene::new().without_spares();
    let (bad, good) = (closed(&scene, "bad", 10), closed(&scene, "good", 10));
    let held = scene.root().join(".trash").join(&bad.id);
    write(&held.join("entry.json"), "{\"order\":");
    let listed = scene.json(&["trash", "ls"]);
    assert_eq!(listed["trash"].as_array().map(Vec::len), Some(1), "{listed}");
    let left = &listed["leftovers"][0];
    assert_eq!(left["id"].as_str(), Some(bad.id.as_str()), "{listed}");
    assert!(left["bytes"].as_u64() > Some(0) && left["reason"].to_string().contains("entry.json"), "{left}");
    let told = scene.ok(&["trash", "ls"]);
    assert!(told.contains(&format!("{} (", held.display())) && told.contains("cannot be restored"), "{told}");
    let error = scene.fails(&["restore", "bad"], 1, "IO");
    assert!(error["hint"].to_string().contains("files.tar.gz"), "{error}");
    // Its files can be had by hand, as told.
    let files = held.join("files.tar.gz");
    let unpacked = std::process::Command::new("tar").arg("-tzf").arg(&files).output().expect("tar starts");
    assert!(String::from_utf8_lossy(&unpacked.stdout).contains("large"));
    scene.ok(&["daemon", "restart"]);
    let back = scene.restore(&["good"]);
    assert!(back.path.join("large").exists());
    scene.ok(&["cleanup", "good"]);
    // All means all that can be read.
    scene.ok(&["trash", "empty", "--yes"]);
    assert_eq!(scene.inventory().trash.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&bad.id));
    let freed = scene.ok(&["trash", "empty", "--yes", &bad.id]);
    assert!(freed.contains(&format!("freed {}", held.display())), "{freed}");
    assert!(!scene.root().exists());
    let _good = good;
}

#[test]
fn what_would_happen_is_told_before_it_does() {
    let scene = Scene::new();
    let changed = scene.create("changed");
    write(&changed.path.join("new"), "x\n");
    let gone = scene.create("gone");
    std::fs::remove_dir_all(&gone.path).expect("removed");
    let shared = scene.create("shared");
    scene.ok(&["share", "shared"]);
    scene.ok(&["join", "shared", "--agent", "one"]);
    scene.ok(&["join", "shared", "--agent", "two"]);
    scene.sh("changed", "git add -A; git commit -qm own; echo y > newer");
    let before = scene.inventory();
    let says = |args: &[&str], words: &[&str]| {
        let ran = scene.lanes(args);
        for word in words {
            assert!(ran.stdout.contains(word), "{args:?} does not say {word:?}: {}", ran.stdout);
        }
        ran.code
    };
    let dry = ["cleanup", "--dry-run"];
    let words =
        ["would be closed", "1 changed or new files would be kept", "would keep the branch lanes/changed"];
    assert_eq!(says(&[&dry[..], &["changed"]].concat(), &words), Some(0));
    let words = ["only what was committed is left", "would delete the branch lanes/gone"];
    assert_eq!(says(&[&dry[..], &["gone"]].concat(), &words), Some(0));
    // What it would refuse it refuses now.
    let refused = scene.lanes(&["cleanup", "shared"]);
    assert_eq!(says(&[&dry[..], &["shared"]].concat(), &["--force"]), refused.code, "{}", refused.stdout);
    assert_eq!(says(&[&dry[..], &["--force", "shared"]].concat(), &["would be closed"]), Some(0));
    assert_eq!(scene.inventory(), before);
    assert!(shared.path.exists());
}

#[test]
fn who_is_asked_frees_what_was_shown_and_nothing_else() {
    let scene = Scene::new();
    let shown = closed(&scene, "shown", 10);
    let ask = |answer: &[u8], meanwhile: &dyn Fn()| {
        let terminal = Terminal::new();
        let mut child = terminal.start(scene.command(&scene.repo(), &["trash", "empty"]));
        terminal.until_drawn(&shown.id);
        terminal.until_drawn("[y/N]");
        meanwhile();
        terminal.type_in(answer);
        child.wait().expect("ends").code()
    };
    assert_eq!(ask(b"\r", &|| {}), Some(1));
    assert_eq!(scene.inventory().trash.len(), 1);
    let later = || drop(closed(&scene, "later", 10));
    assert_eq!(ask(b"y\r", &later), Some(0));
    let listed = scene.json(&["trash", "ls"]);
    let names: Vec<_> =
        listed["trash"].as_array().expect("a list").iter().map(|entry| entry["name"].as_str()).collect();
    assert_eq!(names, [Some("later")], "what was closed meanwhile was not shown");
}
