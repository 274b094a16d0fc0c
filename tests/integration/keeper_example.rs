//! `examples/stream.py`: another user interface, in another language, on a real keeper.

use std::process::Command;

use crate::support::task::{Bench, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn the_example_follows_a_terminal_resizes_it_and_types() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    let bench = Bench::new();
    let spec = bench.terminal("echo before; read line; stty size; echo got:$line; exit 5");
    bench.start(&spec).await;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/stream.py");
    let mut command = tokio::process::Command::new("python3");
    command.arg(example).arg(spec.run_dir.as_path()).arg("a line").kill_on_drop(true);
    let out = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    let (text, told) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("before") && text.contains("30 100"), "{text:?} {told:?}");
    assert!(text.ends_with("got:a line\r\n"), "{text:?} {told:?}");
    assert!(told.contains("100 x 30, owner 1"), "{told:?}");
    assert_eq!(out.status.code(), Some(5), "{told:?}");
}
