//! Looks at everything, each part for itself and with a deadline.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::check::Check;
use super::state::{self, DaemonFacts};
use super::{machine, survey_home, survey_machine, survey_repository};
use crate::bus::{Snapshot, Table};
use crate::config;
use crate::ids::TaskId;
use crate::lanes::lane::{Lane, Stage, Task};
use crate::lanes::table::State;
use crate::lanes::workspace::Record;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The state folder.
    pub home: PathBuf,
    /// Where the user is.
    pub cwd: PathBuf,
    /// The user's configuration.
    pub user_config: Option<PathBuf>,
    /// How long one part may take; the store and the trash may take six times as long.
    pub patience: Duration,
}

impl Subject {
    /// With the usual patience.
    pub fn new(home: PathBuf, cwd: PathBuf, user_config: Option<PathBuf>) -> Self {
        Self { home, cwd, user_config, patience: Duration::from_secs(5) }
    }

    /// For what reads a lot.
    pub(super) fn long_patience(&self) -> Duration {
        self.patience * 6
    }
}

/// What the store says, as far as it can be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// Open lanes, with the common git directory of their repository; none when nobody knows.
    pub open: Option<Vec<(Lane, PathBuf)>>,
    /// Tasks of open lanes that have not ended.
    pub known: BTreeSet<TaskId>,
    /// Records that cannot be read.
    pub unreadable: usize,
}

impl Records {
    /// Reads what a look into the store gave.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut unreadable = 0;
        let mut lanes: Vec<Lane> = read(snapshot, Table::Lanes, &mut unreadable);
        let tasks: Vec<Task> = read(snapshot, Table::Tasks, &mut unreadable);
        lanes.retain(|lane| lane.state() != State::Closed);
        let open: BTreeSet<_> = lanes.iter().map(|lane| lane.id).collect();
        let waits = |task: &&Task| task.stage != Stage::Ended && open.contains(&task.lane_id);
        let known = tasks.iter().filter(waits).map(|task| task.id).collect();
        let places: Vec<Record> = read(snapshot, Table::Workspaces, &mut unreadable);
        // A lane names where its repository was when it was made.
        let place = |lane: &Lane| {
            let now = places.iter().find(|place| place.id == lane.workspace_id());
            now.map_or_else(|| lane.common_dir.to_path_buf(), |place| place.common_dir.to_path_buf())
        };
        let open = lanes.into_iter().map(|lane| (place(&lane), lane)).map(|(at, lane)| (lane, at)).collect();
        Self { open: Some(open), known, unreadable }
    }
}

fn read<T: serde::de::DeserializeOwned>(
    snapshot: &Snapshot,
    wanted: Table,
    unreadable: &mut usize,
) -> Vec<T> {
    let rows = snapshot.records.iter().filter(|(table, _rows)| *table == wanted).flat_map(|(_, rows)| rows);
    let mut found = Vec::new();
    for (_key, body) in rows {
        match T::deserialize(body) {
            Ok(value) => found.push(value),
            Err(_another_shape) => *unreadable += 1,
        }
    }
    found
}

/// Looks, and changes nothing. No daemon is started; one that runs is asked how it is.
pub async fn examine(subject: &Subject) -> Vec<Check> {
    let patience = subject.patience;
    let daemon = survey_home::daemon(&subject.home, patience).await;
    let (store, records, newest) = store(subject, &daemon).await;
    let git = survey_machine::git(subject, &daemon).await;

    let mut checks = machine::judge_git(&git.facts);
    let home = subject.home.clone();
    checks.extend(match within("machine", patience, move || survey_machine::machine(&home, newest)).await {
        Ok(facts) => machine::judge_machine(&facts),
        Err(late) => vec![late],
    });
    checks.extend(state::judge_daemon(&daemon));
    checks.extend(home_checks(subject, &daemon, &records).await);
    checks.extend(store);
    checks.push(user_config(subject).await);
    let lanes = records.open.clone().unwrap_or_default();
    checks.extend(match within("lanes.trees", patience, move || survey_repository::lanes(&lanes)).await {
        Ok(lanes) => super::trees::judge_lanes(&lanes),
        Err(late) => vec![late],
    });
    if let Some(git) = git.git {
        checks.extend(survey_repository::repository(subject, &git, &daemon, &records).await);
    }
    checks
}

