//! Spare trees: what there is, what is left of some, and whether there is room for more.

use std::path::PathBuf;

use super::check::{Check, Mend, count, some};
use crate::config::size_text;
use crate::worktree::{DiskFacts, Short, Verdict, judge};

/// The spare trees of a workspace, in one root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpareFacts {
    /// Where the user is: what is asked of the daemon is about this place.
    pub cwd: PathBuf,
    /// A daemon answers: it looks after them, and without one the next does when it starts.
    pub watched: bool,
    /// Ready templates.
    pub templates: usize,
    /// Ready trees for lanes.
    pub pooled: usize,
    /// What was left behind.
    pub rubbish: Vec<PathBuf>,
    /// Whole ones whose home is gone.
    pub homeless: Vec<PathBuf>,
    /// Ready ones whose admin entry git may prune.
    pub unlocked: Vec<PathBuf>,
    /// The room on the disk, what must stay free, and what spares and trash take.
    pub disk: DiskFacts,
}

/// Says how the spare trees are.
pub fn judge_spares(facts: &SpareFacts) -> Vec<Check> {
    const ID: &str = "spares.trees";
    let mut checks = Vec::new();
    let ask = || Mend::Gc(facts.cwd.clone());
    if !facts.rubbish.is_empty() {
        let message = format!(
            "{} left behind: {}",
            count(facts.rubbish.len(), "spare tree was", "spare trees were"),
            shown(&facts.rubbish)
        );
        checks.push(match facts.watched {
            true => Check::warn(ID, message).hint("lanes gc removes them").mend(ask()),
            false => Check::note(ID, message).hint("the daemon removes them when it starts"),
        });
    }
    if !facts.homeless.is_empty() {
        let message = format!(
            "{} of a home that is gone: {}",
            count(facts.homeless.len(), "spare tree is", "spare trees are"),
            shown(&facts.homeless)
        );
        checks.push(Check::note(ID, message).hint("lanes gc removes those that nobody worked in"));
    }
    if !facts.unlocked.is_empty() {
        let message = format!(
            "{} not locked, so git may prune the entries: {}",
            count(facts.unlocked.len(), "spare tree is", "spare trees are"),
            shown(&facts.unlocked)
        );
        checks.push(Check::warn(ID, message).hint("have them made anew: lanes gc --all"));
    }
    checks.extend(room(&facts.disk));
    if checks.is_empty() {
        let message = match facts.templates + facts.pooled {
            0 => "there are no spare trees: the next lane is made by git".to_owned(),
            _some => format!(
                "{} and {} take {}",
                count(facts.pooled, "ready tree", "ready trees"),
                count(facts.templates, "template", "templates"),
                size_text(facts.disk.spares.bytes)
            ),
        };
        checks.push(Check::ok(ID, message));
    }
    checks
}

/// Whether spares are made. That lanes are refused is said by the check of the disk.
fn room(disk: &DiskFacts) -> Option<Check> {
    const ID: &str = "spares.room";
    let short = |short: Short| match short {
        Short::Bytes => "there is less than twice `disk.min_free` on the disk",
        Short::Inodes => "there are fewer inodes than twice `disk.min_inodes` on the disk",
        Short::Budget => "spares and trash take what `disk.budget` allows",
    };
    let hint = "free space with `lanes gc` or `lanes trash empty`; until then lanes take longer to make";
    match judge(disk) {
        Verdict::Fine | Verdict::RefuseLanes(_) => None,
        Verdict::NoRefills(why) => {
            Some(Check::note(ID, format!("no more spare trees are made: {}", short(why))).hint(hint))
        }
        Verdict::GiveUpSpares(why) => {
            let why = match why {
                Short::Bytes => "there is less than `disk.min_free` on the disk",
                Short::Inodes => "there are fewer inodes than `disk.min_inodes` on the disk",
                Short::Budget => "spares and trash take more than `disk.budget`",
            };
            Some(Check::warn(ID, format!("spare trees are given up: {why}")).hint(hint))
        }
    }
}

fn shown(paths: &[PathBuf]) -> String {
    some(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}
