//! Runs: commands behind pipes, under a keeper of their own.

use lanes::failure::{Code, Failure};
use lanes::keeper::{ExitStatus, Shape};
use lanes::raw::Raw;
use lanes::task::{TaskError, read_exit, read_identity};

use crate::support::task::{Bench, in_time, read_all, read_until, wait_for};

async fn status_of(script: &str) -> ExitStatus {
    let bench = Bench::new();
    let spec = bench.run(script);
    bench.start(&spec).await;
    read_all(&spec).await.exit.expect("an exit").status
}

#[tokio::test]
async fn exit_codes_and_signals_are_passed_on() {
    assert_eq!(status_of("exit 0").await, ExitStatus::Code(0));
    assert_eq!(status_of("exit 7").await, ExitStatus::Code(7));
    assert_eq!(status_of("kill -9 $$").await, ExitStatus::Signal(9));
    assert_eq!(status_of("kill -TERM $$").await, ExitStatus::Signal(15));
}

#[tokio::test]
async fn standard_output_and_error_are_told_apart_and_in_order() {
    let bench = Bench::new();
    let spec = bench.run("i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done");
    bench.start(&spec).await;
    let out = read_all(&spec).await;
    let lines = |prefix: &str| (0..300).map(|i| format!("{prefix}{i}\n")).collect::<String>();
    assert_eq!(String::from_utf8_lossy(&out.stdout), lines("o"));
    assert_eq!(String::from_utf8_lossy(&out.stderr), lines("e"));
    assert_eq!(out.exit.expect("an exit").end, out.all.len() as u64);
}

#[tokio::test]
async fn the_keeper_writes_the_exit_down_and_leaves() {
    let bench = Bench::new();
    let spec = bench.run("sleep 0.05; echo done");
    let started = bench.start(&spec).await;
    assert_eq!(read_identity(spec.run_dir.as_path()), Some(started.identity.clone()));
    in_time("the keeper's end", started.keeper_gone.wait()).await;
    let exit = read_exit(spec.run_dir.as_path()).expect("exit.json");
    assert_eq!((exit.status, exit.end, exit.timed_out), (ExitStatus::Code(0), 5, false));
    assert!(exit.ms >= 50 && exit.max_rss_kb > 0);
    assert!(!spec.run_dir.as_path().join("keeper.sock").exists());
    assert!(!lanes::task::alive(
        started.identity.keeper_pid,
        started.identity.keeper_start,
        &started.identity.boot_id
    ));
}

#[tokio::test]
async fn fifty_megabytes_pass_with_bounded_memory_and_nothing_missing() {
    let bench = Bench::new();
    let spec = bench.run("head -c 50000000 /dev/zero | tr '\\0' x");
    let started = bench.start(&spec).await;
    let keeper = started.identity.keeper_pid;
    let mut peak = 0_u64;
    let mut reader = lanes::task::LogReader::open(spec.log_dir.as_path(), 0);
    let mut total = 0_u64;
    wait_for("50 MB", || {
        let status = std::fs::read_to_string(format!("/proc/{keeper}/status")).unwrap_or_default();
        let anon = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kb = anon.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kb.unwrap_or(0));
        while let Some(piece) = reader.read_chunk().expect("reads") {
            let lanes::task::Piece::Chunk(chunk) = piece else { panic!("a gap") };
            assert!(chunk.bytes.iter().all(|b| *b == b'x'));
            total += chunk.bytes.len() as u64;
        }
        total == 50_000_000
    })
    .await;
    assert!(peak < 8 << 10, "the keeper used {peak} KiB");
    assert_eq!(read_all(&spec).await.exit.expect("an exit").end, 50_000_000);
}

#[tokio::test]
async fn the_log_keeps_to_its_limit_and_readers_are_told_what_is_gone() {
    let bench = Bench::new();
    let mut spec = bench.run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end");
    spec.log_limit = 1 << 20;
    let started = bench.start(&spec).await;
    in_time("the end", started.keeper_gone.wait()).await;
    let files = std::fs::read_dir(spec.log_dir.as_path()).expect("the log");
    let sizes: Vec<_> = files.map(|f| f.expect("a file")).collect();
    let logs = sizes.iter().filter(|f| f.path().extension().is_some_and(|e| e == "log"));
    let kept: u64 = logs.map(|f| f.metadata().expect("its size").len()).sum();
    assert!(kept <= 1 << 20, "{kept} bytes are kept");
    let out = read_all(&spec).await;
    assert_eq!(out.gaps, [(0, 3_000_005 - kept)]);
    assert!(out.all.ends_with(b"x\nend\n"));
}

