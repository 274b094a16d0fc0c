//! Writes output of tasks on a thread, so that a reader who is slow never holds up keys and signals.

use std::io::Write;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

/// How many pieces wait for a slow reader; then the log is not read on.
const QUEUE: usize = 8;

/// A thread that writes to standard output and standard error.
pub struct Writer {
    sender: Option<mpsc::Sender<(bool, Vec<u8>)>>,
    broken: watch::Receiver<bool>,
    thread: Option<JoinHandle<bool>>,
}

impl Writer {
    /// Starts it.
    pub fn start() -> Self {
        let (sender, mut receiver) = mpsc::channel::<(bool, Vec<u8>)>(QUEUE);
        let (tell, broken) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            while let Some((to_stderr, bytes)) = receiver.blocking_recv() {
                let written = if to_stderr {
                    std::io::stderr().lock().write_all(&bytes)
                } else {
                    let mut stdout = std::io::stdout().lock();
                    stdout.write_all(&bytes).and_then(|()| stdout.flush())
                };
                if written.is_err() {
                    let _nobody_asks_any_more = tell.send(true);
                    return false;
                }
            }
            true
        });
        Self { sender: Some(sender), broken, thread: Some(thread) }
    }

    /// Waits until a piece can be taken. At once when nobody reads any more.
    pub async fn ready(&self) {
        if let Some(sender) = &self.sender {
            let _dropped_at_once = sender.reserve().await;
        }
    }

    /// Takes a piece; there is room after [`Self::ready`].
    pub fn write(&self, to_stderr: bool, bytes: Vec<u8>) {
        if let Some(sender) = &self.sender {
            let _nobody_reads = sender.try_send((to_stderr, bytes));
        }
    }

    /// Resolves when nobody reads our output any more.
    pub async fn broken(&self) {
        let mut broken = self.broken.clone();
        if broken.wait_for(|broken| *broken).await.is_err() {
            // The thread ended without an error.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until everything is written; false when it could not be.
    pub async fn finish(mut self) -> bool {
        self.sender = None;
        let Some(thread) = self.thread.take() else { return false };
        tokio::task::spawn_blocking(move || thread.join().unwrap_or(false)).await.unwrap_or(false)
    }
}
