//! Random work, and `kill -9` of the daemon, its git, a keeper or the client at random instants.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fault::{Ground, Kind, Worked};
use crate::support::git::write;
use crate::support::stage::until;

/// Schedules on one ground; a new one then, as stores and repositories grow.
const ON_ONE_GROUND: u64 = 100;
/// Requests in one schedule.
const STEPS: u64 = 6;
/// A victim is killed within so many milliseconds after a request was made.
const WITHIN_MS: u64 = 60;

/// A lane as far as the test knows.
enum Known {
    /// It was never made, or emptied.
    Absent,
    /// It is there.
    Open(Worked),
    /// It can be brought back.
    Retired(Worked),
}

struct Lane {
    name: String,
    known: Known,
}

/// Small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
#[ignore = "minutes: LANES_SCHEDULES says how many, LANES_SEED begins with another"]
fn random_crash_schedules() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let clock = lanes::clock::now().as_ms();
    let (seed, schedules) =
        (number("LANES_SEED").unwrap_or(clock), number("LANES_SCHEDULES").unwrap_or(1_000));
    println!("LANES_SEED={seed} LANES_SCHEDULES={schedules}");
    let begun = Instant::now();
    let mut ground = Ground::new();
    let mut counts = Counts::default();
    for at in 0..schedules {
        if at > 0 && at.is_multiple_of(ON_ONE_GROUND) {
            ground = Ground::new();
            println!("{at} schedules in {:?}: {counts:?}", begun.elapsed());
        }
        let _named = Named(seed + at);
        schedule(&ground, &mut Dice(seed + at), at, &mut counts);
    }
    println!("{schedules} schedules in {:?}: {counts:?}, lost 0, left 0, foreign touched 0", begun.elapsed());
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule was: LANES_SEED={} LANES_SCHEDULES=1", self.0);
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    daemons: u64,
    gits: u64,
    keepers: u64,
    clients: u64,
}

