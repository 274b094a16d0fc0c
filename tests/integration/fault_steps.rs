//! Every step of what lanes go through, cut off by `kill -9` or refused, in the real program.
//!
//! `LANES_FAULT_EVERY=1` tries also every call of git, every write of the store and of a record.

use std::path::Path;

use crate::support::fault::{Ground, Kind};
use crate::support::fault_case::{Request, everywhere};

const ALL: fn(&str) -> bool = |_point| true;

#[test]
fn a_lane_that_is_being_made() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Create, ALL);
    ground.tell(
        "create",
        &["create.", "provision.add", "provision.token", "provision.files", "file.replace", "store.begin"],
    );
}

#[test]
fn a_command_that_is_being_started() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Exec, ALL);
    ground.tell("exec", &["task.begin", "task.started", "keeper.", "keep.", "store.commit"]);
}

#[test]
fn a_lane_that_is_being_cleaned_up() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Cleanup(Kind::Full), ALL);
    ground.tell("cleanup", &["clean.", "task.end", "task.asked", "save.", "git.", "lock.", "record."]);
}

#[test]
fn a_merged_lane_that_is_being_cleaned_up() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Cleanup(Kind::Merged), |point| {
        point.starts_with("retire.") || point == "git.run" || point == "record.write"
    });
    ground.tell("cleanup of what is merged", &["retire."]);
}

#[test]
fn a_lane_that_is_being_restored() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Restore(Kind::Full), ALL);
    ground.tell("restore", &["restore.", "forget."]);
}

#[test]
fn a_lane_kept_whole_that_is_being_restored() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Restore(Kind::Nested), |point| point.starts_with("restore."));
    everywhere(&mut ground, Request::Restore(Kind::Merged), |point| point.starts_with("restore.b"));
    ground.tell("restore of a whole tree", &["restore.branch"]);
}

#[test]
fn trash_that_is_being_emptied() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Empty(Kind::Full), ALL);
    ground.tell("trash empty", &["empty.", "forget."]);
}

#[test]
fn every_fail_point_is_reached_by_some_test() {
    let texts = [include_str!("fault_steps.rs"), include_str!("fault_recovery.rs")].join("\n");
    let told: Vec<&str> = texts
        .split("ground.tell(")
        .skip(1)
        .filter_map(|call| call.split(");").next())
        .flat_map(|call| call.split('"').skip(3).step_by(2))
        .collect();
    // Or a test has it in a table or rule of its own.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.expect("an entry").path()).expect("reads")
    };
    let all: Vec<String> = std::fs::read_dir(folder).expect("a folder").map(read).collect();
    let named = |point: &&&str| {
        told.iter().any(|start| point.starts_with(start))
            || all
                .iter()
                .any(|text| text.contains(&format!("\"{point}\"")) || text.contains(&format!("{point}=")))
    };
    let missed: Vec<_> = lanes::fault::POINTS.iter().filter(|point| !named(point)).collect();
    assert!(missed.is_empty(), "no test waits for {missed:?}");
}
