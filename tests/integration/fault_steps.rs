//! Every step of what lanes go through, cut off by `kill -9` or refused, in the real program.
//!
//! `LANES_FAULT_EVERY=1` tries also every call of git, every write of the store and of a record.

use crate::support::fault::{Ground, Kind};
use crate::support::fault_case::{Request, everywhere};

const ALL: fn(&str) -> bool = |_point| true;

#[test]
fn a_lane_that_is_being_made() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Create, ALL);
    ground.tell("create", &["create.", "provision.add", "provision.token", "provision.files"]);
}

#[test]
fn a_command_that_is_being_started() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Exec, ALL);
    ground.tell("exec", &["task.begin", "task.started", "keeper.", "keep."]);
}

#[test]
fn a_lane_that_is_being_cleaned_up() {
    let mut ground = Ground::new();
    everywhere(&mut ground, Request::Cleanup(Kind::Full), ALL);
    ground.tell("cleanup", &["clean.", "task.end", "task.asked", "retire.begin", "save."]);
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
