//! Many clients, clients that stop or die, a keeper that is stopped: nothing of the task is lost or kept waiting.

use std::time::Duration;

use lanes::keeper::protocol::{Attach, FRESH, Refusal, Reply, Request, Said};
use lanes::task::Watcher;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::attached::Attached;
use crate::support::task::{Bench, in_time, read_until, wait_for};

fn look(at: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{at}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_watched_attached_and_idle_never_wakes_up() {
    let bench = Bench::new();
    let spec = bench.terminal("printf '\\033]2;one\\007\\033]2;two\\007'; echo up; exec sleep 300");
    let keeper = bench.start(&spec).await.identity.keeper_pid;
    let mut one = Attached::fresh(spec.run_dir.as_path(), 80, 24);
    let watcher = Watcher::connect(spec.run_dir.as_path(), 0, 1).await;
    let mut watcher = watcher.expect("watches");
    let second = Said::Title { title: "two".into() };
    // The second title waits for its second; after it there is nothing to wait for.
    in_time("titles", async {
        while !matches!(watcher.next().await.expect("news"), Reply::Mark(mark) if mark.said == second) {}
    })
    .await;
    one.until("live", |seen| seen.live);
    assert!(descriptors(keeper) <= 16, "{} descriptors", descriptors(keeper));
    // After all that was acknowledged, and asleep.
    assert!(matches!(one.ask(&Request::Status), Reply::Status(_)));
    wait_for("sleep", || lanes::proc::process(keeper).is_some_and(|p| p.state == b'S')).await;
    let before = look(keeper, "voluntary_ctxt_switches:");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(look(keeper, "voluntary_ctxt_switches:"), before, "it wakes up for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_clients_are_sent_the_same_and_those_that_never_read_cost_a_bounded_buffer() {
    let bench = Bench::new();
    let spec = bench.terminal("read go; seq 1 100000; echo done; read go");
    let keeper = bench.start(&spec).await.identity.keeper_pid;
    let run_dir = spec.run_dir.to_path_buf();
    let (free, quiet) = (descriptors(keeper), look(keeper, "RssAnon:"));
    let attach = |window| Attach { cols: 80, rows: 24, read_only: true, from: FRESH, window };
    let deaf: Vec<Attached> = (0..30)
        .map(|_| {
            let mut one = Attached::connect(&run_dir);
            one.send(&Request::Attach(attach(u32::MAX)));
            one
        })
        .collect();
    let mut all: Vec<Attached> = (0..30)
        .map(|_| {
            let mut one = Attached::connect(&run_dir);
            one.ask(&Request::Attach(attach(1 << 20)));
            one.until("live", |seen| seen.live);
            one
        })
        .collect();
    bench.link(&spec).await.input_all(b"go\r").await.expect("typed");
    read_until(&spec, "done").await;
    for one in &mut all {
        one.until_text("done\r\n");
        assert_eq!(one.gaps, []);
    }
    assert!(all.iter().all(|one| one.output == all[0].output));
    let held = look(keeper, "RssAnon:") - quiet;
    assert!(held < 60 * 160, "{held} kB for sixty clients");
    drop((deaf, all));
    // A log has two files more than none.
    wait_for("the clients forgotten", || descriptors(keeper) <= free + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_was_stopped_goes_on_where_it_was() {
    let bench = Bench::new();
    let spec = bench.terminal("stty -echo; echo up; while read line; do echo got:$line; done");
    let keeper = bench.start(&spec).await.identity.keeper_pid;
    let mut one = Attached::fresh(spec.run_dir.as_path(), 80, 24);
    one.until_text("up");
    let pid = Pid::from_raw(i32::try_from(keeper).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopped");
    // In one piece: the socket takes few small ones that nobody reads.
    let typed: String = (0..500).map(|line| format!("{line}\r")).collect();
    one.send(&Request::Input(typed.into_bytes()));
    kill_process(pid, Signal::CONT).expect("goes on");
    one.until_text("got:499\r\n");
    let text = String::from_utf8_lossy(&one.output).into_owned();
    let got: Vec<&str> = text.split("got:").skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert_eq!(got, (0..500).map(|line| line.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_answers_once_and_is_told_sizes_offsets_and_the_end() {
    let bench = Bench::new();
    let script = "stty raw -echo; printf 'ab\\033[6n'; dd bs=1 count=6 2>/dev/null | od -An -c; sleep 300";
    let spec = bench.terminal(script);
    bench.start(&spec).await;
    let watcher = Watcher::connect(spec.run_dir.as_path(), 0, u64::MAX).await;
    let mut watcher = watcher.expect("watches");
    let offset = in_time("the question", async {
        loop {
            if let Reply::Query { offset, private: false } = watcher.next().await.expect("news") {
                break offset;
            }
        }
    })
    .await;
    watcher.answer(offset, b"\x1b[1;3R".to_vec()).await.expect("sent");
    watcher.answer(offset, b"\x1b[1;9R".to_vec()).await.expect("sent");
    let told = async |watcher: &mut Watcher, what: &str, is: &dyn Fn(&Reply) -> bool| {
        in_time(what, async { while !is(&watcher.next().await.expect("news")) {} }).await;
    };
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::Answered, _));
    told(&mut watcher, "the second refused", &refused).await;
    let text = read_until(&spec, "3   R").await;
    watcher.output_at(text.len() as u64).await.expect("asked");
    told(&mut watcher, "the offset", &|reply| matches!(reply, Reply::Offset(_))).await;
    let link = bench.link(&spec).await;
    link.resize(90, 20).await.expect("resized");
    let size = |reply: &Reply| matches!(reply, Reply::Size { cols: 90, rows: 20, .. });
    told(&mut watcher, "the size", &size).await;
    link.kill_tree(Duration::ZERO).await.expect("begun");
    told(&mut watcher, "the end", &|reply| matches!(reply, Reply::Exited(_))).await;
    in_time("its leaving", async { while watcher.next().await.is_some() {} }).await;
}
