//! From the arguments of the process to its exit code.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use super::args::{ApiCommand, Cli, Command, TrashCommand};
use super::environment::Environment;
use super::output::{self, Output};
use super::session::Session;
use super::{
    attach, cleanup, create, daemon, diff, doctor, events, exec, gc, list, logging, logs, open, orphans,
    quickstart, send, share, shell, trash, trust, wait,
};
use crate::failure::{Code, Failure};

/// The exit code of a failure: the only such map.
pub const fn exit_code(code: Code) -> u8 {
    match code {
        Code::NameInvalid | Code::ConfigInvalid | Code::ValidationError => 2,
        Code::LaneNotFound | Code::TaskNotFound | Code::OrphanNotFound => 4,
        Code::NameTaken
        | Code::BranchExists
        | Code::BranchCheckedOut
        | Code::AtCapacity
        | Code::InvalidTransition
        | Code::LaneBusy
        | Code::Busy
        | Code::LaneNotShared
        | Code::SharedInUse
        | Code::NotYourLane
        | Code::NotTrusted
        | Code::SafeMode
        | Code::DiskLow => 3,
        Code::GitTimeout | Code::Timeout => 124,
        Code::NotARepository
        | Code::NoCommits
        | Code::BaseNotFound
        | Code::DaemonDown
        | Code::ProtocolMismatch
        | Code::StoreNewer
        | Code::GitMissing
        | Code::GitTooOld
        | Code::GitFailed
        | Code::CommandNotFound
        | Code::TerminalContextMismatch
        | Code::Io
        | Code::MethodNotFound
        | Code::HandlerError
        | Code::Backpressure => 1,
    }
}

/// What to do about a failure that brings no hint of its own.
pub const fn default_hint(code: Code) -> Option<&'static str> {
    match code {
        Code::NotARepository => Some("go to a git repository, or give one with -C DIR"),
        Code::NoCommits => Some("make a first commit: git commit --allow-empty -m start"),
        Code::BaseNotFound => Some("give a branch, tag or commit that exists with --base"),
        Code::LaneNotFound => Some("see the open lanes with `lanes ls`, closed ones with `lanes ls --all`"),
        Code::TaskNotFound => Some("see the tasks of a lane with `lanes show LANE`"),
        Code::OrphanNotFound => Some("see what there is with `lanes orphans ls`"),
        Code::NameTaken => Some("take another name, or `--ensure` to use the lane that is there"),
        Code::NameInvalid => Some("use letters, digits, `.`, `_` and `-`, at most 63"),
        Code::BranchExists => Some("take another name, or work on that branch with `--branch`"),
        Code::BranchCheckedOut => Some("leave the branch where it is checked out, or make a new one"),
        Code::AtCapacity => Some("close a lane with `lanes cleanup`, or raise `lanes.capacity`"),
        Code::InvalidTransition => Some("see the state with `lanes show LANE`"),
        Code::LaneBusy => Some("wait for it with `lanes wait LANE --until exit`, or `lanes share LANE`"),
        Code::LaneNotShared => Some("let several agents in with `lanes share LANE`"),
        Code::SharedInUse => Some("let the others leave first, or use --force"),
        Code::NotYourLane => Some("ask the user to do it, or to make the lane with `--grant all`"),
        Code::NotTrusted => Some("see what it is and approve it with `lanes trust`"),
        Code::DiskLow => Some("free space with `lanes gc`, or with `lanes trash empty`"),
        Code::Busy | Code::Backpressure => Some("try again in a moment"),
        Code::SafeMode => {
            Some("look at the log (daemon.log) and `lanes doctor`, then leave it: `lanes daemon restart`")
        }
        Code::DaemonDown => Some("start it with `lanes daemon start`"),
        Code::ProtocolMismatch => Some("restart the daemon with `lanes daemon restart`"),
        Code::StoreNewer => Some("use the newer version of lanes that wrote it"),
        Code::GitMissing | Code::GitTooOld => Some("install a current git and put it on the PATH"),
        Code::GitFailed => None,
        Code::GitTimeout => Some("look what holds git up, or raise `git.timeout`"),
        Code::CommandNotFound => Some("check the name of the command and the PATH"),
        Code::TerminalContextMismatch => Some("that task belongs to another lane; see `lanes show LANE`"),
        Code::ConfigInvalid => Some("correct the file that is named"),
        Code::Io | Code::HandlerError => None,
        Code::ValidationError => Some("see `lanes COMMAND --help`"),
        Code::MethodNotFound => {
            Some("restart the daemon with `lanes daemon restart`: it is of another version")
        }
        Code::Timeout => None,
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, asks_for_json(&arguments)),
    };
    let environment = Environment::read(cli.globals.dir.as_deref(), cli.globals.home.as_deref());
    let output = Output::detect(cli.globals.json, environment.as_ref().is_ok_and(|at| at.plain));
    let code = match environment.and_then(|at| dispatch(cli.command, at, output)) {
        Ok(code) => code,
        Err(failure) if output::is_broken_pipe(&failure) => output::BROKEN_PIPE,
        Err(mut failure) => {
            let code = exit_code(failure.code);
            failure.hint = failure.hint.or_else(|| default_hint(failure.code).map(str::to_owned));
            output.failure(&failure);
            code
        }
    };
    // A thread of ours may still wait for standard input; nobody is to wait for that.
    std::process::exit(i32::from(code))
}

