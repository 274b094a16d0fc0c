//! One way: a daemon that makes its lanes by it, and what is measured there.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lanes::api::{Cleanup, Create, LaneCleanup, LaneCreate, LaneView, Subscribe};
use lanes::worktree::{Repository, SpareKind, spares};
use tokio::task::JoinSet;

use super::super::yard::{Daemon, Yard};
use super::super::{Line, median};
use super::Way;
use super::cost::{self, Of, Spent, Taken};
use super::rows::Rows;

/// How long the background may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// A daemon that has used no processor for so long is idle.
const STILL: Duration = Duration::from_millis(800);
/// Ready trees that make a pool full: `pool.size`.
const FULL: usize = 2;
/// How often a job is timed with and without something beside it.
const JOBS: usize = 5;

/// What is there when lanes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The daemon has made lanes before, and is idle.
    Full,
    /// A new home: no template, no pool.
    Nothing,
}

impl Start {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "stock full",
            Self::Nothing => "nothing there",
        }
    }
}

/// A daemon with a home and a folder of trees of its own.
pub(super) struct Desk<'a> {
    yard: &'a Yard,
    pub(super) way: Way,
    daemon: Daemon,
    home: PathBuf,
    root: PathBuf,
}

impl<'a> Desk<'a> {
    /// Starts one.
    pub(super) async fn open(yard: &'a Yard, way: Way) -> Result<Self, String> {
        let number = next();
        let home = yard.path(&format!("home-{}-{number}", way.name()));
        let root = yard.path(&format!("trees-{}-{number}", way.name()));
        let text = format!(
            "[worktree]\nbackend = \"{}\"\nroot = {:?}\n[lanes]\ncapacity = 1000\n[pool]\nsize = {FULL}\n",
            way.name(),
            root
        );
        let daemon = Daemon::start_in(yard, &home, &text).await?;
        let home = home.canonicalize().map_err(|error| error.to_string())?;
        Ok(Self { yard, way, daemon, home, root })
    }

