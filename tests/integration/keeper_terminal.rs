//! Terminals: a real pseudo-terminal under a keeper.

use std::time::Duration;

use lanes::keeper::{ExitStatus, Shape};
use lanes::task::{Piece, TaskError};

use crate::support::task::{Bench, in_time, read_all, read_until, wait_for};

#[tokio::test]
async fn a_terminal_is_one_with_size_job_control_and_a_foreground_group() {
    let bench = Bench::new();
    let spec = bench.spec(
        Shape::Terminal { cols: 123, rows: 45 },
        &["bash", "--norc", "-c", "test -t 0 && test -t 1 && test -t 2 && echo tty; stty size; set -m; echo >/dev/tty ok; tty; exit 9"],
    );
    bench.start(&spec).await;
    let out = read_all(&spec).await;
    let text = String::from_utf8_lossy(&out.all).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["tty", "45 123", "ok"]);
    assert!(lines[3].starts_with("/dev/pts/"), "{text:?}");
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(9));
}

#[tokio::test]
async fn keys_reach_the_program_and_the_interrupt_key_interrupts() {
    let bench = Bench::new();
    let spec = bench.terminal(
        "read line; echo got:$line; trap 'echo int; exit 130' INT; echo wait; while :; do sleep 0.05; done",
    );
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    link.input_all(b"hello\r").await.expect("typed");
    read_until(&spec, "wait").await;
    link.input_all(b"\x03").await.expect("typed");
    let out = read_all(&spec).await;
    let text = String::from_utf8_lossy(&out.all).into_owned();
    assert!(text.contains("got:hello"), "{text:?}");
    assert!(text.contains("^C"), "{text:?}");
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(130));
}

#[tokio::test]
async fn a_resize_reaches_the_program_and_the_record() {
    let bench = Bench::new();
    let spec = bench.terminal("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
    bench.start(&spec).await;
    read_until(&spec, "ready").await;
    let link = bench.link(&spec).await;
    link.resize(100, 30).await.expect("resized");
    read_until(&spec, "30 100").await;
    let report = link.status().await.expect("a report");
    assert_eq!((report.cols, report.rows), (Some(100), Some(30)));
    for (cols, rows) in [(0, 1), (1, 0), (10_001, 1), (1, 65_535)] {
        assert!(matches!(link.resize(cols, rows).await, Err(TaskError::Refused { .. })));
    }
    let mut reader = lanes::task::LogReader::open(spec.log_dir.as_path(), 0);
    let mut sizes = Vec::new();
    while let Some(Piece::Chunk(chunk)) = reader.read_chunk().expect("reads") {
        sizes.push(chunk.size);
    }
    assert_eq!((sizes.first(), sizes.last()), (Some(&(80, 24)), Some(&(100, 30))));
    link.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the end", link.gone()).await;
}

#[tokio::test]
async fn a_signal_goes_to_the_foreground_group_only() {
    let bench = Bench::new();
    let script = "trap 'echo shell-survives' EXIT; set -m; echo ready; sh -c 'echo inner; exec sleep 300'; echo status:$?";
    let spec = bench.spec(Shape::Terminal { cols: 80, rows: 24 }, &["bash", "--norc", "-c", script]);
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    read_until(&spec, "inner").await;
    link.signal(15).await.expect("sent");
    let out = read_all(&spec).await;
    assert!(
        String::from_utf8_lossy(&out.all).contains("status:143"),
        "{:?}",
        String::from_utf8_lossy(&out.all)
    );
    assert!(matches!(link.signal(999).await, Err(TaskError::Refused { .. } | TaskError::Gone)));
}

#[tokio::test]
async fn the_last_words_of_short_commands_are_recorded() {
    let bench = Bench::new();
    for round in 0..60 {
        let spec = bench.terminal(&format!("seq 1 200; printf last-{round}"));
        let started = bench.start(&spec).await;
        let out = read_all(&spec).await;
        assert!(
            out.all.ends_with(format!("200\r\nlast-{round}").as_bytes()),
            "round {round}: {:?}",
            String::from_utf8_lossy(&out.all)
        );
        in_time("the keeper's end", started.keeper_gone.wait()).await;
    }
}

#[tokio::test]
async fn a_program_that_closes_its_terminal_for_a_while_is_not_taken_for_ended() {
    let bench = Bench::new();
    let spec =
        bench.terminal("exec </dev/null >/dev/null 2>&1; sleep 0.2; exec >/dev/tty; echo back; exit 3");
    bench.start(&spec).await;
    let out = read_all(&spec).await;
    assert_eq!(String::from_utf8_lossy(&out.all), "back\r\n");
    assert_eq!(out.exit.expect("an exit").status, ExitStatus::Code(3));
}

#[tokio::test]
async fn nobody_who_reads_or_types_blocks_the_program() {
    let bench = Bench::new();
    let spec = bench.terminal("stty raw -echo; echo ready; seq 1 200000; echo done; sleep 300");
    bench.start(&spec).await;
    // A client that subscribes and never reads.
    let stalled = bench.link(&spec).await;
    let _never_asked = stalled.subscribe(0).await.expect("subscribed");
    read_until(&spec, "ready").await;
    let link = bench.link(&spec).await;
    let pasted = vec![b'x'; 64 << 10];
    while link.input(&pasted).await.expect("accepted") == pasted.len() {}
    let text = read_until(&spec, "done").await;
    assert!(text.contains("199999"));
    wait_for("a full queue", || true).await;
    link.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the end", link.gone()).await;
}

#[tokio::test]
async fn a_program_that_writes_and_ends_at_once_is_recorded() {
    let bench = Bench::new();
    let rounds = std::env::var("LANES_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    for round in 0..rounds {
        let text = format!("word-{round}");
        let spec = bench.spec(Shape::Terminal { cols: 80, rows: 24 }, &["echo", &text]);
        let started = bench.start(&spec).await;
        let out = read_all(&spec).await;
        assert_eq!(String::from_utf8_lossy(&out.all), format!("{text}\r\n"));
        in_time("the keeper's end", started.keeper_gone.wait()).await;
    }
}
