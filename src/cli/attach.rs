//! `lanes attach`.

use std::io::{IsTerminal, Write};

use tokio::signal::unix::{SignalKind, signal};

use super::args::AttachArgs;
use super::connect::{self, Piece, Remote, Running};
use super::exec::{exit_of, read_stdin};
use super::session::{Session, terminal_size};
use super::writer::Writer;
use crate::api::{Attach, Size, TaskAttach, TaskReply};
use crate::failure::{Code, Failure};
use crate::keeper::{Exit, ExitStatus};
use crate::pty::{DetachKey, DetachMatcher, RESET, RawMode};

/// Connects this terminal to a terminal of a lane.
pub async fn attach(session: &Session, args: AttachArgs) -> Result<u8, Failure> {
    check_terminal(session)?;
    let params = Attach {
        lane: session.lane(&args.lane),
        terminal: args.terminal,
        new: args.new,
        command: session.command(&args.command),
    };
    let reply = session.call::<TaskAttach>(params).await?;
    connect(session, &reply, args.read_only).await
}

/// Whether there is a terminal to draw on: before anything is made.
pub fn check_terminal(session: &Session) -> Result<(), Failure> {
    if session.output.json {
        return Err(Failure::new(Code::ValidationError, "attach draws a terminal, it prints no JSON")
            .hint("use `lanes logs --json -f` and `lanes send`"));
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::new(Code::ValidationError, "attach needs a terminal")
            .hint("use `lanes logs -f` to read and `lanes send` to type"));
    }
    Ok(())
}

/// How an attachment ended.
enum End {
    Detached,
    ToldToLeave,
    Command(Exit),
    Signal(u8),
}

/// Draws the terminal, types into it, until either side ends.
pub async fn connect(session: &Session, reply: &TaskReply, read_only: bool) -> Result<u8, Failure> {
    check_terminal(session)?;
    let key_text = connect::user_config(&session.at)?.attach.detach_key;
    let key: DetachKey = key_text
        .parse()
        .map_err(|error: crate::pty::DetachKeyError| Failure::new(Code::ConfigInvalid, error.to_string()))?;
    session.output.note(&format!("attached to {}; {key_text} detaches", reply.task.id));
    let end = {
        let _restored_on_every_way_out = Screen::enter()?;
        draw(reply, key, read_only).await
    };
    match end? {
        End::Detached => {
            session.output.note(&format!("detached; back with `lanes attach {}`", reply.task.lane_id));
            Ok(0)
        }
        End::ToldToLeave => {
            let again = format!("back with `lanes attach {}`", reply.task.lane_id);
            session.output.note(&format!("detached by `lanes detach`; {again}"));
            Ok(0)
        }
        End::Signal(code) => Ok(code),
        End::Command(exit) => {
            let exit = connect::settled(&session.at, reply, exit).await;
            if let ExitStatus::Lost(_) = exit.status {
                session.output.note("the terminal has gone: its keeper was ended by force");
            }
            Ok(exit_of(&exit))
        }
    }
}

/// Our terminal in raw mode; as before when this is dropped, and before a panic is printed.
struct Screen {
    raw: Option<RawMode>,
}

impl Screen {
    fn enter() -> Result<Self, Failure> {
        // Unwinding drops the screen too, but the message would be printed first, in raw mode.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            reset();
            before(panic);
        }));
        Ok(Self { raw: Some(RawMode::enter(std::io::stdin())?) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        reset();
        self.raw = None;
    }
}

/// Undoes what the program switched on. The cursor goes to a line of its own.
fn reset() {
    let mut stdout = std::io::stdout().lock();
    let _terminal_may_be_gone =
        stdout.write_all(RESET).and_then(|()| stdout.write_all(b"\r\n")).and_then(|()| stdout.flush());
}

async fn draw(reply: &TaskReply, key: DetachKey, read_only: bool) -> Result<End, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::io("listen for signals", &error));
    let mut resized = listen(SignalKind::window_change())?;
    let mut hung_up = listen(SignalKind::hangup())?;
    let mut ended = listen(SignalKind::terminate())?;
    let size = terminal_size().unwrap_or(Size { cols: 80, rows: 24 });
    let (mut running, snapshot) = Running::open_terminal(reply, size).await?;
    let mut matcher = DetachMatcher::new(key);
    let mut input = read_stdin();
    let writer = Writer::start();
    writer.write(false, [b"\x1b[H\x1b[2J".as_slice(), &snapshot].concat());
    if let (false, Some(remote)) = (read_only, running.remote()) {
        let _it_may_have_ended = remote.resize(size).await;
    }
    let told = asked_to_leave(running.remote());
    tokio::pin!(told);
    let end = loop {
        tokio::select! {
            piece = async { writer.ready().await; running.next().await } => match piece? {
                Piece::Output { bytes, .. } => writer.write(false, bytes),
                Piece::Gap { .. } => {}
                Piece::Ended(exit) => break End::Command(exit),
            },
            typed = input.recv() => match typed {
                Some(bytes) => {
                    let typed = matcher.typed(&bytes);
                    if !read_only {
                        send(running.remote(), &typed.send).await;
                    }
                    if typed.detach {
                        break End::Detached;
                    }
                }
                None => break End::Detached,
            },
            _ = resized.recv() => {
                if let (false, Some(remote), Some(size)) = (read_only, running.remote(), terminal_size()) {
                    let _it_may_have_ended = remote.resize(size).await;
                }
            }
            () = &mut told => break End::ToldToLeave,
            () = writer.broken() => break End::Detached,
            _ = hung_up.recv() => break End::Signal(129),
            _ = ended.recv() => break End::Signal(143),
        }
    };
    if let End::Command(_) = end {
        let _drawn = writer.finish().await;
    }
    Ok(end)
}

/// Resolves when somebody asked us to; never once the keeper has gone.
async fn asked_to_leave(remote: Option<Remote>) {
    match remote {
        Some(remote) => remote.asked_to_leave().await,
        None => std::future::pending().await,
    }
}

/// Typed bytes. What a program does not read is dropped after a moment, so that the detach key works.
async fn send(remote: Option<Remote>, bytes: &[u8]) {
    let Some(remote) = remote.filter(|_| !bytes.is_empty()) else { return };
    let patience = std::time::Duration::from_secs(1);
    let _dropped = tokio::time::timeout(patience, remote.write(bytes)).await;
}
