//! A lane from create to cleanup through a daemon beside `git worktree add` and `remove`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lanes::api::{Cleanup, Create, Events, LaneCleanup, LaneCreate, Subscribe};
use lanes::ids::LaneId;
use tokio::task::JoinSet;

use super::yard::{Daemon, Yard};
use super::{Comparison, Line, flag};

/// How long the background may take with what was cleaned up.
const PATIENCE: Duration = Duration::from_secs(300);
/// A round of many at once counts as several of one.
const AT_ONCE_TO_A_ROUND: usize = 5;

/// What plain git is told.
#[derive(Clone, Copy)]
enum Plain {
    /// `git worktree add -b BRANCH PATH`.
    Branch,
    /// `git worktree add --no-track -b BRANCH PATH COMMIT`: what a lane is made of.
    Commit,
}

pub(super) fn run(rounds: usize, mut rest: Vec<String>) -> Result<Comparison, String> {
    let borrow = flag(&mut rest, "--repo")?.map(PathBuf::from);
    let within = flag(&mut rest, "--in")?.map(PathBuf::from);
    let files = flag(&mut rest, "--generate")?.map_or(Ok(3_000), |text| text.parse());
    let files = files.map_err(|_error| "--generate needs a number of files")?;
    let counts = flag(&mut rest, "--lanes")?.unwrap_or_else(|| "1,50".to_owned());
    let counts: Result<Vec<usize>, _> = counts.split(',').map(str::parse).collect();
    let counts = counts.map_err(|_error| "--lanes needs numbers such as 1,50")?;
    if let Some(unknown) = rest.first() {
        return Err(format!("provision does not know {unknown:?}"));
    }
    let yard = Yard::new(within.as_deref(), borrow.as_deref(), files)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let lines = runtime.block_on(measure(&yard, rounds, &counts))?;
    let shape = yard.shape()?;
    Ok(Comparison {
        subject: "provision",
        ours: "lane.create and lane.cleanup through a running daemon, from a client on its socket".to_owned(),
        theirs: format!("plain git in the same repository ({shape})"),
        lines,
        not_comparable: remarks(),
    })
}

