//! `lanes attach`.
//!
//! ```text
//!   keyboard -> DetachMatcher -> Typing -> Stream (keeper) -> Picture (model, filter, view) -> Window
//! ```
//!
//! What never happens here: a terminal left in raw mode, a program that waits for its window, history
//! poured over a screen.

mod client;
mod picture;
mod typing;
mod window;

use std::io::{IsTerminal, Write as _};
use std::os::unix::net::UnixStream;

use tokio::signal::unix::{SignalKind, signal};

use self::client::{Asked, Client, End, Told};
use self::window::Window;
use super::args::AttachArgs;
use super::connect;
use super::connect::terminal::{DetachKey, DetachKeyError, DetachMatcher, Size};
use super::exec::exit_of;
use super::session::{Session, terminal_size};
use crate::api::{Attach, TaskAttach, TaskReply};
use crate::failure::{Code, Failure};
use crate::keeper::{Exit, ExitStatus};

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

/// The size of our window, when it has one.
fn window_size() -> Option<Size> {
    terminal_size().and_then(|size| Size::new(size.cols, size.rows))
}

/// Draws the terminal, types into it, until either side ends.
pub async fn connect(session: &Session, reply: &TaskReply, read_only: bool) -> Result<u8, Failure> {
    check_terminal(session)?;
    let key_text = connect::user_config(&session.at)?.attach.detach_key;
    let key: DetachKey = key_text
        .parse()
        .map_err(|error: DetachKeyError| Failure::new(Code::ConfigInvalid, error.to_string()))?;
    session.output.note(&format!("attached to {}; {key_text} detaches", reply.task.id));
    let asked = Asked { window: window_size().unwrap_or(Size::DEFAULT), read_only };
    let end = match connect::stream(reply, asked.request())? {
        Some(stream) => {
            let signals = catch_signals()?;
            let running = tokio::task::spawn_blocking(move || {
                let client = Client::new(stream, Window::enter()?, signals, DetachMatcher::new(key), asked);
                client.run(window_size)
            });
            running.await.map_err(|_panicked| Failure::new(Code::Io, "the attachment broke down"))??
        }
        None => {
            show_last(reply)?;
            End::Gone
        }
    };
    match end {
        End::Detached => {
            let name = &reply.lane_name;
            session.output.note(&format!("detached; back with `lanes attach {name}`"));
            Ok(0)
        }
        End::ToldToLeave => {
            let name = &reply.lane_name;
            session.output.note(&format!("detached by `lanes detach`; back with `lanes attach {name}`"));
            Ok(0)
        }
        End::Signal(code) => Ok(code),
        End::Command(exit) => ended(session, reply, exit).await,
        End::Gone => ended(session, reply, connect::exit_on_disk(reply)).await,
    }
}

/// How the command ended, as our exit code.
async fn ended(session: &Session, reply: &TaskReply, exit: Exit) -> Result<u8, Failure> {
    let exit = connect::settled(&session.at, reply, exit).await;
    if let ExitStatus::Lost(_) = exit.status {
        session.output.note("the terminal has gone: its keeper was ended by force");
    }
    Ok(exit_of(&exit))
}

/// The last screen of a terminal whose keeper has gone.
fn show_last(reply: &TaskReply) -> Result<(), Failure> {
    let text = connect::last_screen(reply)?;
    let mut stdout = std::io::stdout().lock();
    let _terminal_may_be_gone =
        writeln!(stdout, "{}", super::sanitise::clean(&text)).and_then(|()| stdout.flush());
    Ok(())
}

/// Signals from now on, each a byte on the returned socket: the loop of the client waits for that.
fn catch_signals() -> Result<UnixStream, Failure> {
    let failed = |error| Failure::io("listen for signals", &error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    theirs.set_nonblocking(true).map_err(failed)?;
    let listen = |kind| signal(kind).map_err(failed);
    let mut resized = listen(SignalKind::window_change())?;
    let mut continued = listen(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
    let mut hung_up = listen(SignalKind::hangup())?;
    let mut interrupted = listen(SignalKind::interrupt())?;
    let mut terminated = listen(SignalKind::terminate())?;
    // Ends with the client: nobody reads then.
    let _ends_with_its_reader = tokio::spawn(async move {
        loop {
            let told = tokio::select! {
                _ = resized.recv() => Told::Resized,
                _ = continued.recv() => Told::Continued,
                _ = hung_up.recv() => Told::End(129),
                _ = interrupted.recv() => Told::End(130),
                _ = terminated.recv() => Told::End(143),
            };
            match std::io::Write::write(&mut &theirs, &[told.byte()]) {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                // Full: there are enough of them.
                Ok(_) | Err(_) => {}
            }
        }
    });
    Ok(ours)
}
