//! `lanes diff`.

use super::args::LaneArg;
use super::connect;
use super::sanitise::OutputFilter;
use super::session::Session;
use crate::api::LaneView;
use crate::failure::Failure;
use crate::raw::Raw;
use crate::worktree::{self, Git, GitConfig};

/// Prints what a lane changed. It can be large, so it is made here and not sent through the daemon.
pub async fn diff(session: &Session, args: LaneArg) -> Result<u8, Failure> {
    let lane = session.get(&args.lane).await?;
    let patch = patch(&lane, connect::user_config(&session.at)?).await?;
    if session.output.json {
        session.output.object(&serde_json::json!({ "diff": Raw(patch) }))?;
    } else if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        session.output.bytes(&OutputFilter::default().feed(&patch))?;
    } else {
        session.output.bytes(&patch)?;
    }
    Ok(0)
}

/// The repository comes from the lane's record and not from its tree, where an agent may have changed it.
async fn patch(lane: &LaneView, config: crate::config::Config) -> Result<Vec<u8>, Failure> {
    let config = GitConfig {
        timeout: config.git.timeout,
        checkout_timeout: config.git.checkout_timeout,
        ..GitConfig::default()
    };
    let git = Git::find(config).await?;
    let repo = worktree::discover(&git, lane.repo.as_path()).await?;
    let tree = lane.worktree.as_path();
    let admin_dir = worktree::admin_dir_of(&repo, tree)?;
    Ok(worktree::diff(&git, &repo, tree, &admin_dir, &lane.base).await?)
}