/// Clap's own message, or the same as an object.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _nobody_reads_it = error.print();
            ExitCode::SUCCESS
        }
        _wrong if json => {
            let text = error.render().to_string();
            let message = text.lines().next().unwrap_or("wrong usage").trim_start_matches("error: ");
            Output { json, ..Output::default() }
                .failure(&Failure::new(Code::ValidationError, message).hint("see `lanes --help`"));
            ExitCode::from(2)
        }
        _wrong => {
            let text = error.render().to_string();
            let safe: Vec<_> = text.trim_end().split('\n').map(super::sanitise::clean).collect();
            eprintln!("{}", safe.join("\n"));
            ExitCode::from(2)
        }
    }
}

/// Looks for `--json` before the command of the user begins.
fn asks_for_json(arguments: &[std::ffi::OsString]) -> bool {
    arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

fn dispatch(command: Command, at: Environment, output: Output) -> Result<u8, Failure> {
    // The daemon sets up its own runtime and logs; what needs neither runs at once.
    match &command {
        Command::Daemon(super::args::DaemonCommand::Run) => return daemon::run(&at),
        Command::Completions { shell } => return shell::completions(output, *shell),
        Command::ShellInit { shell } => return shell::init(output, *shell),
        Command::Api(ApiCommand::Schema) => return daemon::schema(output),
        _asks_the_daemon => {}
    }
    logging::to_stderr(at.log.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start", &error))?;
    let session = Session::new(at, output);
    let done = runtime.block_on(act(command, &session));
    runtime.shutdown_background();
    done
}

async fn act(command: Command, session: &Session) -> Result<u8, Failure> {
    match command {
        Command::Create(args) => create::create(session, args).await,
        Command::Ls(args) => list::ls(session, args).await,
        Command::Show(args) => list::show(session, args).await,
        Command::Path(args) => list::path(session, args).await,
        Command::Diff(args) => diff::diff(session, args).await,
        Command::Open(args) => open::open(session, args).await,
        Command::Attach(args) => attach::attach(session, args).await,
        Command::Detach(args) => share::detach(session, args).await,
        Command::Exec(args) => exec::exec(session, args).await,
        Command::Beat(args) => send::beat(session, args).await,
        Command::Send(args) => send::send(session, args).await,
        Command::Logs(args) => logs::logs(session, args).await,
        Command::Wait(args) => wait::wait(session, args).await,
        Command::Share(args) => share::share(session, args).await,
        Command::Unshare(args) => share::unshare(session, args).await,
        Command::Join(args) => share::join(session, args).await,
        Command::Leave(args) => share::leave(session, args).await,
        Command::Block(args) => share::block(session, args).await,
        Command::Unblock(args) => share::unblock(session, args).await,
        Command::Cleanup(args) => cleanup::cleanup(session, args).await,
        Command::Revive(args) => cleanup::revive(session, args).await,
        Command::Restore(args) => cleanup::restore(session, args).await,
        Command::Trash(TrashCommand::Ls) => trash::ls(session).await,
        Command::Trash(TrashCommand::Empty(args)) => trash::empty(session, args).await,
        Command::Gc(args) => gc::gc(session, args).await,
        Command::Events(args) => events::events(session, args).await,
        Command::Orphans(command) => orphans::orphans(session, command).await,
        Command::Reconcile(args) => daemon::reconcile(session, args).await,
        Command::Doctor(args) => doctor::doctor(session, args).await,
        Command::Trust(args) => trust::trust(session, args).await,
        Command::Daemon(command) => daemon::daemon(session, command).await,
        Command::Api(command) => daemon::api(session, command).await,
        Command::Quickstart(args) => quickstart::quickstart(session, args).await,
        Command::Completions { shell } => shell::completions(session.output, shell),
        Command::ShellInit { shell } => shell::init(session.output, shell),
    }
}
