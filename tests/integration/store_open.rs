//! Tests of `src/store/open.rs` and `src/store/schema.rs`: what a start may find.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lanes::bus::{Actor, Batch, Context, Hub, Journal, Query};
use lanes::failure::{Code, Failure};
use lanes::store::{Opened, Store, StoreError, VERSION};
use serde_json::json;

/// Damages a store with 2,000 events and expects that it is moved aside and a new one is made.
#[track_caller]
fn check_damage(damage: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    let before = fill(&path, 2_000);
    damage(&path);
    let (store, opened) = Store::open(&path, Hub::new()).expect("opened all the same");
    let aside = opened.moved_aside.clone().expect("moved aside");
    assert!(aside.exists() && aside.to_string_lossy().contains("lanes.db.corrupt-"));
    assert!(opened.created && opened.epoch != before.epoch && opened.head == 0, "{opened:?}");
    drop(store);
    fill(&path, 1);
    let (_store, opened) = Store::open(&path, Hub::new()).expect("opened");
    assert_eq!((opened.moved_aside, opened.head), (None, 1));
}

#[test]
fn a_file_that_is_no_store_is_moved_aside() {
    check_damage(|path| {
        fs::write(path, "a text that is no database, and long enough to be read").expect("write")
    });
}

#[test]
fn a_store_with_a_damaged_page_is_moved_aside() {
    check_damage(|path| {
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8192].fill(0xA5);
        fs::write(path, bytes).expect("write");
    });
}

#[test]
fn a_store_that_was_cut_off_is_moved_aside() {
    check_damage(|path| {
        let length = fs::metadata(path).expect("there").len();
        let file = fs::OpenOptions::new().write(true).open(path).expect("open");
        file.set_len(length / 2).expect("cut");
    });
}

#[test]
fn a_store_whose_newest_events_are_missing_is_moved_aside() {
    check_damage(|path| {
        let other = rusqlite::Connection::open(path).expect("open");
        other.execute("DELETE FROM events WHERE offset > 1990", []).expect("delete");
    });
}

#[test]
fn a_store_without_its_tables_is_moved_aside() {
    check_damage(|path| {
        let other = rusqlite::Connection::open(path).expect("open");
        other.execute_batch("DROP TABLE journal").expect("drop");
    });
}

#[test]
fn a_database_of_somebody_else_is_moved_aside() {
    check_damage(|path| {
        fs::remove_file(path).expect("remove");
        let other = rusqlite::Connection::open(path).expect("open");
        other.execute_batch("CREATE TABLE theirs (x)").expect("create");
    });
}

#[test]
fn a_log_without_its_store_is_moved_aside_too() {
    check_damage(|path| {
        fs::write(path, "").expect("empty");
        fs::write(format!("{}-wal", path.display()), "what is left of a log").expect("write");
    });
}

#[test]
fn an_empty_file_is_a_new_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    fs::write(&path, "").expect("write");
    let (_store, opened) = Store::open(&path, Hub::new()).expect("opened");
    assert_eq!((opened.created, opened.moved_aside), (true, None));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    fill(&path, 3);
    let other = rusqlite::Connection::open(&path).expect("open");
    other.pragma_update(None, "user_version", VERSION + 1).expect("set");
    drop(other);
    let bytes = fs::read(&path).expect("read");
    let error = Store::open(&path, Hub::new()).expect_err("refused");
    assert!(matches!(error, StoreError::Newer { .. }));
    assert_eq!(Failure::from(error).code, Code::StoreNewer);
    assert_eq!(fs::read(&path).expect("read"), bytes);
}

#[test]
fn every_file_is_only_for_its_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    fs::write(&path, "").expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
    let (_store, _opened) = Store::open(&path, Hub::new()).expect("opened");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("list") {
        let entry = entry.expect("entry");
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names[..3], ["lanes.db", "lanes.db-shm", "lanes.db-wal"]);
}

#[test]
fn a_link_or_folder_in_its_place_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    let target = folder.path().join("target");
    symlink(&target, &path).expect("link");
    assert!(matches!(Store::open(&path, Hub::new()), Err(StoreError::NotAFile { .. })));
    assert!(!target.exists());
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("folder");
    assert!(matches!(Store::open(&path, Hub::new()), Err(StoreError::NotAFile { .. })));
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing").join("lanes.db");
    check_refused(&missing, "No such file");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).expect("chmod");
    // Root writes everywhere else; in /proc nobody does.
    if rustix::process::geteuid().is_root() {
        check_refused(Path::new("/proc/lanes.db"), "/proc/lanes.db");
    } else {
        check_refused(&folder.path().join("lanes.db"), "ermission denied");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[track_caller]
fn check_refused(path: &Path, expected: &str) {
    let failure = Failure::from(Store::open(path, Hub::new()).expect_err("refused"));
    assert_eq!(failure.code, Code::Io);
    assert!(failure.message.contains(expected) && failure.hint.is_some(), "{failure:?}");
}

#[tokio::test]
async fn a_second_writer_is_noticed_before_an_offset_comes_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lanes.db");
    let (first, _opened) = Store::open(&path, Hub::new()).expect("opened");
    let (second, _opened) = Store::open(&path, Hub::new()).expect("opened");
    let context = Context::new(Actor::user());
    let batch = || Batch { events: vec![context.draft("a", json!({}))], writes: vec![] };
    second.append(batch()).await.expect("written");
    let failure = first.append(batch()).await.expect_err("refused");
    assert!(failure.message.contains("somebody else"), "{failure}");
    assert_eq!(first.read(Query::default()).await.expect("read").events.len(), 1);
}

fn fill(path: &Path, events: usize) -> Opened {
    let (store, opened) = Store::open(path, Hub::new()).expect("opened");
    let context = Context::new(Actor::user());
    let events = (0..events).map(|number| context.draft("a", json!({ "number": number }))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(store.append(Batch { events, writes: vec![] })).expect("written");
    opened
}
