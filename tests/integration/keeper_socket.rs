//! The socket of a task: whoever calls, the task and the other clients go on.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lanes::keeper::protocol::{Decoder, Refusal, Reply, Request};
use lanes::keeper::{SocketPath, Spec};
use lanes::task::{Link, Notice, TaskError};

use crate::support::task::{Bench, PATIENCE, in_time, read_all, read_until};

fn raw(spec: &Spec) -> UnixStream {
    let path = SocketPath::new(spec.run_dir.as_path()).expect("its path");
    let stream = UnixStream::connect(path.as_path()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream
}

fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn garbage_ends_only_the_connection_that_sent_it() {
    let bench = Bench::new();
    let spec = bench.run("echo up; sleep 300");
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    let mut status_first = Vec::new();
    Request::Status.encode(1, &mut status_first);
    let mut short_hello = Vec::new();
    short_hello.extend_from_slice(&6_u32.to_le_bytes());
    short_hello.extend_from_slice(&[0x01, 1, 0, 0, 0, 9]);
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        &[0xff; 4096],
        &[0; 64],
        &4_u32.to_le_bytes(),
        &status_first,
        &short_hello,
    ];
    for bytes in cases {
        let mut stream = raw(&spec);
        stream.write_all(bytes).expect("sent");
        assert!(is_closed(&mut stream), "{bytes:?} was taken");
    }
    // Half a frame, and then nothing: it waits, and nobody else does.
    let mut half = raw(&spec);
    half.write_all(&[9, 0, 0]).expect("sent");
    let silent = raw(&spec);
    link.status().await.expect("still answers");
    drop((half, silent));
    link.status().await.expect("still answers");
    end(&bench, &spec).await;
}

#[tokio::test]
async fn frames_may_come_in_pieces_and_unknown_ones_are_refused() {
    let bench = Bench::new();
    let spec = bench.run("sleep 300");
    bench.start(&spec).await;
    let mut stream = raw(&spec);
    let mut bytes = Vec::new();
    Request::Hello { min: 1, max: 9 }.encode(7, &mut bytes);
    // A kind of the future, with its id.
    bytes.extend_from_slice(&[8, 0, 0, 0, 0x7e, 8, 0, 0, 0, 1, 2, 3]);
    for byte in bytes {
        stream.write_all(&[byte]).expect("sent");
    }
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    let mut buffer = [0; 512];
    while replies.len() < 2 {
        let n = stream.read(&mut buffer).expect("read");
        assert!(n > 0, "closed");
        decoder.feed(&buffer[..n]);
        while let Some(frame) = decoder.frame().expect("a frame") {
            replies.push((frame.id, Reply::decode(&frame).expect("readable").expect("known")));
        }
    }
    assert!(matches!(&replies[0], (7, Reply::Hello(g)) if g.task == spec.id));
    assert!(matches!(&replies[1], (8, Reply::Refused(Refusal::Unknown, _))));
    let mut future = raw(&spec);
    let mut bytes = Vec::new();
    Request::Hello { min: 2, max: 9 }.encode(1, &mut bytes);
    future.write_all(&bytes).expect("sent");
    let mut answer = Vec::new();
    future.read_to_end(&mut answer).expect("closed after the answer");
    assert!(String::from_utf8_lossy(&answer).contains("versions 1 to 1"));
    end(&bench, &spec).await;
}

