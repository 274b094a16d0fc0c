//! One attachment: keys to the keeper, its stream to the window, in one loop that waits for either.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::connect::terminal::{Attach, DetachMatcher, FRESH, Refusal, Reply, Request, Size, Stream};
use super::picture::{Picture, Screen};
use super::typing::Typing;
use super::window::{Window, read_keys};
use crate::failure::{Code, Failure};
use crate::keeper::Exit;

/// Output that may be on its way: above what counts as lagging, so that lagging is noticed here.
const WINDOW_BYTES: u32 = 512 << 10;
/// A terminal that leaves so much unwritten lags: it gets the screen as it is when it has caught up.
const LAG_BYTES: usize = 256 << 10;
/// Output is acknowledged in steps of this, each a message to the keeper.
const ACKNOWLEDGE_BYTES: u64 = 64 << 10;
/// A screen of another size is drawn at most thirty times a second.
const FRAME: Duration = Duration::from_millis(33);
/// Keys read at once.
const KEYS: usize = 64 << 10;

/// What an attachment is like.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Columns and rows of our window.
    pub window: Size,
    /// Nothing is typed.
    pub read_only: bool,
}

impl Asked {
    /// The request for the stream.
    pub const fn request(self) -> Attach {
        let (cols, rows) = (self.window.cols(), self.window.rows());
        Attach { cols, rows, read_only: self.read_only, from: FRESH, window: WINDOW_BYTES }
    }
}

/// How an attachment ended.
#[derive(Debug)]
pub enum End {
    /// By the detach key, or our terminal has gone.
    Detached,
    /// By somebody else's `lanes detach`.
    ToldToLeave,
    /// With its command.
    Command(Exit),
    /// The keeper has gone without a word.
    Gone,
    /// By a signal; the exit code that says so.
    Signal(u8),
}

/// What a signal means for an attachment; one byte each on the way from who catches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Another size.
    Resized,
    /// We were stopped, and go on.
    Continued,
    /// To end; the exit code.
    End(u8),
}

impl Told {
    /// As a byte.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Resized => 1,
            Self::Continued => 2,
            Self::End(code) => code,
        }
    }

    const fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Resized,
            2 => Self::Continued,
            code => Self::End(code),
        }
    }
}

/// An attachment that goes on.
pub struct Client {
    stream: Stream,
    window: Window,
    signals: UnixStream,
    matcher: DetachMatcher,
    read_only: bool,
    picture: Picture,
    typing: Typing,
    /// All output before this was taken, and before that acknowledged.
    taken: u64,
    acknowledged: u64,
    /// The window did not take what it was given: nothing more is read until it has.
    lagging: bool,
    /// The request for a fresh screen that has not been answered: what comes before is old.
    refreshing: Option<u32>,
    resizing: Option<u32>,
    resize_again: bool,
    next_frame: Instant,
    end: Option<End>,
    failure: Option<Failure>,
}

impl Client {
    /// An attachment whose stream was asked for.
    pub fn new(
        stream: Stream,
        window: Window,
        signals: UnixStream,
        matcher: DetachMatcher,
        asked: Asked,
    ) -> Self {
        let picture = Picture::new(asked.window, asked.read_only);
        Self {
            stream,
            window,
            signals,
            matcher,
            read_only: asked.read_only,
            picture,
            typing: Typing::default(),
            taken: 0,
            acknowledged: 0,
            lagging: false,
            refreshing: None,
            resizing: None,
            resize_again: false,
            next_frame: Instant::now(),
            end: None,
            failure: None,
        }
    }

