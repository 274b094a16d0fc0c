//! What goes out on one connection: replies first, then notifications, in two bounded queues.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// How many replies wait to be written: as many as requests may be in flight.
const REPLIES: usize = super::connection::MAX_IN_FLIGHT;
/// How many notifications wait to be written; what does not fit waits in its own subscription.
const NOTIFICATIONS: usize = 64;
/// Lines are gathered up to this size before they are written.
const GATHER: usize = 64 << 10;

/// The senders' side. The writer ends when every clone is gone.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    replies: mpsc::Sender<Vec<u8>>,
    notifications: mpsc::Sender<Vec<u8>>,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Inbox {
    replies: mpsc::Receiver<Vec<u8>>,
    notifications: mpsc::Receiver<Vec<u8>>,
}

pub(super) fn channel() -> (Outbox, Inbox) {
    let (reply, replies) = mpsc::channel(REPLIES);
    let (notify, notifications) = mpsc::channel(NOTIFICATIONS);
    (Outbox { replies: reply, notifications: notify }, Inbox { replies, notifications })
}

impl Outbox {
    /// Queues a reply; waits while the client does not read.
    pub(super) async fn reply(&self, line: Vec<u8>) {
        let _client_is_gone = self.replies.send(line).await;
    }

    /// Queues a notification; false when the client is gone.
    pub(super) async fn notify(&self, line: Vec<u8>) -> bool {
        self.notifications.send(line).await.is_ok()
    }
}

impl Inbox {
    /// Writes until nobody sends any more, or the client is gone.
    pub(super) async fn write_to(mut self, mut out: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut gathered = Vec::new();
        while let Some(line) = self.next().await {
            gathered.extend(line);
            while gathered.len() < GATHER {
                let Some(more) = self.next_now() else { break };
                gathered.extend(more);
            }
            out.write_all(&gathered).await?;
            gathered.clear();
            gathered.shrink_to(GATHER);
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        // Biased: control does not wait for output, and a subscription's number is told before its events.
        tokio::select! {
            biased;
            Some(line) = self.replies.recv() => Some(line),
            Some(line) = self.notifications.recv() => Some(line),
            else => None,
        }
    }

    fn next_now(&mut self) -> Option<Vec<u8>> {
        self.replies.try_recv().or_else(|_none| self.notifications.try_recv()).ok()
    }
}