#[tokio::test]
async fn probes_and_many_clients_displace_nobody() {
    let bench = Bench::new();
    let spec = bench.run("read x </dev/null; echo up; sleep 300");
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    let mut subscription = link.subscribe(0).await.expect("subscribed");
    assert_eq!(in_time("a notice", subscription.next()).await, Notice::Offset(3));
    let crowd: Vec<_> =
        (0..200).map(|_| UnixStream::connect(spec.run_dir.as_path().join("keeper.sock"))).collect();
    assert_eq!(link.status().await.expect("still answers").end, 3);
    drop(crowd);
    // A place is free again once the crowd's end was noticed.
    let again = in_time("a place", async {
        loop {
            if let Ok(link) = Link::connect(spec.run_dir.as_path()).await {
                break link;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    again.kill_tree(Duration::ZERO).await.expect("begun");
    assert!(matches!(in_time("the end", subscription.next()).await, Notice::Exited(_)));
    assert_eq!(in_time("the end", subscription.next()).await, Notice::Gone);
    assert!(matches!(link.status().await, Err(TaskError::Gone)));
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works_and_folders_are_ours_alone() {
    let bench = Bench::new();
    let mut spec = bench.run("echo up; sleep 300");
    let deep = bench.home().join("very-long-name-".repeat(12)).join(spec.id.to_string());
    spec.run_dir = deep.as_path().into();
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    link.status().await.expect("answers");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&deep.join("keeper.sock")), 0o600);
    assert_eq!(mode(&deep.join("task.json")), 0o600);
    assert_eq!(mode(spec.log_dir.as_path()), 0o700);
    read_until(&spec, "up").await;
    assert_eq!(mode(&spec.log_dir.as_path().join(format!("{:020}.log", 0))), 0o600);
    end(&bench, &spec).await;
    assert!(!deep.join("keeper.sock").exists());
}

#[tokio::test]
async fn a_removed_folder_is_not_made_again_and_the_program_goes_on() {
    let bench = Bench::new();
    let mut spec = bench.run("echo up; read x; head -c 2000000 /dev/zero; echo; sleep 300");
    spec.shape = lanes::keeper::Shape::Run { stdin: true };
    spec.log_limit = 1 << 20;
    let started = bench.start(&spec).await;
    let link = bench.link(&spec).await;
    read_until(&spec, "up").await;
    std::fs::remove_dir_all(spec.log_dir.as_path()).expect("removed");
    std::fs::remove_dir_all(spec.run_dir.as_path()).expect("removed");
    let mut news = link.subscribe(3).await.expect("subscribed");
    link.input_all(b"go\n").await.expect("typed");
    in_time("all output", async { while news.next().await != Notice::Offset(2_000_004) {} }).await;
    link.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the end", started.keeper_gone.wait()).await;
    assert!(!spec.log_dir.as_path().exists() && !spec.run_dir.as_path().exists());
}

#[tokio::test]
async fn a_disk_that_is_full_blocks_nobody_and_leaves_an_explicit_gap() {
    let bench = Bench::new();
    let mut spec =
        bench.run("echo up; read x; head -c 300000 /dev/zero | tr '\\0' l; read x; echo; echo end");
    spec.shape = lanes::keeper::Shape::Run { stdin: true };
    let started = bench.start(&spec).await;
    let link = bench.link(&spec).await;
    let mut news = link.subscribe(0).await.expect("subscribed");
    read_until(&spec, "up").await;
    // No file of the keeper's may grow any more, which is what a full disk looks like to it.
    let keeper = rustix::process::Pid::from_raw(i32::try_from(started.identity.keeper_pid).expect("a pid"));
    let limit = |current| rustix::process::Rlimit { current, maximum: None };
    let set = |current| {
        rustix::process::prlimit(keeper, rustix::process::Resource::Fsize, limit(current)).expect("limited")
    };
    set(Some(3));
    link.input_all(b"go\n").await.expect("typed");
    in_time("all output", async { while link.status().await.expect("answers").end < 300_003 {} }).await;
    set(None);
    // What it holds in memory it writes by itself, and tells only then.
    in_time("what was held", async { while news.next().await != Notice::Offset(300_003) {} }).await;
    assert_eq!(lanes::task::LogReader::open(spec.log_dir.as_path(), 0).end().expect("reads"), 300_003);
    link.input_all(b"go\n").await.expect("typed");
    let out = read_all(&spec).await;
    assert_eq!(out.exit.expect("an exit").end, 300_008);
    let lost: u64 = out.gaps.iter().map(|(from, to)| to - from).sum();
    assert_eq!(lost + out.all.len() as u64, 300_008);
    assert!(
        (1..=60_000).contains(&lost) && out.all.starts_with(b"up\n") && out.all.ends_with(b"\nend\n"),
        "{:?}",
        out.gaps
    );
}

#[tokio::test]
async fn a_caller_is_told_apart_by_the_keeper_above_it() {
    let bench = Bench::new();
    let spec = bench.run("echo up; env -i setsid sleep 300 & sleep 300");
    let started = bench.start(&spec).await;
    read_until(&spec, "up").await;
    let (pid, home) = (started.identity.pid, bench.home());
    assert_eq!(lanes::task::peer_lane(pid, &home), Some(spec.id));
    for process in lanes::proc::descendants(started.identity.keeper_pid) {
        assert_eq!(lanes::task::peer_lane(process.pid, &home), Some(spec.id));
    }
    assert_eq!(lanes::task::peer_lane(std::process::id(), &home), None);
    assert_eq!(lanes::task::peer_lane(pid, &home.join("other")), None);
    end(&bench, &spec).await;
}

async fn end(bench: &Bench, spec: &Spec) {
    let link = bench.link(spec).await;
    link.kill_tree(Duration::ZERO).await.expect("begun");
    in_time("the end", link.gone()).await;
    assert!(bench.marked().is_empty());
}