#[tokio::test]
async fn input_streams_with_back_pressure_and_half_close() {
    let bench = Bench::new();
    let shape = Shape::Run { stdin: true };
    let spec = bench.spec(shape, &["sh", "-c", "echo ready; read go; wc -c; echo after"]);
    bench.start(&spec).await;
    let link = bench.link(&spec).await;
    read_until(&spec, "ready").await;
    // Nobody reads: a pipe and the queue are full at some point, and that is told.
    let filler = vec![b'a'; 64 << 10];
    let mut taken = 0;
    loop {
        let n = link.input(&filler).await.expect("accepted");
        taken += n;
        if n < filler.len() {
            break;
        }
        assert!(taken < 4 << 20, "input is taken without end");
    }
    assert!(taken >= 256 << 10);
    let rest = vec![b'b'; 3_000_000];
    let sender = link.clone();
    let sending = tokio::spawn(async move {
        let mut all = b"\n".to_vec();
        all.extend_from_slice(&rest);
        sender.input_all(&all).await.expect("all is taken");
        sender.close_input().await.expect("closed");
    });
    in_time("all input", sending).await.expect("sent");
    let out = read_all(&spec).await;
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["ready", "3000000", "after"]);
    assert!(matches!(link.input(b"x").await, Err(TaskError::Refused { .. } | TaskError::Gone)));
}

#[tokio::test]
async fn a_command_that_does_not_start_is_an_error_of_the_request_and_leaves_nothing() {
    let bench = Bench::new();
    let not_executable = bench.dir.path().join("plain.txt");
    std::fs::write(&not_executable, "hello").expect("written");
    let gone = bench.dir.path().join("gone");
    let mut nowhere = bench.run("true");
    nowhere.cwd = gone.as_path().into();
    let named = |argv: &[&str]| bench.spec(Shape::Run { stdin: false }, argv);
    let mut nul = named(&["true"]);
    nul.argv.push(Raw(b"a\0b".to_vec()));
    let plain = not_executable.to_string_lossy();
    let cases = [
        (named(&["no-such-program-anywhere"]), Code::CommandNotFound, "command not found"),
        (named(&["./nothing"]), Code::CommandNotFound, "command not found"),
        (named(&[&plain]), Code::CommandNotFound, "not executable"),
        (named(&[]), Code::ValidationError, "empty"),
        (nul, Code::ValidationError, "NUL"),
        (nowhere, Code::Io, "could not enter"),
        (bench.spec(Shape::Terminal { cols: 0, rows: 24 }, &["true"]), Code::ValidationError, "0 columns"),
    ];
    for (spec, code, says) in cases {
        let error = bench.launcher.start(spec.clone()).await.expect_err("it does not start");
        let failure = Failure::from(error);
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(failure.message.contains(says), "{failure:?}");
        assert!(!spec.run_dir.as_path().exists() && !spec.log_dir.as_path().exists());
    }
    assert!(bench.marked().is_empty());
}

#[tokio::test]
async fn a_command_gets_exactly_its_environment_folder_and_descriptors() {
    let bench = Bench::new();
    let signals = bench.run("grep -E '^Sig(Blk|Ign)' /proc/self/status");
    bench.start(&signals).await;
    let text = String::from_utf8(read_all(&signals).await.stdout).expect("text");
    for line in text.lines() {
        let set = line.split_whitespace().last().expect("a set of signals");
        // 32 and 33 are the C library's own; nobody can give them their default back through it.
        let set = u64::from_str_radix(set, 16).expect("a number") & !0x1_8000_0000;
        assert_eq!(set, 0, "{text}");
    }
    let spec = bench.run("pwd -P; ls /proc/self/fd | tr '\\n' ' '; echo; umask; env | cut -d= -f1 | sort");
    bench.start(&spec).await;
    let out = read_all(&spec).await;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], bench.dir.path().canonicalize().expect("its path").to_string_lossy());
    // The fourth is the folder that `ls` reads.
    assert_eq!(lines[1], "0 1 2 3 ");
    assert_ne!(lines[2], "0077");
    assert_eq!(lines[3..], ["LANES_TASK_ID", "LANES_TASK_SECRET", "PATH", "PWD", "TERM"]);
}

#[tokio::test]
async fn a_program_that_was_replaced_meanwhile_still_keeps() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = dir.path().join("lanes");
    std::fs::copy(crate::support::task::keeper_program(), &program).expect("copied");
    let bench = Bench::with(lanes::task::KeeperChoice::Program(program.clone()));
    let spec = bench.run("true");
    bench.start(&spec).await;
    std::fs::remove_file(&program).expect("removed");
    let again = bench.run("exit 3");
    bench.start(&again).await;
    assert_eq!(read_all(&again).await.exit.expect("an exit").status, ExitStatus::Code(3));
}
