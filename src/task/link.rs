//! The connection to one keeper.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::TaskError;
use crate::keeper::protocol::{Decoder, Greeting, MAX_INPUT, Refusal, Reply, Report, Request, VERSIONS};
use crate::keeper::{Exit, SocketPath, is_ours};

/// A request waits so long for its answer. The keeper answers at once; a stopped one does not, and is
/// left alone all the same.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Requests on their way to one keeper; more wait their turn.
const MAILBOX: usize = 64;
/// Unsent bytes to one keeper; requests wait above it.
const MAX_UNSENT: usize = 256 << 10;

/// The connection to one keeper. Clones share it; it closes with the last one.
#[derive(Clone, Debug)]
pub struct Link {
    requests: mpsc::Sender<Ask>,
    news: watch::Receiver<News>,
    greeting: Arc<Greeting>,
    _task: Arc<Ends>,
}

#[derive(Debug)]
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Ask {
    request: Request,
    answer: oneshot::Sender<Reply>,
}

/// What the keeper told without being asked.
#[derive(Clone, Debug, Default)]
struct News {
    offset: u64,
    exit: Option<Exit>,
    rooms: u64,
    gone: bool,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Output is recorded up to here.
    Offset(u64),
    /// The command ended; all it wrote is recorded.
    Exited(Exit),
    /// The connection is over. Nothing follows.
    Gone,
}

impl Link {
    /// Connects to the keeper of this run folder.
    ///
    /// # Errors
    /// When nobody (or somebody else) listens there, or no protocol version fits.
    pub async fn connect(run_dir: &Path) -> Result<Self, TaskError> {
        let failed = |source| TaskError::Connect { run_dir: run_dir.to_path_buf(), source };
        let path = SocketPath::new(run_dir).map_err(failed)?;
        let stream = UnixStream::connect(path.as_path()).await.map_err(failed)?;
        if !is_ours(&stream) {
            return Err(TaskError::NotOurs { run_dir: run_dir.to_path_buf() });
        }
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let (tell, news) = watch::channel(News::default());
        let wire = Wire::new(stream);
        let task = tokio::spawn(wire.run(mailbox, tell));
        let ends = Arc::new(Ends(task.abort_handle()));
        let hello = Request::Hello { min: VERSIONS.0, max: VERSIONS.1 };
        match ask(&requests, hello).await? {
            Reply::Hello(greeting) => Ok(Self { requests, news, greeting: Arc::new(greeting), _task: ends }),
            other => Err(unexpected(other)),
        }
    }

    /// Who answered.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// How the task is going.
    ///
    /// # Errors
    /// When the keeper is gone or does not answer.
    pub async fn status(&self) -> Result<Report, TaskError> {
        match ask(&self.requests, Request::Status).await? {
            Reply::Status(report) => Ok(*report),
            other => Err(unexpected(other)),
        }
    }

    /// Gives bytes to the command; says how many were taken, which may be none when it does not read.
    ///
    /// # Errors
    /// When it takes no input, or the keeper is gone or does not answer.
    pub async fn input(&self, bytes: &[u8]) -> Result<usize, TaskError> {
        let bytes = bytes.get(..MAX_INPUT).unwrap_or(bytes);
        match ask(&self.requests, Request::Input(bytes.to_vec())).await? {
            Reply::Accepted(n) => Ok(n as usize),
            other => Err(unexpected(other)),
        }
    }

    /// Gives all bytes to the command, waiting for room as long as it takes.
    ///
    /// # Errors
    /// As [`Link::input`].
    pub async fn input_all(&self, mut bytes: &[u8]) -> Result<(), TaskError> {
        let mut news = self.news.clone();
        while !bytes.is_empty() {
            let sent = bytes.len().min(MAX_INPUT);
            let rooms = news.borrow_and_update().rooms;
            let taken = self.input(bytes).await?;
            bytes = bytes.get(taken..).unwrap_or_default();
            if taken < sent {
                let more = news.wait_for(|n| n.rooms > rooms || n.gone).await;
                if more.is_err() || more.is_ok_and(|n| n.gone) {
                    return Err(TaskError::Gone);
                }
            }
        }
        Ok(())
    }

    /// Closes the command's input after what it was given.
    ///
    /// # Errors
    /// For a terminal, or when the keeper is gone or does not answer.
    pub async fn close_input(&self) -> Result<(), TaskError> {
        self.done(Request::CloseInput).await
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// For a run or a size that cannot be, or when the keeper is gone or does not answer.
    pub async fn resize(&self, cols: u16, rows: u16) -> Result<(), TaskError> {
        self.done(Request::Resize { cols, rows }).await
    }

    /// Sends a signal to the terminal's foreground group, or to the run's group.
    ///
    /// # Errors
    /// When there is no such signal or nobody to get it, or the keeper is gone or does not answer.
    pub async fn signal(&self, number: i32) -> Result<(), TaskError> {
        self.done(Request::Signal(number)).await
    }

    /// Begins to end everybody in the task: asks, and after the grace forces. [`Link::gone`] tells when
    /// that is done.
    ///
    /// # Errors
    /// When the keeper is gone or does not answer.
    pub async fn kill_tree(&self, grace: Duration) -> Result<(), TaskError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.done(Request::KillTree { grace_ms }).await
    }

