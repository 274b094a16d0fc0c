//! `lanes exec`.

use std::io::{IsTerminal, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::args::ExecArgs;
use super::connect::{self, Piece, Remote, Running, Stream};
use super::output::BROKEN_PIPE;
use super::session::Session;
use super::writer::Writer;
use crate::api::{Exec, TaskExec, TaskReply};
use crate::failure::{Code, Failure};
use crate::keeper::{Exit, ExitStatus};

/// Starts a run, then is its terminal until it ends.
pub async fn exec(session: &Session, args: ExecArgs) -> Result<u8, Failure> {
    let stdin = !args.detach && has_input();
    let mut command = session.command(&args.command);
    command.size = None;
    let params = Exec {
        lane: session.lane(&args.lane),
        command,
        stdin,
        timeout_ms: args.timeout.map(milliseconds),
        heartbeat_ms: args.heartbeat.map(milliseconds),
        detached: args.detach,
        agent: args.agent,
    };
    // From before the request on: whoever interrupts must not leave a run behind that nobody looks at.
    let mut interrupts = Interrupts::new()?;
    // The connection ends here: from then on the keeper is all that is needed.
    let (reply, early) = patiently(&mut interrupts, session.call::<TaskExec>(params)).await;
    let reply = reply?;
    if args.detach {
        session
            .output
            .reply(&Only { task: &reply.task }, |output, only| output.line(&only.task.id.to_string()))?;
        return Ok(0);
    }
    let ended = accompany(session, &reply, stdin, interrupts, early).await?;
    if session.output.json {
        let mut task = reply.task;
        task.state = "ended".into();
        task.exit = Some(ended.exit.clone());
        session.output.object(&Only { task: &task })?;
    }
    Ok(ended.code())
}

#[derive(serde::Serialize)]
struct Only<'a> {
    task: &'a crate::api::TaskView,
}

/// How it went.
struct Ended {
    exit: Exit,
    interrupted: bool,
    unread: bool,
}

impl Ended {
    fn code(&self) -> u8 {
        match (self.interrupted, self.unread) {
            (true, _) => 130,
            (false, true) => BROKEN_PIPE,
            (false, false) => exit_of(&self.exit),
        }
    }
}

/// The exit code that stands for the end of a command.
pub fn exit_of(exit: &Exit) -> u8 {
    match exit.status {
        _ if exit.timed_out => 124,
        ExitStatus::Code(code) => (code & 0xff) as u8,
        ExitStatus::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        ExitStatus::Lost(_) => 1,
    }
}

/// The same for a process of our own.
pub fn shell_code(status: std::process::ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code & 0xff) as u8,
        (None, Some(signal)) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        (None, None) => 1,
    }
}

/// Whether standard input holds something for the command. A terminal does not: what is typed while a run
/// goes on is meant for the shell, and programs that look for piped input would wait for ever.
fn has_input() -> bool {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return false;
    }
    let Ok(about) = std::fs::metadata("/proc/self/fd/0") else { return false };
    let null = std::fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == about.rdev());
    !(about.file_type().is_char_device() && null)
}

/// Waits for the answer and says which signal came meanwhile; a second one does not wait any more.
async fn patiently<T>(interrupts: &mut Interrupts, answer: impl Future<Output = T>) -> (T, Option<i32>) {
    tokio::pin!(answer);
    let mut early = None;
    loop {
        tokio::select! {
            answer = &mut answer => return (answer, early),
            number = interrupts.next() => {
                if early.replace(number).is_some() {
                    std::process::exit(130);
                }
            }
        }
    }
}

async fn accompany(
    session: &Session,
    reply: &TaskReply,
    stdin: bool,
    mut interrupts: Interrupts,
    early: Option<i32>,
) -> Result<Ended, Failure> {
    let mut running = Running::open(reply, 0).await?;
    let mut pumps = JoinSet::new();
    if let (true, Some(remote)) = (stdin, running.remote()) {
        pumps.spawn(pump(remote));
    }
    let quiet = session.output.json;
    let writer = Writer::start();
    let mut asked = 0_u32;
    let mut unread = false;
    if let Some(number) = early {
        asked += 1;
        interrupt(session, running.remote(), number, asked).await?;
    }
    let exit = loop {
        tokio::select! {
            piece = async { writer.ready().await; running.next().await } => match piece? {
                Piece::Output { stream, bytes, .. } if !quiet && !unread => writer.write(stream == Stream::Stderr, bytes),
                Piece::Output { .. } => {}
                Piece::Gap { from, to } => session.output.note(&format!("bytes {from} to {to} are no longer recorded")),
                Piece::Ended(exit) => break exit,
            },
            // A program in a pipe would have got the same.
            () = writer.broken(), if !unread => {
                unread = true;
                if let Some(remote) = running.remote() {
                    let _it_may_have_ended = remote.signal(libc::SIGPIPE).await;
                }
            }
            number = interrupts.next() => {
                asked += 1;
                interrupt(session, running.remote(), number, asked).await?;
            }
        }
    };
    pumps.abort_all();
    let written = writer.finish().await;
    unread |= !written;
    let exit = connect::settled(&session.at, reply, exit).await;
    if let ExitStatus::Lost(_) = exit.status {
        return Err(Failure::new(
            Code::Io,
            format!("nobody knows how {} ended: its keeper was ended by force", reply.task.id),
        )
        .hint(format!("its output is there: lanes logs {} --run {}", reply.task.lane_id, reply.task.id)));
    }
    Ok(Ended { exit, interrupted: asked > 0, unread })
}

/// The first time the command is asked, the second time everything it started is ended, then we leave.
async fn interrupt(
    session: &Session,
    remote: Option<Remote>,
    number: i32,
    asked: u32,
) -> Result<(), Failure> {
    let Some(remote) = remote else { std::process::exit(130) };
    match asked {
        1 => {
            session.output.note("interrupted; once more ends all that the command started");
            let _it_may_have_ended = remote.signal(number).await;
        }
        2 => {
            let _it_may_have_ended = remote.kill_tree(Duration::ZERO).await;
        }
        _more => std::process::exit(130),
    }
    Ok(())
}

/// Signals that mean the command, not us.
struct Interrupts {
    int: Signal,
    term: Signal,
    quit: Signal,
}

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::io("listen for signals", &error));
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.int.recv() => libc::SIGINT,
            _ = self.term.recv() => libc::SIGTERM,
            _ = self.quit.recv() => libc::SIGQUIT,
        }
    }
}

/// Our standard input to the command, its end too.
async fn pump(remote: Remote) {
    let mut input = read_stdin();
    while let Some(bytes) = input.recv().await {
        if remote.write(&bytes).await.is_err() {
            return;
        }
    }
    let _it_may_have_ended = remote.close_input().await;
}

/// What is read ahead of the command: one buffer in the thread, two in the channel.
const READ_AHEAD: usize = 2;

/// Standard input, read by a thread, since a read of a terminal or pipe cannot be taken back. It ends with
/// the process.
pub fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match std::io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_unreadable) => return,
            }
        }
    });
    receiver
}

fn milliseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