fn remarks() -> Vec<String> {
    [
        "A is timed at a client that is connected already, B from the start of the program to its end (about \
         2 ms of it); `compare -- cli` times both from a shell",
        "B's trees have no owner, no record, no events and no lock reason, and nothing undoes half of one; from \
         a remote-tracking base many of them at once fail over the shared configuration",
        "cleanup answers when the tree is in the trash and all that only it held is pinned; what differs is \
         archived and the rest deleted in the background. `until the space is free` counts that too; B deletes \
         at once and for good",
        "there is no pool and no template yet: A is made by git as well",
        "the page cache is warm in both; on ext4 without a journal everything gets slower after deletes, so the \
         order matters: A, B and B' take turns, and --in DIR chooses the file system",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The lines for one number of lanes at once.
struct Lines {
    create: Vec<f64>,
    each: Vec<f64>,
    status: Vec<f64>,
    remove: Vec<f64>,
    free: Vec<f64>,
}

impl Lines {
    const fn new() -> Self {
        Self { create: vec![], each: vec![], status: vec![], remove: vec![], free: vec![] }
    }
}

async fn measure(yard: &Yard, rounds: usize, counts: &[usize]) -> Result<Vec<Line>, String> {
    let daemon = Daemon::start(yard).await?;
    let saved = Subscribe { topics: vec!["lane.worktree.saved".to_owned()], ..Subscribe::default() };
    let mut saved = daemon.client.subscribe(saved).await.map_err(|failure| failure.to_string())?;
    let commit = yard.head()?;
    // Once unmeasured: caches, lazily begun threads, the workspace's own record.
    lanes_once(yard, &daemon, &mut saved, 1, &mut Lines::new()).await?;
    git_once(yard, &commit, Plain::Commit, 1, &mut Lines::new())?;
    let mut lines = Vec::new();
    for &count in counts {
        let (mut ours, mut branch, mut exact) = (Lines::new(), Lines::new(), Lines::new());
        let rounds = if count == 1 { rounds } else { rounds.div_ceil(AT_ONCE_TO_A_ROUND) };
        for round in 0..rounds {
            for turn in 0..3 {
                match (round + turn) % 3 {
                    0 => lanes_once(yard, &daemon, &mut saved, count, &mut ours).await?,
                    1 => git_once(yard, &commit, Plain::Commit, count, &mut exact)?,
                    _ => git_once(yard, &commit, Plain::Branch, count, &mut branch)?,
                }
            }
        }
        lines.extend(lines_of(count, &ours, &exact, &branch));
    }
    Ok(lines)
}

fn lines_of(count: usize, ours: &Lines, exact: &Lines, branch: &Lines) -> Vec<Line> {
    let line = |what: &str, ours: &[f64], theirs: &[f64]| Line {
        what: if count == 1 { what.to_owned() } else { format!("{count} at once: {what}") },
        unit: "ms",
        ours: ours.to_vec(),
        theirs: theirs.to_vec(),
        more_is_better: false,
    };
    let mut lines = vec![
        line("create | add --no-track COMMIT", &ours.create, &exact.create),
        line("create | add -b", &ours.create, &branch.create),
    ];
    if count > 1 {
        lines.push(line("one of them | --no-track", &ours.each, &exact.each));
    }
    lines.push(line("first git status after", &ours.status, &exact.status));
    lines.push(line("cleanup | remove --force", &ours.remove, &exact.remove));
    lines.push(line("until the space is free | remove", &ours.free, &exact.remove));
    lines
}

async fn lanes_once(
    yard: &Yard,
    daemon: &Daemon,
    saved: &mut Events,
    count: usize,
    into: &mut Lines,
) -> Result<(), String> {
    let mut making = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..count {
        let (client, cwd) = (daemon.client.clone(), yard.repo.as_path().into());
        let wanted = Create { cwd, name: Some(format!("lane-{}", next())), ..Create::default() };
        making.spawn(async move {
            let begun = Instant::now();
            let made = client.call::<LaneCreate>(wanted).await;
            (made, begun.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut lanes = Vec::new();
    for (made, took) in making.join_all().await {
        lanes.push(made.map_err(|failure| failure.to_string())?.lane);
        into.each.push(took);
    }
    into.create.push(begun.elapsed().as_secs_f64() * 1e3);
    let first = lanes.first().ok_or("no lane was asked for")?;
    into.status.push(yard.git(first.worktree.as_path(), ["status", "--porcelain"])?);
    let begun = Instant::now();
    let mut left: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id).collect();
    let wanted = Cleanup {
        cwd: yard.repo.as_path().into(),
        lanes: lanes.iter().map(|lane| lane.id.to_string().into()).collect(),
        ..Cleanup::default()
    };
    let cleaned = daemon.client.call::<LaneCleanup>(wanted).await.map_err(|failure| failure.to_string())?;
    into.remove.push(begun.elapsed().as_secs_f64() * 1e3);
    if let Some(failure) = cleaned.results.into_iter().find_map(|result| result.error) {
        return Err(failure.to_string());
    }
    let freed = tokio::time::timeout(PATIENCE, async {
        while !left.is_empty() {
            let Some(Ok(told)) = saved.next().await else { return Err("the daemon has gone".to_owned()) };
            if let Some(lane) = told.event.and_then(|event| event.lane_id) {
                left.remove(&lane);
            }
        }
        Ok(())
    });
    freed.await.map_err(|_elapsed| "the background is not done with the trash".to_owned())??;
    into.free.push(begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn git_once(yard: &Yard, commit: &str, plain: Plain, count: usize, into: &mut Lines) -> Result<(), String> {
    let trees: Vec<(String, PathBuf)> = (0..count)
        .map(|_| format!("plain-{}", next()))
        .map(|name| (name.clone(), yard.path("plain").join(name)))
        .collect();
    std::fs::create_dir_all(yard.path("plain")).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    into.each.extend(each(&trees, |name, path| {
        let mut command = yard.command("git", &yard.repo);
        match plain {
            Plain::Branch => command.args(["worktree", "add", "-q", "-b", name]).arg(path),
            Plain::Commit => {
                command.args(["worktree", "add", "-q", "--no-track", "-b", name]).arg(path).arg(commit)
            }
        };
        yard.timed(command)
    })?);
    into.create.push(begun.elapsed().as_secs_f64() * 1e3);
    let (_name, first) = trees.first().ok_or("no tree was asked for")?;
    into.status.push(yard.git(first, ["status", "--porcelain"])?);
    let begun = Instant::now();
    let _each = each(&trees, |_name, path| {
        let mut command = yard.command("git", &yard.repo);
        command.args(["worktree", "remove", "--force"]).arg(path);
        yard.timed(command)
    })?;
    into.remove.push(begun.elapsed().as_secs_f64() * 1e3);
    let names = trees.iter().map(|(name, _path)| name.as_str());
    yard.git(&yard.repo, ["branch", "-q", "-D"].into_iter().chain(names)).map(drop)
}

/// All at once, a thread each.
fn each(
    trees: &[(String, PathBuf)],
    act: impl Fn(&str, &Path) -> Result<f64, String> + Sync,
) -> Result<Vec<f64>, String> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = trees.iter().map(|(name, path)| scope.spawn(move || act(name, path))).collect();
        threads
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    })
}

/// A number nobody had before.
fn next() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