    /// Tells the other clients that get notices to leave.
    ///
    /// # Errors
    /// When the keeper is gone, does not answer, or is too old to know it.
    pub async fn detach_clients(&self) -> Result<(), TaskError> {
        self.done(Request::DetachClients).await
    }

    /// Notices of output after `from`, and of the end.
    ///
    /// # Errors
    /// When the keeper is gone or does not answer.
    pub async fn subscribe(&self, from: u64) -> Result<Subscription, TaskError> {
        let news = self.news.clone();
        // What another subscriber of this connection has been told is not new to the keeper.
        self.done(Request::Subscribe { from }).await?;
        Ok(Subscription { news, told: from, told_exit: false })
    }

    /// Resolves when the keeper has closed the connection: nobody of the task lives, or it was ended.
    pub async fn gone(&self) {
        let mut news = self.news.clone();
        let _sender_gone_is_gone = news.wait_for(|n| n.gone).await;
    }

    async fn done(&self, request: Request) -> Result<(), TaskError> {
        match ask(&self.requests, request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

async fn ask(requests: &mpsc::Sender<Ask>, request: Request) -> Result<Reply, TaskError> {
    let (answer, answered) = oneshot::channel();
    let exchange = async {
        requests.send(Ask { request, answer }).await.map_err(|_closed| TaskError::Gone)?;
        answered.await.map_err(|_closed| TaskError::Gone)
    };
    let elapsed = |_| TaskError::NoAnswer { after: ANSWER_DEADLINE };
    match tokio::time::timeout(ANSWER_DEADLINE, exchange).await.map_err(elapsed)?? {
        Reply::Refused(why, text) => Err(TaskError::Refused { why, text }),
        reply => Ok(reply),
    }
}

fn unexpected(reply: Reply) -> TaskError {
    TaskError::Refused { why: Refusal::Other, text: format!("the keeper answered something else: {reply:?}") }
}

/// Notices of one keeper. Nothing is lost when a call of `next` is dropped.
#[derive(Clone, Debug)]
pub struct Subscription {
    news: watch::Receiver<News>,
    told: u64,
    told_exit: bool,
}

impl Subscription {
    /// The next notice; the newest offset when there were several.
    pub async fn next(&mut self) -> Notice {
        loop {
            let news = self.news.borrow_and_update().clone();
            if news.offset > self.told {
                self.told = news.offset;
                return Notice::Offset(news.offset);
            }
            if let (Some(exit), false) = (news.exit, self.told_exit) {
                self.told_exit = true;
                return Notice::Exited(exit);
            }
            if news.gone || self.news.changed().await.is_err() {
                return Notice::Gone;
            }
        }
    }
}

/// The bytes of a connection, both ways.
struct Wire {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
    waiting: BTreeMap<u32, oneshot::Sender<Reply>>,
    last_id: u32,
}

impl Wire {
    fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default(), unsent: Vec::new(), waiting: BTreeMap::new(), last_id: 0 }
    }

    /// Carries requests and replies until one of the ends is gone.
    async fn run(mut self, mut mailbox: mpsc::Receiver<Ask>, news: watch::Sender<News>) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            tokio::select! {
                ask = mailbox.recv(), if self.unsent.len() < MAX_UNSENT => match ask {
                    Some(ask) => self.take(ask),
                    None => break,
                },
                ready = self.stream.readable() => {
                    if ready.is_err() || !self.read(&mut buffer, &news) {
                        break;
                    }
                }
                ready = self.stream.writable(), if !self.unsent.is_empty() => {
                    if ready.is_err() || !self.write() {
                        break;
                    }
                }
            }
        }
        news.send_modify(|n| n.gone = true);
    }

    fn take(&mut self, ask: Ask) {
        self.waiting.retain(|_id, answer| !answer.is_closed());
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        ask.request.encode(self.last_id, &mut self.unsent);
        self.waiting.insert(self.last_id, ask.answer);
    }

    fn write(&mut self) -> bool {
        match self.stream.try_write(&self.unsent) {
            Ok(n) => {
                self.unsent.drain(..n);
                true
            }
            // What the keeper said before it left is still to be read.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.unsent.clear();
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    fn read(&mut self, buffer: &mut [u8], news: &watch::Sender<News>) -> bool {
        match self.stream.try_read(buffer) {
            Ok(0) => return false,
            Ok(n) => self.decoder.feed(&buffer[..n]),
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
        loop {
            let Ok(frame) = self.decoder.frame() else { return false };
            let Some(frame) = frame else { return true };
            match Reply::decode(&frame) {
                Ok(Some(Reply::Offset(offset))) => {
                    news.send_modify(|n| n.offset = n.offset.max(offset));
                }
                Ok(Some(Reply::Exited(exit))) => news.send_modify(|n| n.exit = Some(exit)),
                Ok(Some(Reply::Room)) => news.send_modify(|n| n.rooms += 1),
                Ok(Some(reply)) => {
                    if let Some(answer) = self.waiting.remove(&frame.id) {
                        let _asker_left = answer.send(reply);
                    }
                }
                // A notice of a later version.
                Ok(None) => {}
                Err(_garbage) => return false,
            }
        }
    }
}