async fn home_checks(subject: &Subject, daemon: &DaemonFacts, records: &Records) -> Vec<Check> {
    let (patience, owned) = (subject.patience, daemon.is_owned());
    let mut checks = Vec::new();
    let home = subject.home.clone();
    match within("home", patience, move || survey_home::home(&home, owned, patience / 2)).await {
        Ok(facts) => {
            let there = facts.there && facts.refused.is_none();
            checks.extend(state::judge_home(&facts));
            if !there {
                return checks;
            }
        }
        Err(late) => return vec![late],
    }
    let (home, known) = (subject.home.clone(), records.open.is_some().then(|| records.known.clone()));
    let watched = matches!(daemon, DaemonFacts::Answers { .. });
    checks.extend(
        match within("home.runs", patience, move || survey_home::runs(&home, known.as_ref(), watched)).await {
            Ok(facts) => state::judge_runs(&facts),
            Err(late) => vec![late],
        },
    );
    let home = subject.home.clone();
    checks.extend(match within("home.disk", patience, move || survey_home::disk(&home)).await {
        Ok(Some(disk)) => super::judge_disk(super::Place::Home, &disk, survey_home::HOME_FLOORS),
        Ok(None) => Vec::new(),
        Err(late) => vec![late],
    });
    checks
}

async fn store(
    subject: &Subject,
    daemon: &DaemonFacts,
) -> (Vec<Check>, Records, Option<crate::clock::Timestamp>) {
    let (home, owned) = (subject.home.clone(), daemon.is_owned());
    match within("store.integrity", subject.long_patience(), move || survey_home::store(&home, owned)).await {
        Ok((mut facts, found)) => {
            let newest = found.as_ref().and_then(|found| found.newest);
            let nothing_yet = !facts.there || found.as_ref().is_some_and(|found| found.version == 0);
            let records = match found.and_then(|found| found.records) {
                Some(snapshot) => Records::of(&snapshot),
                None if nothing_yet && facts.broken.is_none() => {
                    Records { open: Some(Vec::new()), ..Records::default() }
                }
                None => Records::default(),
            };
            facts.unreadable = records.unreadable;
            (state::judge_store(&facts), records, newest)
        }
        Err(late) => (vec![late], Records::default(), None),
    }
}

async fn user_config(subject: &Subject) -> Check {
    const ID: &str = "config.user";
    let Some(file) = subject.user_config.clone() else {
        return Check::ok(ID, "you have no configuration of your own");
    };
    let shown = file.display().to_string();
    match within(ID, subject.patience, move || config::load(None, Some(&file), false)).await {
        Ok(Ok(_good)) => Check::ok(ID, format!("your configuration ({shown}) is well")),
        Ok(Err(error)) => Check::fail(ID, error.to_string()).hint("correct the file that is named"),
        Err(late) => late,
    }
}

/// Runs a look that may block, at most for `patience`.
///
/// # Errors
/// The check that says that it did not come to an end. What hangs in the kernel goes on hanging: its thread
/// ends with the process.
pub async fn within<T: Send + 'static>(
    id: &'static str,
    patience: Duration,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Check> {
    match tokio::time::timeout(patience, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_panicked)) => {
            Err(Check::fail(id, "looking at it went wrong").hint("please tell us how it came to that"))
        }
        Err(_late) => Err(late(id, patience)),
    }
}

/// The check that says that something took too long.
pub(super) fn late(id: &'static str, patience: Duration) -> Check {
    let seconds = humantime::format_duration(patience);
    Check::fail(id, format!("looking at it did not come to an end in {seconds}"))
        .hint("a file system or program hangs: a network disk that is away, perhaps (df shows it)")
}