    /// Goes on until either side ends. The window is as before afterwards.
    ///
    /// # Errors
    /// The keeper refuses, or says what cannot be read.
    pub fn run(mut self, size: impl Fn() -> Option<Size>) -> Result<End, Failure> {
        let mut keys = vec![0; KEYS];
        loop {
            let ready = self.wait()?;
            if ready.signals
                && let Some(end) = self.take_signals(&size)
            {
                return Ok(end);
            }
            if ready.keys {
                match read_keys(&mut keys) {
                    None => return Ok(End::Detached),
                    Some(n) if self.typed(&keys[..n]) => return Ok(End::Detached),
                    Some(_) => {}
                }
            }
            if ready.stream && !self.read_stream()? {
                self.end.get_or_insert(End::Gone);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let _its_last_words_are_read = self.stream.flush();
            if ready.hung_up || self.show().is_err() {
                return Ok(End::Detached);
            }
            if self.window.unwritten() == 0
                && let Some(end) = self.end.take()
            {
                return Ok(end);
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<Ready, Failure> {
        let only = |wanted: bool, flags| if wanted { flags } else { PollFlags::empty() };
        let reads = !self.lagging && self.end.is_none();
        let stream = only(reads, PollFlags::IN) | only(self.stream.has_unsent(), PollFlags::OUT);
        let stdin = rustix::stdio::stdin();
        let window = self.window.as_fd();
        let mut fds = [
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&stdin, only(!self.typing.is_full(), PollFlags::IN)),
            PollFd::new(&window, only(self.window.unwritten() > 0, PollFlags::OUT)),
            PollFd::new(&self.stream, stream),
        ];
        // A keeper that has gone is told again and again to one who does not read.
        let fds = if stream.is_empty() { &mut fds[..3] } else { &mut fds[..] };
        let due = self.picture.is_due() && self.window.unwritten() == 0;
        let pause = due.then(|| self.next_frame.saturating_duration_since(Instant::now()));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(fds, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::io("wait for keys and output", &error.into())),
        }
        let has =
            |at: usize, flags| fds.get(at).is_some_and(|fd: &PollFd<'_>| fd.revents().intersects(flags));
        let end = PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            signals: has(0, PollFlags::IN | end),
            keys: has(1, PollFlags::IN | end),
            hung_up: has(2, end),
            stream: reads && has(3, PollFlags::IN | end),
        })
    }

    fn take_signals(&mut self, size: &impl Fn() -> Option<Size>) -> Option<End> {
        let mut bytes = [0; 64];
        let n = match self.signals.read(&mut bytes) {
            Ok(n) => n,
            Err(_none_after_all) => return None,
        };
        for byte in &bytes[..n] {
            match Told::of(*byte) {
                Told::End(code) => return Some(End::Signal(code)),
                Told::Continued => {
                    self.window.enter_again();
                    self.resized(size());
                    self.refresh();
                }
                Told::Resized => self.resized(size()),
            }
        }
        None
    }

    /// Our window has another size: drawn for at once, and told with one request at a time.
    fn resized(&mut self, size: Option<Size>) {
        let Some(size) = size else { return };
        let screen = self.picture.resized(size, self.window.drawing());
        self.ask_for(screen);
        if self.read_only {
            return;
        }
        if self.resizing.is_some() {
            self.resize_again = true;
            return;
        }
        let request = Request::Resize { cols: size.cols(), rows: size.rows() };
        self.resizing = self.stream.send(&request).ok();
    }

    /// Takes keys; true when the detach key was among them.
    fn typed(&mut self, keys: &[u8]) -> bool {
        let typed = self.matcher.typed(keys);
        if !self.read_only && self.end.is_none() {
            self.typing.push(&typed.send);
            self.send_keys();
        }
        typed.detach
    }

    fn send_keys(&mut self) {
        if let Some(bytes) = self.typing.next() {
            let len = bytes.len();
            match self.stream.send(&Request::Input(bytes)) {
                Ok(id) => self.typing.sent(id, len),
                // Its last words are still to be read.
                Err(_gone) => {}
            }
        }
    }

    /// Reads once; false when the connection is over.
    fn read_stream(&mut self) -> Result<bool, Failure> {
        let mut replies = Vec::new();
        let goes_on = self.stream.read(&mut |id, reply| replies.push((id, reply)))?;
        for (id, reply) in replies {
            self.take(id, reply);
        }
        if self.taken.saturating_sub(self.acknowledged) >= ACKNOWLEDGE_BYTES && !self.lagging {
            self.acknowledged = self.taken;
            let _its_last_words_are_read = self.stream.send(&Request::Acknowledge(self.taken));
        }
        Ok(goes_on)
    }

    fn take(&mut self, id: u32, reply: Reply) {
        let current = self.refreshing.is_none();
        match reply {
            Reply::Screen { offset, cols, rows } if current => {
                self.taken = offset;
                self.acknowledged = offset;
                self.picture.begin(Size::new(cols, rows).unwrap_or(Size::DEFAULT));
            }
            Reply::Draw(bytes) if current => self.picture.drawing(&bytes),
            Reply::Output { offset, bytes, .. } if current => {
                self.taken = offset + bytes.len() as u64;
                self.picture.output(&bytes, self.window.drawing());
            }
            Reply::Gap { to, .. } if current => {
                self.taken = to;
                // What is missing may have drawn or switched anything.
                if self.picture.is_drawn() {
                    self.refresh();
                }
            }
            Reply::Live(offset) if current => {
                self.taken = self.taken.max(offset);
                self.picture.live(self.window.drawing());
            }
            // Of a stream that is not wanted any more.
            Reply::Screen { .. }
            | Reply::Draw(_)
            | Reply::Output { .. }
            | Reply::Gap { .. }
            | Reply::Live(_) => {}
            Reply::Size { cols, rows, owner } => {
                if let Some(size) = Size::new(cols, rows) {
                    let screen = self.picture.sized(size, owner, self.window.drawing());
                    self.ask_for(screen);
                }
            }
            Reply::Done => self.done(id),
            Reply::Accepted(n) => {
                self.typing.accepted(id, n as usize);
                self.send_keys();
            }
            Reply::Room => {
                self.typing.room();
                self.send_keys();
            }
            Reply::Leave => {
                self.end.get_or_insert(End::ToldToLeave);
            }
            Reply::Exited(exit) => {
                // What it wrote before it ended is drawn, however short it lived.
                self.picture.live(self.window.drawing());
                if self.picture.is_due() {
                    self.picture.update(self.window.drawing());
                }
                self.end = Some(End::Command(exit));
            }
            Reply::Refused(why, text) => self.refused(id, why, &text),
            // What others ask and watch for.
            Reply::Hello(_)
            | Reply::Status(_)
            | Reply::Offset(_)
            | Reply::Query { .. }
            | Reply::Mark(_)
            | Reply::Throttled { .. } => {}
        }
    }

    fn done(&mut self, id: u32) {
        self.refreshing.take_if(|asked| *asked == id);
        if self.resizing.take_if(|asked| *asked == id).is_some() && std::mem::take(&mut self.resize_again) {
            self.resized(super::window_size());
        }
    }

    fn refused(&mut self, id: u32, why: Refusal, text: &str) {
        self.done(id);
        self.typing.refused(id);
        // The first two are hello and attach.
        if id <= 2 {
            let hint = match why {
                Refusal::Version | Refusal::Unknown => {
                    "the terminal was started by a version too far from this one"
                }
                Refusal::NoInput
                | Refusal::Size
                | Refusal::Shape
                | Refusal::Signal
                | Refusal::Ended
                | Refusal::System
                | Refusal::ReadOnly
                | Refusal::Answered
                | Refusal::Other => "read its output with `lanes logs`",
            };
            let message = format!("the keeper refused to attach: {text}");
            self.failure = Some(Failure::new(Code::ProtocolMismatch, message).hint(hint));
        }
    }

    fn ask_for(&mut self, screen: Screen) {
        match screen {
            Screen::Known => {}
            Screen::Wanted => self.refresh(),
        }
    }

    /// Asks for the screen as it is now; what is on its way is dropped.
    fn refresh(&mut self) {
        self.picture.refresh();
        self.refreshing = self.stream.send(&Request::Refresh).ok();
    }

    /// Writes what the window takes; falls behind, and catches up.
    fn show(&mut self) -> std::io::Result<()> {
        if self.picture.is_due() && self.window.unwritten() == 0 && Instant::now() >= self.next_frame {
            self.picture.update(self.window.drawing());
            self.next_frame = Instant::now() + FRAME;
        }
        self.window.flush()?;
        if self.window.unwritten() > LAG_BYTES && self.end.is_none() {
            self.lagging = true;
        }
        if self.lagging && self.window.unwritten() == 0 {
            self.lagging = false;
            self.refresh();
        }
        Ok(())
    }
}

/// What can be done.
struct Ready {
    signals: bool,
    keys: bool,
    hung_up: bool,
    stream: bool,
}
