//! Says what would help when there is too little room for a lane.

use std::path::Path;
use std::time::Duration;

use crate::config::size_text;
use crate::failure::{Code, Failure};
use crate::worktree;

/// Whoever was refused waits no longer for the sizes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same failure; when the disk of a root is low, with what may be freed there.
pub(super) async fn with_what_helps(failure: Failure, root: &Path) -> Failure {
    if failure.code != Code::DiskLow {
        return failure;
    }
    let root = root.to_path_buf();
    let look = tokio::task::spawn_blocking(move || {
        let trash = worktree::measure(&root.join(worktree::trash::TRASH_DIR)).unwrap_or_default();
        (worktree::usage_of_spares(&root).bytes, trash.bytes)
    });
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok((spares, trash))) => match taken(spares, trash) {
            Some(taken) => {
                let hint =
                    failure.hint.as_deref().map_or_else(|| taken.clone(), |hint| format!("{hint}; {taken}"));
                failure.hint(hint)
            }
            None => failure,
        },
        Ok(Err(_)) | Err(_) => failure,
    }
}

/// What is there to be freed, the least missed first.
fn taken(spares: u64, trash: u64) -> Option<String> {
    let spares = (spares > 0).then(|| format!("spare trees take {} (lanes gc --all)", size_text(spares)));
    let trash = (trash > 0).then(|| format!("closed lanes take {} (lanes trash empty)", size_text(trash)));
    let all: Vec<String> = spares.into_iter().chain(trash).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
