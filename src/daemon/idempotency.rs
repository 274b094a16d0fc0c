//! Idempotency keys: the same key never runs twice, its first reply is given again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::api::{self, Method as _};
use crate::bus::{Batch, Bus, Table, Write};
use crate::clock::{self, Timestamp};
use crate::failure::{Code, Failure};

/// How long a reply is kept.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest key: a UUID and a name fit several times.
const MAX_KEY: usize = 128;

type Answer = Result<Value, Failure>;

/// Who runs under which key, and what came of those before.
#[derive(Clone)]
pub(super) struct Requests {
    bus: Bus,
    running: Arc<Mutex<HashMap<String, Running>>>,
}

#[derive(Clone)]
struct Running {
    digest: String,
    answer: watch::Receiver<Option<Answer>>,
}

/// What is written down for a key.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Of method and parameters.
    digest: String,
    /// When it was first asked.
    at: Timestamp,
    /// None: it was begun, and nobody saw the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Value>,
    /// Likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// Takes the key out of the parameters.
///
/// # Errors
/// `VALIDATION_ERROR` when it is no key.
pub(super) fn take_key(params: &mut Map<String, Value>) -> Result<Option<String>, Failure> {
    match params.remove("idempotency_key") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) if is_key(&key) => Ok(Some(key)),
        Some(_other) => Err(Failure::new(
            Code::ValidationError,
            format!("an idempotency key is 1 to {MAX_KEY} visible ASCII characters"),
        )),
    }
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Requests {
    pub(super) fn new(bus: Bus) -> Self {
        Self { bus, running: Arc::default() }
    }

    /// Runs `work` unless the key ran before or runs now; then its answer is the answer.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` when the key was used for another request, `HANDLER_ERROR` when a runtime ended
    /// in the middle of it, what the journal says, and what `work` answers.
    pub(super) async fn run(
        &self,
        key: String,
        method: &str,
        params: &Map<String, Value>,
        work: impl Future<Output = Answer>,
    ) -> Answer {
        let digest = digest(method, params);
        let tell = match self.enter(&key, &digest)? {
            Entered::Running(answer) => return join(answer).await,
            Entered::First(tell) => tell,
        };
        // Taken out again also when this future is dropped.
        let _leaves = Leave { running: &self.running, key: &key };
        let answer = self.run_first(&key, method, digest, work).await;
        let _nobody_joined = tell.send(Some(answer.clone()));
        answer
    }

    fn enter(&self, key: &str, digest: &str) -> Result<Entered, Failure> {
        let mut running = lock(&self.running);
        if let Some(other) = running.get(key) {
            same(digest, &other.digest)?;
            return Ok(Entered::Running(other.answer.clone()));
        }
        let (tell, answer) = watch::channel(None);
        running.insert(key.to_owned(), Running { digest: digest.to_owned(), answer });
        Ok(Entered::First(tell))
    }

    async fn run_first(
        &self,
        key: &str,
        method: &str,
        digest: String,
        work: impl Future<Output = Answer>,
    ) -> Answer {
        if let Some(record) = self.load(key).await? {
            same(&digest, &record.digest)?;
            if !record.is_open() || !is_repeatable(method) {
                return record.answer();
            }
        }
        let mut record = Record { digest, at: clock::now(), reply: None, error: None };
        // Before the work, so that a retry after a crash does not do it a second time.
        self.write(Write::put(Table::Requests, key, &record)).await?;
        let answer = work.await;
        let write = match &answer {
            Err(failure) if changed_nothing(failure) => Write::remove(Table::Requests, key),
            Ok(reply) => {
                record.reply = Some(reply.clone());
                Write::put(Table::Requests, key, &record)
            }
            Err(failure) => {
                record.error = Some(failure.clone());
                Write::put(Table::Requests, key, &record)
            }
        };
        if let Err(failure) = self.write(write).await {
            tracing::warn!(%failure, key, "the reply of a request could not be written down");
        }
        answer
    }

    async fn load(&self, key: &str) -> Result<Option<Record>, Failure> {
        let Some(body) = self.bus.get(Table::Requests, key).await? else {
            return Ok(None);
        };
        match serde_json::from_value::<Record>(body) {
            Ok(record) if record.at.age(clock::now()) < KEEP => Ok(Some(record)),
            Ok(_too_old) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, key, "the record of a request was not understood");
                Ok(None)
            }
        }
    }

    async fn write(&self, write: Write) -> Result<(), Failure> {
        self.bus.commit(Batch { events: Vec::new(), writes: vec![write] }).await.map(drop)
    }

    /// Forgets what is older than a reply is kept.
    pub(super) async fn forget_old(&self) -> Result<usize, Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Requests]).await?;
        let now = clock::now();
        let mut writes = Vec::new();
        for (key, body) in snapshot.records.into_iter().flat_map(|(_table, records)| records) {
            let keep = Record::deserialize(body).is_ok_and(|record| record.at.age(now) < KEEP);
            if !keep {
                writes.push(Write::remove(Table::Requests, key));
            }
        }
        let count = writes.len();
        if count > 0 {
            self.bus.commit(Batch { events: Vec::new(), writes }).await?;
        }
        Ok(count)
    }
}

