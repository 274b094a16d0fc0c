//! Mends what the checks say can be mended, one by one, and says of each how it went.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::check::{Check, Mend, Status};
use super::survey::{Subject, examine};
use super::survey_machine;
use crate::api::socket::SOCKET;
use crate::api::{self, Client};
use crate::failure::{Code, Failure};
use crate::ids::TaskId;
use crate::keeper;
use crate::proc;
use crate::store::{LockError, Vacancy};
use crate::task;
use crate::worktree::{Git, Mode as GitMode, Place, links};

/// Mends what can be. What an owner of the home looks after is asked of it, or left while it does not
/// answer: the lock of the home is held while its files are mended. Gives each thing that was tried, then
/// everything as it is afterwards: what was mended is well, what was not says why.
pub async fn mend(subject: &Subject, checks: Vec<Check>) -> Vec<Check> {
    let mut tried = Vec::new();
    for mut check in checks.iter().cloned() {
        let Some(mend) = check.mend.clone() else { continue };
        match one(subject, &mend).await {
            Ok(said) => {
                check.fixed = Some(true);
                check.status = Status::Ok;
                check.message = format!("mended: {} ({said})", check.message);
                check.hint = None;
            }
            Err(failure) => {
                check.fixed = Some(false);
                check.hint = Some(match &failure.hint {
                    Some(hint) => format!("not mended: {failure}; {hint}"),
                    None => format!("not mended: {failure}"),
                });
            }
        }
        tried.push(check);
    }
    if tried.is_empty() {
        return checks;
    }
    let again = |now: &Check| tried.iter().any(|check| check.id == now.id && check.message == now.message);
    let mut now = examine(subject).await;
    now.retain(|check| !again(check));
    tried.extend(now);
    tried
}

async fn one(subject: &Subject, mend: &Mend) -> Result<String, Failure> {
    let home = subject.home.as_path();
    match mend {
        Mend::Socket => alone(home, || remove_socket(home)),
        Mend::Runs(tasks) => match Vacancy::hold(home) {
            Ok(_held) => remove_runs(home, tasks),
            Err(LockError::Held { .. }) => ask_to_reconcile(subject).await,
            Err(other) => Err(other.into()),
        },
        Mend::Overlays => ask_to_reconcile(subject).await,
        Mend::Modes(paths) => close_to_others(paths),
        Mend::Copies(paths) => alone(home, || remove_copies(home, paths)),
        Mend::Links(trees) => lead_back(home, trees).await,
        Mend::Setting { common_dir, key, value } => unset(subject, common_dir, key, value).await,
        Mend::Gc(cwd) => ask_to_free(subject, cwd).await,
        Mend::VaultLock(admin) => {
            let common_dir = common_dir_of(admin)?;
            links::lock_vault(&common_dir, admin).await?;
            Ok("locked".to_owned())
        }
    }
}

/// Does something to the home that nobody may do beside its owner.
fn alone(home: &Path, act: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    let _held = Vacancy::hold(home)?;
    act()
}

fn remove_socket(home: &Path) -> Result<String, Failure> {
    let path = home.join(SOCKET);
    match path.symlink_metadata() {
        Ok(meta) if meta.file_type().is_socket() => remove(&path).map(|()| "removed".to_owned()),
        Ok(_another_thing) => Err(Failure::new(Code::Io, format!("{} is no socket", path.display()))),
        Err(_gone) => Ok("it is gone".to_owned()),
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| Failure::io(format_args!("remove {}", path.display()), &error))
}

/// Looks at each again: a keeper that came meanwhile keeps its folder.
fn remove_runs(home: &Path, tasks: &[TaskId]) -> Result<String, Failure> {
    for id in tasks {
        let folder = home.join("run").join(id.text().as_str());
        let identity = task::read_identity(&folder);
        let used = identity.is_some_and(|identity| {
            let marked = |process: &proc::Process| keeper::has_secret(process.pid, &identity.secret);
            task::keeper_alive(&identity) || proc::all().iter().any(marked)
        });
        let is_folder = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if used || !is_folder {
            continue;
        }
        fs::remove_dir_all(&folder)
            .map_err(|error| Failure::io(format_args!("remove {}", folder.display()), &error))?;
    }
    Ok("removed".to_owned())
}

