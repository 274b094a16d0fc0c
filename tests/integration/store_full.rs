//! Tests of `src/store/reserve.rs`: a disk that is really full.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lanes::bus::{Actor, Batch, Context, Hub, Journal, Query, Table, Write};
use lanes::failure::Code;
use lanes::store::Store;
use serde_json::json;

const FOLDER: &str = "LANES_TEST_FULL_FOLDER";

#[test]
fn the_store_writes_on_with_its_reserve_when_the_disk_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    if !may_mount() {
        eprintln!("skipped: no file system of our own can be mounted here");
        return;
    }
    // A file system of 96 MiB that ends with the process that sees it.
    let script =
        "mount -t tmpfs -o size=96m,mode=700 tmpfs \"$LANES_TEST_FULL_FOLDER\" && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", "store_full::child_on_a_full_disk", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "the other process of this test"]
async fn child_on_a_full_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let reserve = folder.join("lanes.db.reserve");
    let (store, _opened) = Store::open(folder.join("lanes.db"), Hub::new()).expect("opened");
    let small = || Context::new(Actor::user()).draft("a", json!({ "text": "x".repeat(2_000) }));
    store.append(Batch { events: vec![small()], writes: vec![] }).await.expect("written");
    assert_eq!(fs::metadata(&reserve).expect("held").len(), 8 * 1024 * 1024);

    fill(&folder.join("ballast"));
    // Far more than the log has left of its allocated pages, far less than the reserve.
    for number in 0..200 {
        let writes = vec![Write::put(Table::Lanes, number, &"x".repeat(2_000))];
        store.append(Batch { events: vec![small()], writes }).await.expect("written with the reserve");
    }
    assert!(!reserve.exists());

    // When the reserve is spent too: a clear refusal, and nothing half-written.
    fill(&folder.join("more ballast"));
    let mut written = 201;
    let failure = loop {
        match store.append(Batch { events: vec![small()], writes: vec![] }).await {
            Ok(_events) => written += 1,
            Err(failure) => break failure,
        }
        assert!(written < 100_000);
    };
    assert_eq!((failure.code, failure.hint.is_some()), (Code::DiskLow, true), "{failure}");
    assert_eq!(store.head().0, written);

    // Space again: it goes on without a gap.
    fs::remove_file(folder.join("ballast")).expect("removed");
    let events = store.append(Batch { events: vec![small()], writes: vec![] }).await.expect("written");
    assert_eq!(events[0].offset, written + 1);
    drop(store);
    let (store, opened) = Store::open(folder.join("lanes.db"), Hub::new()).expect("opened");
    assert_eq!((opened.moved_aside, opened.head), (None, written + 1));
    assert!(reserve.exists());
    assert_eq!(store.read(Query { limit: 1, ..Query::default() }).await.expect("read").events.len(), 1);
}

/// Fills the disk to the last byte.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("created");
    for block in [vec![1; 1024 * 1024], vec![1; 4096], vec![1; 1]] {
        while file.write_all(&block).is_ok() {}
    }
}

fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}