    /// Stops the daemon and removes what it keeps for later.
    pub(super) async fn close(self) -> Result<(), String> {
        let Self { yard, daemon, home, root, .. } = self;
        drop(daemon);
        let entries = std::fs::read_dir(yard.repo.join(".git/worktrees")).into_iter().flatten().flatten();
        for entry in entries {
            let leads_to = std::fs::read_to_string(entry.path().join("gitdir")).unwrap_or_default();
            if Path::new(leads_to.trim_end()).starts_with(&root) {
                std::fs::remove_dir_all(entry.path()).map_err(|error| error.to_string())?;
            }
        }
        for folder in [root, home] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Makes so many lanes at once, looks at one, closes them.
    pub(super) async fn round(&self, count: usize, start: Start, into: &mut Rows) -> Result<(), String> {
        self.settle(start == Start::Full).await?;
        let (spent, taken) = (Spent::so_far(self.daemon.pid, Of::All)?, Taken::now(&self.yard.repo)?);
        let begun = Instant::now();
        let lanes = self.create(count, &mut into.each).await?;
        into.create.push(begun.elapsed().as_secs_f64() * 1e3);
        let read = cost::read_so_far();
        let first = lanes.first().ok_or("no lane was asked for")?;
        into.status.push(self.yard.git(first.worktree.as_path(), ["status", "--porcelain"])?);
        into.status_read.push(cost::read_so_far() - read);
        self.settle(true).await?;
        let now = Taken::now(&self.yard.repo)?;
        into.disk.push((now.kib - taken.kib) / count as f64);
        into.inodes.push((now.inodes - taken.inodes) / count as f64);
        let begun = Instant::now();
        // Every second time in turn.
        let in_turn = count > 1 && into.close.len() > into.close_in_turn.len();
        for some in lanes.chunks(if in_turn { 1 } else { count }) {
            self.cleanup(some).await?;
        }
        let took = begun.elapsed().as_secs_f64() * 1e3;
        if in_turn {
            into.close_in_turn.push(took)
        } else {
            into.close.push(took)
        }
        self.settle(false).await?;
        into.free.push((begun.elapsed().saturating_sub(STILL)).as_secs_f64() * 1e3);
        into.spent.push(Spent::so_far(self.daemon.pid, Of::All)?.since(spent, count));
        Ok(())
    }

    /// Requests that each find a ready tree, one after the other.
    pub(super) async fn claims(&self, count: usize) -> Result<Vec<Line>, String> {
        let told = Subscribe { topics: vec!["lane.worktree.provisioned".to_owned()], ..Subscribe::default() };
        let told = self.daemon.client.subscribe(told).await;
        let mut told = told.map_err(|failure| failure.to_string())?;
        let (mut at_client, mut inside) = (Vec::new(), Vec::new());
        for _ in 0..count {
            self.until_ready(1).await?;
            let lanes = self.create(1, &mut at_client).await?;
            let event = match told.next().await {
                Some(Ok(told)) => told.event,
                Some(Err(_)) | None => return Err("the daemon has gone".to_owned()),
            };
            inside.extend(event.and_then(|event| event.payload["ms"].as_f64()));
            self.cleanup(&lanes).await?;
        }
        let line = |what: &str, ours: Vec<f64>| Line {
            what: format!("{count} claims, {}: {what}", self.way.name()),
            unit: "ms",
            ours,
            theirs: Vec::new(),
            more_is_better: false,
        };
        Ok(vec![line("at the client", at_client), line("inside the daemon", inside)])
    }

    /// A job with the freeing of so many trees beside it, and without.
    pub(super) async fn beside(&self, count: usize) -> Result<Line, String> {
        let mut line = Line {
            what: format!("a job beside the freeing of {count} | alone, {}", self.way.name()),
            unit: "ms",
            ours: Vec::new(),
            theirs: Vec::new(),
            more_is_better: false,
        };
        for round in 0..JOBS {
            self.settle(false).await?;
            if round % 2 == 0 {
                line.theirs.push(job(self.yard)?);
            }
            let lanes = self.create(count, &mut Vec::new()).await?;
            self.settle(true).await?;
            self.cleanup(&lanes).await?;
            line.ours.push(job(self.yard)?);
            self.settle(false).await?;
            if round % 2 == 1 {
                line.theirs.push(job(self.yard)?);
            }
        }
        println!("{}: {:.2} of the time alone", line.what, median(&line.ours) / median(&line.theirs));
        Ok(line)
    }

    async fn create(&self, count: usize, each: &mut Vec<f64>) -> Result<Vec<LaneView>, String> {
        let mut making = JoinSet::new();
        for _ in 0..count {
            let (client, cwd) = (self.daemon.client.clone(), self.yard.repo.as_path().into());
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
            each.push(took);
        }
        Ok(lanes)
    }

    async fn cleanup(&self, lanes: &[LaneView]) -> Result<(), String> {
        let wanted = Cleanup {
            cwd: self.yard.repo.as_path().into(),
            lanes: lanes.iter().map(|lane| lane.id.to_string().into()).collect(),
            ..Cleanup::default()
        };
        let cleaned = self.daemon.client.call::<LaneCleanup>(wanted).await;
        let cleaned = cleaned.map_err(|failure| failure.to_string())?;
        let failed = cleaned.results.into_iter().find_map(|result| result.error);
        failed.map_or(Ok(()), |failure| Err(failure.to_string()))
    }

    /// Waits until the daemon is idle, and the pool is full when there is to be one.
    async fn settle(&self, full: bool) -> Result<(), String> {
        if full && self.way.has_pool() && self.ready()? > 0 {
            self.until_ready(FULL).await?;
        }
        let begun = Instant::now();
        let (mut before, mut since) = (None, Instant::now());
        while begun.elapsed() < PATIENCE {
            let now = self.busy()?;
            if before != Some(now) {
                (before, since) = (Some(now), Instant::now());
            }
            if since.elapsed() >= STILL {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the daemon is never idle".to_owned())
    }

    /// Changes while the daemon does something: ticks of it and of what it has started, and what is in its
    /// trash.
    fn busy(&self) -> Result<(u64, usize), String> {
        let ticks = Spent::so_far(self.daemon.pid, Of::All)?.cpu_ms as u64;
        let children = lanes::proc::descendants(self.daemon.pid);
        let theirs: u64 = children.iter().map(|process| process.ticks).sum();
        Ok((ticks + theirs, children.len()))
    }

    fn ready(&self) -> Result<usize, String> {
        let repo = Repository {
            common_dir: self.yard.repo.join(".git").canonicalize().map_err(|error| error.to_string())?,
            main_tree: Some(self.yard.repo.clone()),
            name: "repo".to_owned(),
            oid_len: 40,
            libgit2: true,
        };
        let ready = spares(&repo, &self.home).into_iter();
        Ok(ready.filter(|kept| kept.spare.kind == SpareKind::Pooled && kept.spare.ready).count())
    }

    async fn until_ready(&self, wanted: usize) -> Result<(), String> {
        let begun = Instant::now();
        while self.ready()? < wanted {
            if begun.elapsed() > PATIENCE {
                return Err("the pool does not fill".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Something like a build: computes, and writes many files.
fn job(yard: &Yard) -> Result<f64, String> {
    const FILES: usize = 600;
    const BYTES: usize = 64 << 10;
    let folder = yard.path("job");
    let begun = Instant::now();
    let work = || -> std::io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let mut value = 1_u64;
        for number in 0..FILES {
            let mut bytes = Vec::with_capacity(BYTES);
            while bytes.len() < BYTES {
                for _ in 0..64 {
                    value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ 0x5bd1;
                }
                bytes.extend(value.to_le_bytes());
            }
            std::fs::File::create(folder.join(number.to_string()))?.write_all(&bytes)?;
        }
        std::fs::File::open(folder.join("0"))?.sync_all()
    };
    work().map_err(|error| format!("the job beside: {error}"))?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    Ok(took)
}

/// A number nobody had before.
pub(super) fn next() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
