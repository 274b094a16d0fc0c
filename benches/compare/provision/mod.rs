//! A lane from create to cleanup, by every way there is, beside `git worktree add` and `remove`.

mod cost;
mod desk;
mod plain;
mod rows;

use std::path::PathBuf;

use super::yard::Yard;
use super::{Comparison, Line, flag};
use desk::{Desk, Start};
use rows::Rows;

/// A round of many at once counts as several of one.
const AT_ONCE_TO_A_ROUND: usize = 5;

/// A way to make the tree of a lane: what `worktree.backend` is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Git,
    Copy,
    Pool,
    Overlay,
    /// Whatever is best, as without a setting.
    Auto,
}

impl Way {
    const ALL: [Self; 5] = [Self::Git, Self::Copy, Self::Pool, Self::Overlay, Self::Auto];

    const fn name(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Copy => "copy",
            Self::Pool => "pool",
            Self::Overlay => "overlay",
            Self::Auto => "auto",
        }
    }

    /// True when it keeps ready trees.
    const fn has_pool(self) -> bool {
        matches!(self, Self::Pool | Self::Auto)
    }

    fn parse(list: &str) -> Result<Vec<Self>, String> {
        let one = |word: &str| {
            let way = Self::ALL.into_iter().find(|way| way.name() == word);
            way.ok_or_else(|| format!("there is no way {word:?}"))
        };
        list.split(',').map(one).collect()
    }
}

struct Options {
    counts: Vec<usize>,
    ways: Vec<Way>,
    claims: usize,
    beside: bool,
}

pub(super) fn run(rounds: usize, mut rest: Vec<String>) -> Result<Comparison, String> {
    let borrow = flag(&mut rest, "--repo")?.map(PathBuf::from);
    let within = flag(&mut rest, "--in")?.map(PathBuf::from);
    let files = flag(&mut rest, "--generate")?.map_or(Ok(3_000), |text| text.parse());
    let files = files.map_err(|_error| "--generate needs a number of files")?;
    let counts = flag(&mut rest, "--lanes")?.unwrap_or_else(|| "1,50".to_owned());
    let counts: Result<Vec<usize>, _> = counts.split(',').map(str::parse).collect();
    let counts = counts.ok().filter(|all| !all.contains(&0)).ok_or("--lanes needs numbers such as 1,50")?;
    let is_root = rustix::process::geteuid().is_root();
    let usual = if is_root { "git,copy,pool,overlay" } else { "git,copy,pool" };
    let ways = Way::parse(&flag(&mut rest, "--ways")?.unwrap_or_else(|| usual.to_owned()))?;
    let claims = flag(&mut rest, "--claims")?.map_or(Ok(0), |text| text.parse());
    let claims = claims.map_err(|_error| "--claims needs a number")?;
    let at = rest.iter().position(|word| word == "--beside");
    let beside = at.map(|at| rest.remove(at)).is_some();
    if let Some(unknown) = rest.first() {
        return Err(format!("provision does not know {unknown:?}"));
    }
    let yard = Yard::new(within.as_deref(), borrow.as_deref(), files)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let options = Options { counts, ways, claims, beside };
    let lines = runtime.block_on(measure(&yard, rounds, &options))?;
    let shape = yard.shape()?;
    Ok(Comparison {
        subject: "provision",
        ours: "lane.create and lane.cleanup through a running daemon, from a client on its socket".to_owned(),
        theirs: format!("git worktree add --no-track -b, and remove --force, in turn ({shape})"),
        lines,
        not_comparable: remarks(),
        file_system: Some(cost::file_system(&yard.repo)),
    })
}

fn remarks() -> Vec<String> {
    [
        "A is timed at a client that is connected already, B from the start of the program to its end (about \
         2 ms of it); `compare -- cli` times both from a shell",
        "pool: one at a time with ready trees (`stock full`). The work has been done before; `in all` counts \
         the refill that follows, until the daemon is idle",
        "`nothing there`: a home that has never seen the repository, so no template and no pool",
        "B's trees have no owner, no record, no events and no lock reason, and nothing undoes half of one",
        "`git, at once`: what failed beside others of its kind was tried again, and is told on stderr",
        "cleanup answers when the tree is in the trash and all that only it held is pinned; `until the space is \
         free` is until the daemon is idle again; B deletes at once and for good",
        "the page cache is warm in both; on ext4 without a journal everything gets slower after deletes, so the \
         order matters: all ways take turns, and --in DIR chooses the file system",
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn measure(yard: &Yard, rounds: usize, options: &Options) -> Result<Vec<Line>, String> {
    let commit = yard.head()?;
    let mut warm = Vec::new();
    for &way in &options.ways {
        let desk = Desk::open(yard, way).await?;
        // Unmeasured: caches, lazily begun threads, the template, the pool.
        for _ in 0..2 {
            desk.round(1, Start::Full, &mut Rows::default()).await?;
        }
        warm.push(desk);
    }
    plain::round(yard, &commit, 1, false, &mut Rows::default())?;
    let mut lines = Vec::new();
    for &count in &options.counts {
        let rounds = if count == 1 { rounds } else { rounds.div_ceil(AT_ONCE_TO_A_ROUND) };
        lines.extend(one_count(yard, &commit, &warm, count, rounds).await?);
    }
    for desk in &warm {
        if options.claims > 0 && desk.way.has_pool() {
            lines.extend(desk.claims(options.claims).await?);
        }
        if options.beside {
            let count = options.counts.iter().copied().max().unwrap_or(1);
            lines.push(desk.beside(count).await?);
        }
    }
    Ok(lines)
}

async fn one_count(
    yard: &Yard,
    commit: &str,
    warm: &[Desk<'_>],
    count: usize,
    rounds: usize,
) -> Result<Vec<Line>, String> {
    let starts: &[Start] = if count == 1 { &[Start::Full] } else { &[Start::Nothing, Start::Full] };
    let mut ours: Vec<(usize, Start, Rows)> =
        starts.iter().flat_map(|start| (0..warm.len()).map(|at| (at, *start, Rows::default()))).collect();
    let (mut in_turn, mut at_once) = (Rows::default(), Rows::default());
    let turns = ours.len() + 1;
    for round in 0..rounds {
        for turn in 0..turns {
            let turn = (round + turn) % turns;
            let Some((at, start, rows)) = ours.get_mut(turn) else {
                plain::round(yard, commit, count, false, &mut in_turn)?;
                if count > 1 {
                    plain::round(yard, commit, count, true, &mut at_once)?;
                }
                continue;
            };
            match start {
                Start::Full => warm[*at].round(count, *start, rows).await?,
                Start::Nothing => {
                    let desk = Desk::open(yard, warm[*at].way).await?;
                    desk.round(count, *start, rows).await?;
                    desk.close().await?;
                }
            }
        }
    }
    let mut lines = Vec::new();
    if count > 1 {
        lines.extend(rows::lines("git, at once", count, &at_once, &in_turn));
    }
    for (at, start, rows) in &ours {
        let who = format!("{}, {}", warm[*at].way.name(), start.name());
        lines.extend(rows::lines(&who, count, rows, &in_turn));
    }
    Ok(lines)
}