enum Entered {
    First(watch::Sender<Option<Answer>>),
    Running(watch::Receiver<Option<Answer>>),
}

struct Leave<'a> {
    running: &'a Mutex<HashMap<String, Running>>,
    key: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(self.running).remove(self.key);
    }
}

impl Record {
    /// True when it was begun, and nobody saw the end.
    const fn is_open(&self) -> bool {
        self.reply.is_none() && self.error.is_none()
    }

    fn answer(self) -> Answer {
        match (self.reply, self.error) {
            (Some(reply), _none) => Ok(reply),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(unknown_end()),
        }
    }
}

async fn join(mut answer: watch::Receiver<Option<Answer>>) -> Answer {
    match answer.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or_else(|| Err(unknown_end())),
        Err(_dropped) => Err(unknown_end()),
    }
}

fn unknown_end() -> Failure {
    Failure::new(
        Code::HandlerError,
        "the runtime ended in the middle of this request, so nobody knows its outcome",
    )
    .hint("look at the state (`lanes ls`), then ask again with another key")
}

/// True for what may be done once more after a runtime ended in the middle of it: doing it twice is doing
/// it once. Not so for what makes, types or starts something.
fn is_repeatable(method: &str) -> bool {
    let repeatable = [
        api::LaneCleanup::NAME,
        api::LaneShare::NAME,
        api::LaneUnshare::NAME,
        api::LaneJoin::NAME,
        api::LaneLeave::NAME,
        api::LaneBlock::NAME,
        api::LaneUnblock::NAME,
        api::TaskResize::NAME,
        api::TaskKill::NAME,
        api::TaskDetach::NAME,
        api::TrashEmpty::NAME,
        api::Reconcile::NAME,
        api::OrphanConfirm::NAME,
        api::OrphanDecline::NAME,
        api::Trust::NAME,
    ];
    repeatable.contains(&method)
}

/// True for refusals that may not be one the next time: the request is free to run again.
fn changed_nothing(failure: &Failure) -> bool {
    failure.retryable && failure.code != Code::Timeout
}

fn same(digest: &str, before: &str) -> Result<(), Failure> {
    if digest == before {
        return Ok(());
    }
    let failure = Failure::new(Code::ValidationError, "this idempotency key was used for another request");
    Err(failure.hint("make a new key for each new request"))
}

fn digest(method: &str, params: &Map<String, Value>) -> String {
    let mut hash = Sha256::new();
    hash.update(method.as_bytes());
    hash.update([0]);
    hash.update(serde_json::to_vec(params).expect("invariant: JSON values are JSON"));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
