//! The command line and the daemon with many lanes: wall time from a shell, and memory.

use std::path::PathBuf;

use lanes::api::{Create, LaneCreate};

use super::yard::{Daemon, LANES, Yard};
use super::{Comparison, Line, flag};

pub(super) fn run(rounds: usize, mut rest: Vec<String>) -> Result<Comparison, String> {
    let within = flag(&mut rest, "--in")?.map(PathBuf::from);
    let number = |text: Option<String>, usual| text.map_or(Ok(usual), |text| text.parse::<u64>());
    let files = number(flag(&mut rest, "--generate")?, 200).map_err(|_error| "--generate needs a number")?;
    let lanes = number(flag(&mut rest, "--lanes")?, 50).map_err(|_error| "--lanes needs a number")?;
    if let Some(unknown) = rest.first() {
        return Err(format!("cli does not know {unknown:?}"));
    }
    let yard = Yard::new(within.as_deref(), None, files)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let lines = runtime.block_on(measure(&yard, rounds, lanes))?;
    Ok(Comparison {
        subject: "cli",
        ours: format!("lanes, {lanes} lanes open, its daemon running"),
        theirs: format!("git with as many worktrees ({})", yard.shape()?),
        lines,
        file_system: None,
        not_comparable: vec![
            "`git worktree list` does not look into the trees; `lanes ls` shows what changed in them as it was \
             counted last, and has it counted again in the background"
                .to_owned(),
            "memory is of one daemon; git has no process between commands".to_owned(),
        ],
    })
}

async fn measure(yard: &Yard, rounds: usize, lanes: u64) -> Result<Vec<Line>, String> {
    let daemon = Daemon::start(yard).await?;
    let line = |what: &str, unit| Line {
        what: what.to_owned(),
        unit,
        ours: Vec::new(),
        theirs: Vec::new(),
        more_is_better: false,
    };
    let mut fresh = line("daemon without lanes, PSS", "KiB");
    fresh.ours.push(memory(daemon.pid, "Pss:")?);
    for number in 0..lanes.saturating_sub(1) {
        let wanted = Create {
            cwd: yard.repo.as_path().into(),
            name: Some(format!("lane-{number}")),
            ..Create::default()
        };
        daemon.client.call::<LaneCreate>(wanted).await.map_err(|failure| failure.to_string())?;
    }
    let mut ls = line("lanes ls | git worktree list", "ms");
    let mut again = line("lanes ls just after another", "ms");
    let mut floor = line("--version", "ms");
    let mut create = line("lanes create | git worktree add", "ms");
    let mut cleanup = line("lanes cleanup | git worktree remove", "ms");
    let program = |program: &str, arguments: &[&str]| {
        let mut command = yard.command(program, &yard.repo);
        command.args(arguments);
        yard.timed(command)
    };
    for round in 0..rounds {
        let (name, tree) = (format!("cli-{round}"), yard.path("plain").join(round.to_string()));
        let tree = tree.to_string_lossy().into_owned();
        settle(daemon.pid);
        let add = ["worktree", "add", "-q", "-b", &name, &tree];
        // They take turns in being the first.
        if round % 2 == 0 {
            create.ours.push(program(LANES, &["create", &name])?);
            create.theirs.push(program("git", &add)?);
        } else {
            create.theirs.push(program("git", &add)?);
            create.ours.push(program(LANES, &["create", &name])?);
        }
        settle(daemon.pid);
        ls.ours.push(program(LANES, &["ls"])?);
        again.ours.push(program(LANES, &["ls"])?);
        settle(daemon.pid);
        ls.theirs.push(program("git", &["worktree", "list"])?);
        floor.ours.push(program(LANES, &["--version"])?);
        floor.theirs.push(program("git", &["--version"])?);
        cleanup.ours.push(program(LANES, &["cleanup", &name])?);
        cleanup.theirs.push(program("git", &["worktree", "remove", "--force", &tree])?);
    }
    program(LANES, &["create", "last"])?;
    settle(daemon.pid);
    let mut lines = vec![ls, again, floor, create, cleanup, fresh];
    for (what, key) in [
        ("daemon, lanes idle, RSS", "Rss:"),
        ("daemon, lanes idle, PSS", "Pss:"),
        ("anonymous part of it", "Pss_Anon:"),
    ] {
        let mut idle = line(what, "KiB");
        idle.ours.push(memory(daemon.pid, key)?);
        lines.push(idle);
    }
    Ok(lines)
}

/// Waits until the daemon has used no processor for a while: what runs in the background is done.
fn settle(pid: u32) {
    let mut before = None;
    for _ in 0..600 {
        let now = cpu(pid);
        if now.is_none() || now == before {
            return;
        }
        before = now;
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
}

/// Ticks of the process and of its children that have ended.
fn cpu(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_name, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').skip(11).take(4).map(str::to_owned).collect())
}

fn memory(pid: u32, key: &str) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map_err(|error| format!("the memory of the daemon: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).ok_or("no memory figure".to_owned())
}
