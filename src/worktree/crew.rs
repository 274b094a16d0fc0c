//! A few threads that work off units of work, where a unit may bring more of them.

use std::sync::{Condvar, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::error::WorktreeError;

/// Works off `first` and everything that comes of it, one thread for each of `hands`, the caller's being
/// the first of them. The units that came last are taken first. Returns the hands when all is done.
///
/// # Errors
/// The first one; the others stop with their unit. `Stopped` when cancelled.
pub(super) fn work_off<U: Send, H: Send>(
    first: U,
    mut hands: Vec<H>,
    cancel: &CancellationToken,
    work: impl Fn(&mut H, U, &mut Vec<U>) -> Result<(), WorktreeError> + Sync,
) -> Result<Vec<H>, WorktreeError> {
    let crew = Crew {
        board: Mutex::new(Board { units: vec![first], busy: 0, failed: None }),
        changed: Condvar::new(),
        cancel,
    };
    if let Some((own, others)) = hands.split_first_mut() {
        std::thread::scope(|scope| {
            let (crew, work) = (&crew, &work);
            for hand in others {
                let named = std::thread::Builder::new().name("lanes-tree".to_owned());
                // Without it the others do the work.
                let _no_thread_is_left = named.spawn_scoped(scope, move || crew.take_part(hand, work));
            }
            crew.take_part(own, work);
        });
    }
    match crew.board.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
        Some(error) => Err(error),
        None => Ok(hands),
    }
}

struct Crew<'c, U> {
    board: Mutex<Board<U>>,
    changed: Condvar,
    cancel: &'c CancellationToken,
}

struct Board<U> {
    units: Vec<U>,
    /// How many are at a unit, which may bring more.
    busy: usize,
    failed: Option<WorktreeError>,
}

impl<U> Crew<'_, U> {
    fn take_part<H>(&self, hand: &mut H, work: impl Fn(&mut H, U, &mut Vec<U>) -> Result<(), WorktreeError>) {
        let mut more = Vec::new();
        while let Some(unit) = self.next() {
            let done = match self.cancel.is_cancelled() {
                true => Err(WorktreeError::Stopped { attempt: "going through a tree" }),
                false => work(hand, unit, &mut more),
            };
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            board.busy -= 1;
            if let Err(error) = done {
                board.failed.get_or_insert(error);
            }
            board.units.extend(more.drain(..).rev());
            let (is_over, is_more) = (board.busy == 0 || board.failed.is_some(), board.units.len() > 1);
            drop(board);
            if is_over || is_more {
                self.changed.notify_all();
            }
        }
    }

    /// The next unit; none when there will be no more, or one failed.
    fn next(&self) -> Option<U> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if board.failed.is_some() {
                return None;
            }
            if let Some(unit) = board.units.pop() {
                board.busy += 1;
                return Some(unit);
            }
            if board.busy == 0 {
                return None;
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
