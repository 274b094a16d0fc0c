//! Plain git, as everybody has it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::yard::Yard;
use super::cost::{self, Of, Spent, Taken};
use super::desk::next;
use super::rows::Rows;

/// How often one git of many at once is tried.
const TRIES: usize = 20;

/// Makes, looks at and removes trees, in turn or at once.
pub(super) fn round(
    yard: &Yard,
    commit: &str,
    count: usize,
    at_once: bool,
    into: &mut Rows,
) -> Result<(), String> {
    let trees: Vec<(String, PathBuf)> = (0..count)
        .map(|_| format!("plain-{}", next()))
        .map(|name| (name.clone(), yard.path("plain").join(name)))
        .collect();
    std::fs::create_dir_all(yard.path("plain")).map_err(|error| error.to_string())?;
    let (spent, taken) = (Spent::so_far(std::process::id(), Of::Children)?, Taken::now(&yard.repo)?);
    let begun = Instant::now();
    into.each.extend(each(&trees, at_once, |name, path| {
        again(at_once, |tries| {
            // One that failed may have made its branch.
            let branch = if tries == 0 { "-b" } else { "-B" };
            let mut command = yard.command("git", &yard.repo);
            command.args(["worktree", "add", "-q", "--no-track", branch, name]).arg(path).arg(commit);
            yard.timed(command)
        })
    })?);
    into.create.push(begun.elapsed().as_secs_f64() * 1e3);
    let now = Taken::now(&yard.repo)?;
    into.disk.push((now.kib - taken.kib) / count as f64);
    into.inodes.push((now.inodes - taken.inodes) / count as f64);
    let (_name, first) = trees.first().ok_or("no tree was asked for")?;
    let read = cost::read_so_far();
    into.status.push(yard.git(first, ["status", "--porcelain"])?);
    into.status_read.push(cost::read_so_far() - read);
    let begun = Instant::now();
    let _each = each(&trees, at_once, |_name, path| {
        again(at_once, |_tries| {
            let mut command = yard.command("git", &yard.repo);
            command.args(["worktree", "remove", "--force"]).arg(path);
            yard.timed(command)
        })
    })?;
    into.close.push(begun.elapsed().as_secs_f64() * 1e3);
    into.spent.push(Spent::so_far(std::process::id(), Of::Children)?.since(spent, count));
    let names = trees.iter().map(|(name, _path)| name.as_str());
    yard.git(&yard.repo, ["branch", "-q", "-D"].into_iter().chain(names)).map(drop)
}

/// Tries again what git refused: beside others of its kind it fails when one reads an entry that the other has
/// only begun, or is removing. What the tries took counts together.
fn again(at_once: bool, attempt: impl Fn(usize) -> Result<f64, String>) -> Result<f64, String> {
    let begun = Instant::now();
    for tries in 0..TRIES {
        match attempt(tries) {
            Err(why) if at_once && tries + 1 < TRIES => eprintln!("git, at once: again, as {why}"),
            Ok(_ms) if tries > 0 => return Ok(begun.elapsed().as_secs_f64() * 1e3),
            other => return other,
        }
    }
    Err("git was not tried".to_owned())
}

fn each(
    trees: &[(String, PathBuf)],
    at_once: bool,
    act: impl Fn(&str, &Path) -> Result<f64, String> + Sync,
) -> Result<Vec<f64>, String> {
    if !at_once {
        return trees.iter().map(|(name, path)| act(name, path)).collect();
    }
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = trees.iter().map(|(name, path)| scope.spawn(move || act(name, path))).collect();
        threads
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    })
}
