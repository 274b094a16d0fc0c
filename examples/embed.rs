//! Embeds the runtime: a lane from create to cleanup and back, in a repository of its own.
//!
//! `cargo run --example embed` keeps tasks with keeper programs (this one, started again); with
//! `-- in-process` they are kept by threads of this process and end with it.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use lanes::api::{Command, Create, Subscribe};
use lanes::failure::Code;
use lanes::runtime::{Options, Runtime};
use lanes::task::KeeperChoice;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    // A host that keeps tasks with its own program does this first, before any thread is there.
    lanes::keeper_main_if_invoked();
    let keeper = match std::env::args().nth(1).as_deref() {
        Some("in-process") => KeeperChoice::InProcess,
        _other => KeeperChoice::SelfExec,
    };
    let scratch = std::env::temp_dir().join(format!("lanes-embed-{}", std::process::id()));
    let result = tokio::runtime::Runtime::new()?.block_on(tour(&scratch, keeper));
    std::fs::remove_dir_all(&scratch)?;
    result
}

async fn tour(scratch: &Path, keeper: KeeperChoice) -> Outcome {
    let repo = repository(scratch)?;
    let options = Options::new(scratch.join("home"), keeper);
    let runtime = Runtime::open(options.clone()).await?;
    let mut events = runtime.events(Subscribe { since: Some(0), ..Subscribe::default() }).await?;

    // A lane, and a run in it.
    let wanted = Create { cwd: repo.clone().into(), name: Some("demo".into()), ..Create::default() };
    let lane = runtime.create(wanted).await?.lane;
    println!("{} is {} at {}", lane.name, lane.state, lane.worktree);
    let run = runtime.run(lane.id, shell("echo out; echo err >&2; echo kept > note; exit 7"), None).await?;
    let ended = runtime.wait_for_exit(lane.id, None).await?.ok_or("the run ended")?;
    assert_eq!(ended.id, run.task.id);
    assert_eq!(serde_json::to_value(&ended.exit)?["code"], 7);
    assert_eq!(runtime.output(run.task.id, "stdout").await?, b"out\n");
    assert_eq!(runtime.output(run.task.id, "stderr").await?, b"err\n");
    assert!(!repo.join("note").exists(), "what a lane writes stays in the lane");

    // A terminal: a real one, that can be typed into.
    let terminal = runtime.terminal(lane.id, shell("test -t 0 && read word && echo \"got $word\"")).await?;
    runtime.input(terminal.task.id, b"hello\n").await?;
    runtime.wait_for_exit(lane.id, None).await?;
    let screen = runtime.output(terminal.task.id, "terminal").await?;
    assert!(String::from_utf8_lossy(&screen).contains("got hello"), "{screen:?}");

    // Another opener of the same home is a client of this one.
    let client = Runtime::open(options).await?;
    assert!(runtime.is_owner() && !client.is_owner());

    // Two agents at once, in a shared lane only.
    runtime.join_lane(lane.id, "one").await?;
    let refused = client.join_lane(lane.id, "two").await;
    assert_eq!(refused.err().map(|failure| failure.code), Some(Code::LaneNotShared));
    runtime.share(lane.id).await?;
    client.join_lane(lane.id, "two").await?;
    let (one, two) = tokio::join!(
        runtime.run_as(lane.id, "one", shell("echo 1")),
        client.run_as(lane.id, "two", shell("echo 2"))
    );
    println!("{} and {} ran side by side", one?.task.id, two?.task.id);
    runtime.wait_for_exit(lane.id, None).await?;
    runtime.leave_lane(lane.id, "one").await?;
    let left = runtime.leave_lane(lane.id, "two").await?;
    assert!(!left.shared, "the last agent left");
    client.shut_down().await;

    // Closed without a trace, and brought back with what was never committed.
    let closed = runtime.close(lane.id, false).await?;
    println!("closed: {}", closed.notes.join("; "));
    assert!(!lane.worktree.as_path().exists());
    let back = runtime.restore(lane.id, &repo).await?;
    assert_eq!(std::fs::read_to_string(back.worktree.as_path().join("note"))?, "kept\n");
    runtime.close(back.id, false).await?;

    let mut topics: Vec<String> = Vec::new();
    while let Some(told) = events.next().await {
        let event = told?.event.ok_or("a new journal has no gap")?;
        assert_eq!(event.offset, topics.len() as u64 + 1, "offsets have no gap");
        let last = event.topic == "lane.closed" && event.lane_id == Some(back.id);
        topics.push(event.topic);
        if last {
            break;
        }
    }
    let transitions = topics.iter().filter(|topic| *topic == "lane.state.changed").count();
    println!("{} events, {transitions} of them transitions", topics.len());
    runtime.shut_down().await;
    Ok(())
}

fn shell(line: &str) -> Command {
    Command { argv: ["/bin/sh", "-c", line].map(Into::into).to_vec(), ..Command::default() }
}

fn repository(scratch: &Path) -> Outcome<PathBuf> {
    let repo = scratch.join("repo");
    std::fs::create_dir_all(&repo)?;
    let who = ["-c", "user.name=demo", "-c", "user.email=demo@example.org"];
    let first = [&who[..], &["commit", "--quiet", "--allow-empty", "-m", "first"]].concat();
    for arguments in [vec!["init", "--quiet", "--initial-branch=main"], first] {
        let done = Process::new("git").arg("-C").arg(&repo).args(arguments).status()?;
        if !done.success() {
            return Err("git could not make a repository".into());
        }
    }
    Ok(repo.canonicalize()?)
}
