//! Work in the background: its thread, its rests, its turns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lanes::worktree::pressure::{Sample, Stall};
use lanes::worktree::{Pace, WorktreeError};
use tokio_util::sync::CancellationToken;

/// Longer than any of these tests may take.
const LONG: Duration = Duration::from_secs(60);

/// A machine on which others wait.
fn pressed() -> Sample {
    Sample { cpu: Some(Stall { avg10: 99.0, total_us: 0 }), cpus: 1, ..Sample::default() }
}

fn calm() -> Sample {
    Sample { cpus: 1, ..Sample::default() }
}

/// The priority of the calling thread and its I/O class (0 none, 3 idle).
fn priorities() -> (i32, i64) {
    let nice = rustix::process::getpriority_process(None).expect("a priority");
    // SAFETY: takes two numbers and touches no memory.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    (nice, io >> 13)
}

#[tokio::test]
async fn work_in_the_background_is_idle_and_nothing_after_it_is() {
    let before = tokio::task::spawn_blocking(priorities).await.expect("ran");
    let pace = Pace::watching(calm);
    let inside = pace.run("looking", |_pace, _cancel| Ok(priorities())).await.expect("ran");
    assert_eq!(inside, (19, 3));
    for _ in 0..8 {
        let after = tokio::task::spawn_blocking(priorities).await.expect("ran");
        assert_eq!(after, before, "the thread that waited for it is used again");
    }
    let full = Pace::full().run("looking", |_pace, _cancel| Ok(priorities())).await.expect("ran");
    assert_eq!(full, before);
}

#[tokio::test]
async fn a_rest_ends_at_once_when_nobody_waits_for_the_work() {
    let pace = Pace::watching(pressed);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let work = move |pace: &Pace, cancel: &CancellationToken| -> Result<(), WorktreeError> {
        begun.send(()).expect("somebody listens");
        let since = Instant::now();
        while !cancel.is_cancelled() && since.elapsed() < LONG {
            pace.rest(LONG);
        }
        ended.send(cancel.is_cancelled()).expect("somebody listens");
        Ok(())
    };
    let job = tokio::spawn(async move { pace.run("resting", work).await });
    has_begun.await.expect("it began");
    job.abort();
    assert!(has_ended.await.expect("it ended"), "told that nobody waits");
}

#[tokio::test]
async fn who_is_in_a_hurry_ends_all_rests_and_there_are_none_meanwhile() {
    let pace = Pace::watching(pressed);
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let seen = Arc::clone(&stop);
    let work = move |pace: &Pace, _cancel: &CancellationToken| {
        begun.send(()).expect("somebody listens");
        let mut rests = 0_u32;
        while !seen.load(Ordering::Acquire) {
            pace.rest(LONG);
            rests += 1;
        }
        Ok(rests)
    };
    let job = tokio::spawn({
        let pace = pace.clone();
        async move { pace.run("resting", work).await }
    });
    has_begun.await.expect("it began");
    let hurry = pace.hurry();
    let since = Instant::now();
    for _ in 0..1_000 {
        pace.rest(LONG);
    }
    stop.store(true, Ordering::Release);
    let _rests = job.await.expect("ran").expect("done");
    assert!(since.elapsed() < LONG);
    drop(hurry);
}

#[tokio::test]
async fn jobs_take_turns_slice_by_slice_and_one_after_the_other_works() {
    let pace = Pace::watching(calm);
    let order = Arc::new(Mutex::new(Vec::new()));
    let at_work = Arc::new(AtomicBool::new(false));
    let together = Arc::new(tokio::sync::Barrier::new(2));
    let jobs = ['a', 'b'].map(|name| {
        let (pace, order, at_work) = (pace.clone(), Arc::clone(&order), Arc::clone(&at_work));
        let together = Arc::clone(&together);
        tokio::spawn(async move {
            together.wait().await;
            let work = move |pace: &Pace, _cancel: &CancellationToken| {
                // The first has its turn before the second comes: it goes on until the second waits.
                let since = Instant::now();
                let mut mine = 0;
                while mine < 20 && since.elapsed() < LONG {
                    assert!(!at_work.swap(true, Ordering::AcqRel), "somebody else is at work");
                    let both = {
                        let mut order = order.lock().expect("a lock");
                        order.push(name);
                        order.contains(&'a') && order.contains(&'b')
                    };
                    mine += usize::from(both);
                    at_work.store(false, Ordering::Release);
                    pace.rest(Duration::from_millis(4));
                }
                Ok(())
            };
            pace.run("taking turns", work).await
        })
    });
    for job in jobs {
        job.await.expect("ran").expect("done");
    }
    let order = order.lock().expect("a lock");
    let both = order.iter().position(|name| *name != order[0]).expect("both worked");
    for pair in order[both..both + 20].windows(2) {
        assert_ne!(pair[0], pair[1], "{order:?}");
    }
}

#[tokio::test]
async fn what_panics_leaves_its_turn_to_the_next() {
    let pace = Pace::watching(calm);
    let failed = pace.run("failing", |_pace, _cancel| -> Result<(), WorktreeError> { panic!("as planned") });
    assert!(matches!(failed.await, Err(WorktreeError::Stopped { .. })));
    pace.run("going on", |_pace, _cancel| Ok(())).await.expect("its turn");
}
