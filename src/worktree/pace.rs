//! How fast work on files goes: at once, for somebody who waits, or in the background, where nobody notices.
//!
//! Work in the background is done in slices of some milliseconds with a rest after each. How long it rests
//! depends on what the machine has to do ([`Pressure`]): it takes at most a quarter of one processor when
//! the machine is calm, a twentieth when it is busy, and a hundredth when others wait. So it always goes on:
//! what takes a second at full pace is done in less than two minutes in the worst case. Priorities are
//! lowered too, but they are not what keeps it unnoticed: with one group of processes a session (autogroup)
//! the processor does not look at them, and few disks' schedulers know the idle class.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::WorktreeError;
use super::pressure::{self, Pressure, Sample};

/// So much is done before a rest: short enough that nobody waits for its end, long enough that waking up
/// costs nothing against it.
const SLICE: Duration = Duration::from_millis(4);
/// No rest is longer, however long a slice took because a disk was slow.
const MAX_REST: Duration = Duration::from_secs(2);
/// How often the machine is looked at: a build that begins is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The lowest priority of a thread.
const LOWEST: i32 = 19;

/// How long to rest after so much work.
pub fn rest_after(worked: Duration, pressure: Pressure) -> Duration {
    let times = match pressure {
        Pressure::Calm => 3,
        Pressure::Busy => 19,
        Pressure::Pressed => 99,
    };
    (worked * times).min(MAX_REST)
}

/// The pace of one piece of work. Work is cut into small parts; after each it asks for a rest. Clones of a
/// background pace share what they may take: together they do no more than one alone, and take turns.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    turns: Option<Arc<Turns>>,
    job: Option<Arc<Job>>,
}

/// A piece of work that has a thread of its own.
#[derive(Debug)]
struct Job {
    id: u64,
    cancel: CancellationToken,
}

impl Pace {
    /// As fast as it goes: somebody waits for it.
    pub const fn full() -> Self {
        Self { turns: None, job: None }
    }

    /// Beside other work. A runtime has one, and clones of it.
    pub fn background() -> Self {
        Self::watching(pressure::look)
    }

    /// As [`Pace::background`], where `look` says how the machine is.
    #[doc(hidden)]
    pub fn watching(look: impl Fn() -> Sample + Send + Sync + 'static) -> Self {
        let turns = Turns { state: Mutex::default(), changed: Condvar::new(), look: Box::new(look) };
        Self { turns: Some(Arc::new(turns)), job: None }
    }

    /// True in the background.
    pub const fn is_background(&self) -> bool {
        self.turns.is_some()
    }

    /// Called after a part of the work that took so long. Blocks for the rest that is due, which ends early
    /// when the work is hurried or cancelled; afterwards another job of the same pace may have its turn first.
    pub fn rest(&self, worked: Duration) {
        if let Some(turns) = &self.turns {
            turns.rest(self.job.as_deref(), worked);
        }
    }

    /// For work of many small parts: rests by itself every few milliseconds.
    pub fn stint(&self) -> Stint<'_> {
        let waited = if self.is_background() { waited() } else { Duration::ZERO };
        Stint { pace: self, since: Instant::now(), waited }
    }

    /// Lets this pace and its clones go on at full pace until the guard is dropped: somebody waits now.
    #[must_use]
    pub fn hurry(&self) -> Hurry {
        if let Some(turns) = &self.turns {
            turns.lock().hurried += 1;
            turns.changed.notify_all();
        }
        Hurry { turns: self.turns.clone() }
    }

    /// Runs blocking work at this pace. In the background it has a thread of its own with idle I/O class and
    /// the lowest priority, which ends with it, so that nothing else inherits them; jobs take turns slice
    /// by slice, in the order they came. When the future is dropped the token is cancelled, a rest ends at
    /// once, and the work stops where it looks at the token.
    ///
    /// # Errors
    /// What the work says; `Stopped` when the runtime ended first.
    pub async fn run<T: Send + 'static>(
        &self,
        attempt: &'static str,
        work: impl FnOnce(&Self, &CancellationToken) -> Result<T, WorktreeError> + Send + 'static,
    ) -> Result<T, WorktreeError> {
        let cancel = CancellationToken::new();
        let pace = match &self.turns {
            None => Self::full(),
            Some(turns) => Self { turns: Some(Arc::clone(turns)), job: Some(turns.join(cancel.clone())) },
        };
        let _stop_when_dropped = Stop { cancel: cancel.clone(), turns: self.turns.clone() };
        let work = move || match &pace.turns {
            None => work(&pace, &cancel),
            Some(turns) => lowered(|| {
                let _turn = turns.enter(pace.job.as_deref());
                work(&pace, &cancel)
            }),
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_stopped) => Err(WorktreeError::Stopped { attempt }),
        }
    }
}

/// Runs something on a thread with the lowest priorities and waits for it; here when there is no thread to
/// be had.
fn lowered<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let mut work = Some(work);
    let take = &mut work;
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lanes-background".to_owned());
        let begun = thread.spawn_scoped(scope, move || {
            lower_priorities();
            let work = take.take().expect("invariant: it is taken once");
            work()
        });
        begun.ok().map(std::thread::ScopedJoinHandle::join)
    });
    match done {
        Some(Ok(result)) => result,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => work.take().expect("invariant: no thread took it")(),
    }
}

