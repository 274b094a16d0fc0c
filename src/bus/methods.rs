//! Methods: one handler each, and the call that reaches it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;

use super::error::shorten;
use super::size::{MAX_PAYLOAD, fits};
use super::topic::is_name;
use super::{BoxFuture, BusError, Context};
use crate::failure::Failure;

/// How many requests one chain may be deep: nothing of ours needs more than three, a circle needs all.
pub const MAX_DEPTH: u8 = 10;
/// How many requests are handled at once: twenty clients for each of fifty lanes.
pub const MAX_IN_FLIGHT: usize = 1024;

/// What answers a method. It gets the parameters and the context for what it causes.
pub type Handler =
    Arc<dyn Fn(Value, Context) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync + 'static>;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose handler.
    pub method: String,
    /// What it is given.
    pub params: Value,
    /// Who asks, in which chain.
    pub context: Context,
    /// How long the caller waits; `None` for as long as it takes. Needs a tokio runtime with time.
    pub timeout: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Methods {
    handlers: RwLock<BTreeMap<&'static str, Handler>>,
    in_flight: AtomicUsize,
}

impl Methods {
    pub(super) fn register(&self, method: &'static str, handler: Handler) -> Result<(), BusError> {
        if !is_name(method) {
            return Err(BusError::Method { method: shorten(method) });
        }
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        if handlers.contains_key(method) {
            return Err(BusError::Register { method });
        }
        handlers.insert(method, handler);
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    pub(super) async fn dispatch(&self, call: Call) -> Result<Value, Failure> {
        let handler = self.accept(&call)?;
        let _one_of_many = self.enter()?;
        let Call { method, params, context, timeout } = call;
        let context = Context { depth: context.depth + 1, ..context };
        let answer = guarded(&method, move || handler(params, context));
        let Some(after) = timeout else {
            return answer.await;
        };
        match tokio::time::timeout(after, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(BusError::TimedOut { method, after }.into()),
        }
    }

    /// Looks at everything there is to look at before a handler is touched.
    fn accept(&self, call: &Call) -> Result<Handler, BusError> {
        if !is_name(&call.method) {
            return Err(BusError::Method { method: shorten(&call.method) });
        }
        if call.context.depth >= MAX_DEPTH {
            return Err(BusError::Depth { method: call.method.clone() });
        }
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(handler) = handlers.get(call.method.as_str()) else {
            return Err(BusError::UnknownMethod { method: call.method.clone() });
        };
        if !fits(&call.params, MAX_PAYLOAD) {
            return Err(BusError::PayloadSize { of: call.method.clone() });
        }
        Ok(handler.clone())
    }

    fn enter(&self) -> Result<InFlight<'_>, BusError> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        let entered = InFlight(&self.in_flight);
        if before >= MAX_IN_FLIGHT {
            return Err(BusError::InFlight);
        }
        Ok(entered)
    }
}

/// Counts one request until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs a handler here, and makes an error of its panic. The reason of the panic goes to the log only:
/// it may hold paths of this machine.
async fn guarded(
    method: &str,
    start: impl FnOnce() -> BoxFuture<'static, Result<Value, Failure>>,
) -> Result<Value, Failure> {
    let panicked = |reason: Box<dyn std::any::Any + Send>| {
        tracing::error!(method, reason = panic_text(&*reason), "a handler panicked");
        // Dropping the reason is code of the handler's too.
        let _not_ours = catch_unwind(AssertUnwindSafe(|| drop(reason)));
        Failure::from(BusError::HandlerPanicked { method: method.to_owned() })
    };
    let mut running = match catch_unwind(AssertUnwindSafe(start)) {
        Ok(running) => running,
        Err(reason) => return Err(panicked(reason)),
    };
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(reason) => Poll::Ready(Err(panicked(reason))),
    })
    .await
}

fn panic_text(reason: &(dyn std::any::Any + Send)) -> &str {
    let text = reason.downcast_ref::<&str>().copied();
    text.or_else(|| reason.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}