/// The owner looks after its run folders itself.
async fn ask_to_reconcile(subject: &Subject) -> Result<String, Failure> {
    let reply = ask::<api::Reconcile>(subject, api::ReconcileParams { dry_run: false }).await?;
    let failed = reply.repairs.iter().find_map(|repair| repair.error.clone());
    match failed {
        None => Ok("the daemon did it".to_owned()),
        Some(why) => Err(Failure::new(Code::Io, format!("the daemon could not do all of it: {why}"))),
    }
}

/// Spares are made and handed out by the owner: only it knows which of them are at work.
async fn ask_to_free(subject: &Subject, cwd: &Path) -> Result<String, Failure> {
    let asked = api::GcParams { cwd: cwd.into(), ..api::GcParams::default() };
    let reply = ask::<api::Gc>(subject, asked).await?;
    match reply.notes.first() {
        None => Ok("the daemon did it".to_owned()),
        Some(why) => Err(Failure::new(Code::Io, format!("the daemon could not do all of it: {why}"))),
    }
}

/// Asks the daemon, with a deadline.
async fn ask<M: api::Method>(subject: &Subject, params: M::Params) -> Result<M::Reply, Failure> {
    let asking = async {
        let client =
            Client::connect(&subject.home, concat!("lanes-doctor ", env!("CARGO_PKG_VERSION"))).await?;
        client.call::<M>(params).await
    };
    let late = || Failure::new(Code::Timeout, "the daemon does not answer").hint("lanes daemon status");
    tokio::time::timeout(subject.long_patience(), asking).await.map_err(|_late| late())?
}

/// Takes the rights of others away from files and folders of ours. Follows no link.
fn close_to_others(paths: &[PathBuf]) -> Result<String, Failure> {
    for path in paths {
        let failed =
            |error: std::io::Error| Failure::io(format_args!("close {} to others", path.display()), &error);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let through = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let found = fs::metadata(&through).map_err(failed)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed(std::io::ErrorKind::PermissionDenied.into()));
        }
        let mode = fs::Permissions::from_mode(found.mode() & 0o7700);
        fs::set_permissions(&through, mode).map_err(failed)?;
    }
    Ok("closed to others".to_owned())
}

/// Looks again which of them nobody runs from; no owner lives, so no keeper starts from one.
fn remove_copies(home: &Path, paths: &[PathBuf]) -> Result<String, Failure> {
    let unused = task::unused_copies(&home.join("bin"));
    for path in paths.iter().filter(|path| unused.contains(path)) {
        remove(path)?;
    }
    Ok("removed".to_owned())
}

async fn lead_back(home: &Path, trees: &[(PathBuf, PathBuf)]) -> Result<String, Failure> {
    for (tree, admin) in trees {
        let common_dir = common_dir_of(admin)?;
        links::lead_back(&common_dir, tree, admin, home).await?;
        links::lead_vaults_back(&common_dir).await?;
    }
    Ok("they lead to it again".to_owned())
}

/// The common directory of an entry of `worktrees/`.
fn common_dir_of(admin: &Path) -> Result<PathBuf, Failure> {
    let found = admin.ancestors().nth(2).map(Path::to_path_buf);
    found.ok_or_else(|| Failure::new(Code::Io, format!("{} is no admin entry", admin.display())))
}

async fn unset(subject: &Subject, common_dir: &Path, key: &str, value: &str) -> Result<String, Failure> {
    let git: Option<Git> = survey_machine::find(subject).await.ok();
    let git = git.ok_or_else(|| Failure::new(Code::GitMissing, "git is not there"))?;
    let file = common_dir.join("config");
    let shown = file.display().to_string();
    // By the file: with some settings git cannot use the repository at all.
    let args = ["config".into(), "--file".into(), file.into_os_string(), "--unset-all".into(), key.into()];
    git.ask::<_, OsString>(GitMode::Write, &Place::nowhere(), args).await?;
    Ok(format!("to have it back: git config --file '{shown}' {key} '{value}'"))
}
