//! What one way has shown, in rows beside plain git.

use super::super::Line;
use super::cost::Spent;

/// The numbers of one way with one number of lanes.
#[derive(Default)]
pub(super) struct Rows {
    /// From the request, or the first of them, until all are ready, in ms.
    pub(super) create: Vec<f64>,
    /// Each for itself.
    pub(super) each: Vec<f64>,
    /// The first `git status`, in ms.
    pub(super) status: Vec<f64>,
    /// What that has read, in KiB: the contents of files when it had to hash them again.
    pub(super) status_read: Vec<f64>,
    /// Until all are closed, in one request or at once.
    pub(super) close: Vec<f64>,
    /// The same one after the other.
    pub(super) close_in_turn: Vec<f64>,
    /// From the first request to close until the space is free.
    pub(super) free: Vec<f64>,
    /// Making and closing, what follows in the background included, a lane.
    pub(super) spent: Vec<Spent>,
    /// Bytes a lane takes on the disk, in KiB, what was made in the background included.
    pub(super) disk: Vec<f64>,
    /// The same in inodes.
    pub(super) inodes: Vec<f64>,
}

/// The lines of one way.
pub(super) fn lines(who: &str, count: usize, ours: &Rows, plain: &Rows) -> Vec<Line> {
    let line = |what: &str, unit: &'static str, ours: &[f64], theirs: &[f64]| Line {
        what: format!("{count} x {who}: {what}"),
        unit,
        ours: ours.to_vec(),
        theirs: theirs.to_vec(),
        more_is_better: false,
    };
    let mut lines = vec![line("request to ready | add", "ms", &ours.create, &plain.create)];
    if count > 1 {
        lines.push(line("one of them | one add", "ms", &ours.each, &plain.each));
    }
    // A processor's time is counted in hundredths of a second: only the mean of all rounds says anything.
    let mean = |rows: &Rows, part: fn(&Spent) -> f64| -> Vec<f64> {
        let sum: f64 = rows.spent.iter().map(part).sum();
        if rows.spent.is_empty() { vec![] } else { vec![sum / rows.spent.len() as f64] }
    };
    let cpu = |spent: &Spent| spent.cpu_ms;
    let written = |spent: &Spent| spent.written_kib;
    lines.extend([
        line("first git status", "ms", &ours.status, &plain.status),
        line("read by it", "KiB", &ours.status_read, &plain.status_read),
        line("close at once | remove in turn", "ms", &ours.close, &plain.close),
        line("close in turn | remove in turn", "ms", &ours.close_in_turn, &plain.close),
        line("until the space is free | remove", "ms", &ours.free, &plain.close),
        line("processor in all, a lane", "ms", &mean(ours, cpu), &mean(plain, cpu)),
        line("written in all, a lane", "KiB", &mean(ours, written), &mean(plain, written)),
        line("disk, a lane", "KiB", &ours.disk, &plain.disk),
        line("inodes, a lane", "", &ours.inodes, &plain.inodes),
    ]);
    lines.retain(|line| !line.ours.is_empty());
    lines
}