fn schedule(ground: &Ground, dice: &mut Dice, at: u64, counts: &mut Counts) {
    let mut lanes: Vec<Lane> =
        (0..2).map(|n| Lane { name: format!("s{at}x{n}"), known: Known::Absent }).collect();
    for step in 0..STEPS {
        let which = usize::try_from(dice.roll(2)).expect("small");
        work(ground, dice, &mut lanes[which], step);
        let args = request(dice, &lanes[which]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = ground.scene.command(&ground.scene.repo(), &args);
        let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        counts.requests += 1;
        strike(ground, dice, &mut client, counts);
        let _whatever_it_says = client.wait().expect("ends");
        ground.ask_again();
        ground.recover();
        for lane in &mut lanes {
            settle(ground, lane);
        }
    }
    end(ground, &mut lanes);
}

/// Edits and commits, as an agent or a user would, in an open lane.
fn work(ground: &Ground, dice: &mut Dice, lane: &mut Lane, step: u64) {
    let Known::Open(worked) = &mut lane.known else { return };
    let path = worked.made.path.clone();
    let git = |args: &[&str]| ground.scene.git_in(&path, args);
    match dice.roll(4) {
        0 => write(&path.join(format!("file{step}")), &format!("{}\n", dice.roll(1 << 40))),
        1 => {
            write(&path.join("work.txt"), &format!("{}\n", dice.roll(1 << 40)));
            git(&["commit", "-q", "-a", "-m", "more"]);
            worked.commits.push(git(&["rev-parse", "HEAD"]));
        }
        2 => {
            write(&path.join("staged"), &format!("{}\n", dice.roll(1 << 40)));
            git(&["add", "staged"]);
        }
        _rest => {}
    }
    ground.look_again(worked);
}

fn request(dice: &mut Dice, lane: &Lane) -> Vec<String> {
    let name = lane.name.as_str();
    let words: &[&str] = match (&lane.known, dice.roll(4)) {
        (Known::Absent, _) => &["create", name],
        (Known::Open(_), 0 | 1) => &["cleanup", name],
        (Known::Open(_), 2) => &["exec", name, "--detach", "--", "sleep", "100000"],
        (Known::Open(_), _) => &["show", name],
        (Known::Retired(_), 0) => &["trash", "empty", name, "--yes"],
        (Known::Retired(_), _) => &["restore", name],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Waits for a random instant and kills somebody.
fn strike(ground: &Ground, dice: &mut Dice, client: &mut Child, counts: &mut Counts) {
    let micros = dice.roll(WITHIN_MS * 1000);
    let victim = dice.roll(10);
    // Not a wait for anything: the instant is what the dice say.
    std::thread::sleep(Duration::from_micros(micros));
    let kill = |pid: u32| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
    };
    match victim {
        0..=5 => {
            counts.daemons += u64::from(ground.daemon().is_some());
            ground.kill();
        }
        6 => {
            let Some(daemon) = ground.daemon() else { return };
            let below = lanes::proc::descendants(daemon.as_raw_nonzero().get().unsigned_abs());
            let git = below.iter().find(|process| process.name.starts_with(b"git"));
            counts.gits += u64::from(git.is_some_and(|process| kill(process.pid)));
        }
        7 => {
            let keeper = lanes::proc::all().into_iter().find(|process| ground.is_keeper(process.pid));
            counts.keepers += u64::from(keeper.is_some_and(|process| kill(process.pid)));
        }
        8 => {
            counts.clients += u64::from(client.kill().is_ok());
            // What it has asked for may go on at any time; a daemon that stops has taken or refused it.
            ground.scene.ok(&["daemon", "restart"]);
        }
        _nobody => {}
    }
}

/// Finds out what became of a lane. Nothing of it may be lost, wherever it is.
fn settle(ground: &Ground, lane: &mut Lane) {
    let open = ground.open_path(&lane.name);
    let known = std::mem::replace(&mut lane.known, Known::Absent);
    lane.known = match (known, open) {
        (Known::Absent, None) => Known::Absent,
        (Known::Absent, Some(_path)) => Known::Open(ground.fill(&lane.name, Kind::Full)),
        (Known::Open(mut worked) | Known::Retired(mut worked), Some(path)) => {
            ground.is_whole(&worked, &path);
            worked.made.path = path;
            Known::Open(worked)
        }
        (Known::Open(worked), None) => {
            assert!(ground.is_in_trash(&lane.name), "{} is neither open nor in the trash", lane.name);
            Known::Retired(worked)
        }
        (Known::Retired(worked), None) if ground.is_in_trash(&lane.name) => Known::Retired(worked),
        // It was emptied: what it alone held is gone with it, as it was asked for.
        (Known::Retired(_worked), None) => {
            ground.drop_branch(&lane.name);
            Known::Absent
        }
    };
}

/// Brings everything back once more, and ends it.
fn end(ground: &Ground, lanes: &mut [Lane]) {
    for lane in lanes.iter() {
        if let Known::Open(_) = lane.known {
            ground.closes(&lane.name);
        }
    }
    let held: Vec<(&str, &Worked)> = lanes
        .iter()
        .filter_map(|lane| match &lane.known {
            Known::Absent => None,
            Known::Open(worked) | Known::Retired(worked) => Some((lane.name.as_str(), worked)),
        })
        .collect();
    // A saving whose git was killed waits for the next start.
    ground.stop();
    ground.recover();
    for (name, _worked) in &held {
        until("its files are saved", || ground.is_saved(name));
    }
    let all: Vec<&Worked> = held.iter().map(|(_name, worked)| *worked).collect();
    ground.nothing_lost(&all, true);
    ground.scene.git(&["prune", "--expire", "now"]);
    for (name, worked) in &held {
        let back = ground.scene.restore(&[name]);
        ground.is_whole(worked, &back.path);
        ground.closes(name);
    }
    for lane in lanes.iter() {
        ground.drop_branch(&lane.name);
    }
    ground.forget("none");
}