/// Gives the calling thread, and what it starts, the idle I/O class and the lowest priority. What is refused
/// (a sandbox) is left: the rests are what counts.
fn lower_priorities() {
    let _refused = rustix::process::setpriority_process(None, LOWEST);
    #[cfg(target_os = "linux")]
    {
        const WHO_PROCESS: libc::c_int = 1;
        const IDLE_CLASS: libc::c_int = 3 << 13;
        // SAFETY: takes three numbers and touches no memory of ours; 0 is the calling thread.
        let _refused = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE_CLASS) };
    }
}

/// Work of many small parts.
#[derive(Debug)]
pub struct Stint<'a> {
    pace: &'a Pace,
    since: Instant,
    /// What the thread had waited for a processor by then.
    waited: Duration,
}

impl Stint<'_> {
    /// True when nobody waits for the work any more.
    pub fn is_cancelled(&self) -> bool {
        self.pace.job.as_ref().is_some_and(|job| job.cancel.is_cancelled())
    }

    /// Called after each part.
    pub fn step(&mut self) {
        if !self.pace.is_background() {
            return;
        }
        if self.since.elapsed() >= SLICE {
            self.end();
        }
    }

    /// Rests for what was done. To wait for a processor is none of it: with the lowest priority that may be
    /// nearly all the time, and rests after it would bring the work to a stop.
    fn end(&mut self) {
        if !self.pace.is_background() {
            return;
        }
        let waiting = waited().saturating_sub(self.waited);
        self.pace.rest(self.since.elapsed().saturating_sub(waiting));
        (self.since, self.waited) = (Instant::now(), waited());
    }
}

/// How long the calling thread has waited for a processor since it began; nothing where the system does not say.
fn waited() -> Duration {
    // proc(5), sched-stats.txt of the kernel: nanoseconds on a processor, nanoseconds waiting for one, slices.
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = said.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

impl Drop for Stint<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// While it is held, a pace is full.
#[derive(Debug)]
pub struct Hurry {
    turns: Option<Arc<Turns>>,
}

impl Drop for Hurry {
    fn drop(&mut self) {
        if let Some(turns) = &self.turns {
            turns.lock().hurried -= 1;
        }
    }
}

/// Cancels work that nobody waits for any more, and wakes it.
struct Stop {
    cancel: CancellationToken,
    turns: Option<Arc<Turns>>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(turns) = &self.turns {
            // The lock: who looks at the token holds it, and then waits.
            drop(turns.lock());
            turns.changed.notify_all();
        }
    }
}

/// What the jobs of one pace share.
struct Turns {
    state: Mutex<State>,
    changed: Condvar,
    look: Box<dyn Fn() -> Sample + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Jobs in the order they came; the first has its turn.
    queue: VecDeque<u64>,
    next: u64,
    /// Work since the last rest.
    owed: Duration,
    /// Who holds a [`Hurry`].
    hurried: usize,
    pressure: Pressure,
    seen: Option<(Instant, Sample)>,
    /// Work since the machine was looked at.
    worked: Duration,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

impl Turns {
    /// What a job that panicked has left is as good as before: numbers, each written at once.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, cancel: CancellationToken) -> Arc<Job> {
        let mut state = self.lock();
        state.next += 1;
        Arc::new(Job { id: state.next, cancel })
    }

    /// Waits for the job's turn, and gives it up with the guard.
    fn enter(&self, job: Option<&Job>) -> Option<Turn<'_>> {
        let job = job?;
        let turn = Turn { turns: self, id: job.id };
        let mut state = self.lock();
        state.queue.push_back(job.id);
        drop(self.wait_for_turn(state, job));
        Some(turn)
    }

    fn wait_for_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, job: &Job) -> MutexGuard<'a, State> {
        while state.queue.front() != Some(&job.id) && state.hurried == 0 && !job.cancel.is_cancelled() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn rest(&self, job: Option<&Job>, worked: Duration) {
        let mut state = self.lock();
        state.owed += worked;
        state.worked += worked;
        if state.hurried > 0 {
            state.owed = Duration::ZERO;
            return;
        }
        if state.owed < SLICE {
            return;
        }
        if state.seen.is_none_or(|(at, _sample)| at.elapsed() >= LOOK_EVERY) {
            drop(state);
            let now = (self.look)();
            state = self.lock();
            state.take_in(now);
        }
        let owed = std::mem::take(&mut state.owed);
        let until = Instant::now() + rest_after(owed, state.pressure);
        let is_over = |state: &State| state.hurried > 0 || job.is_some_and(|job| job.cancel.is_cancelled());
        while !is_over(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let Some(job) = job.filter(|_| state.queue.len() > 1) else { return };
        state.queue.retain(|id| *id != job.id);
        state.queue.push_back(job.id);
        self.changed.notify_all();
        drop(self.wait_for_turn(state, job));
    }
}

impl State {
    fn take_in(&mut self, now: Sample) {
        let before = self.seen.as_ref();
        let elapsed = before.map_or(Duration::ZERO, |(at, _sample)| at.elapsed());
        self.pressure = pressure::weigh(before.map(|(_at, sample)| sample), &now, elapsed, self.worked);
        self.seen = Some((Instant::now(), now));
        self.worked = Duration::ZERO;
    }
}

/// The place of a job in the queue.
struct Turn<'a> {
    turns: &'a Turns,
    id: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().queue.retain(|id| *id != self.id);
        self.turns.changed.notify_all();
    }
}
