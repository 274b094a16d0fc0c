//! One request on its way: asked of the bus, answered in its own time.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::outbox::Outbox;
use super::serve::Server;
use super::{idempotency, replay};
use crate::api::codec::{self, Id, Request};
use crate::api::{EventReplay, MAX_REPLY, Method as _, Replay};
use crate::bus::{Call, Context};
use crate::failure::{Code, Failure};

/// A request on its way.
pub(super) struct Asked {
    pub(super) server: Arc<Server>,
    pub(super) out: Outbox,
    pub(super) request: Request,
    pub(super) context: Context,
    /// Held until the reply is queued.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Asked {
    /// Answers a request that changes nothing; it ends with its connection, and when the runtime stops.
    pub(super) async fn look(self) -> Result<(), Failure> {
        let Self { server, out, request: Request { id, method, mut params }, context, permit } = self;
        params.remove("idempotency_key");
        let answer = async {
            if method == EventReplay::NAME {
                let params: Replay = read_params(EventReplay::NAME, params)?;
                let lane = server.lane(params.lane.clone(), context).await?;
                return write_reply(&replay::replay(&server.bus, params, lane).await?);
            }
            let params = Value::Object(params);
            server.bus.dispatch(Call { method, params, context, timeout: None }).await
        };
        let answer = tokio::select! {
            answer = answer => answer,
            () = server.stop.cancelled() => Err(stopping()),
        };
        send_reply(&out, id, &answer).await;
        drop(permit);
        Ok(())
    }

    /// Answers a request that changes something; only the end of the runtime cuts it off.
    pub(super) async fn change(self) {
        let Self { server, out, request: Request { id, method, mut params }, context, permit } = self;
        let answer = async {
            let key = idempotency::take_key(&mut params)?;
            let name = method.clone();
            let work = |params| {
                let call = Call { method, params: Value::Object(params), context, timeout: None };
                server.bus.dispatch(call)
            };
            match key {
                Some(key) => server.requests.run(key, &name, &params, work(params.clone())).await,
                None => work(params).await,
            }
        };
        let answer = tokio::select! {
            answer = answer => answer,
            () = server.cut.cancelled() => Err(stopping()),
        };
        send_reply(&out, id, &answer).await;
        drop(permit);
    }
}

pub(super) async fn send_reply(out: &Outbox, id: Option<Id>, result: &Result<Value, Failure>) {
    let Some(id) = id else {
        return;
    };
    let mut line = codec::reply_line(&id, result);
    if line.len() > MAX_REPLY {
        let message = format!("the reply has more than {MAX_REPLY} bytes");
        line = codec::reply_line(&id, &Err(Failure::new(Code::HandlerError, message).hint("ask for less")));
    }
    out.reply(line).await;
}

pub(super) fn stopping() -> Failure {
    Failure::new(Code::DaemonDown, "the runtime is going away")
        .hint("ask for the state before you try again: the request may have had an effect")
}

pub(super) fn read_params<T: DeserializeOwned>(
    method: &str,
    params: Map<String, Value>,
) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(params)).map_err(|error| {
        Failure::new(Code::ValidationError, format!("the parameters of {method} do not fit: {error}"))
            .hint("`lanes api schema` prints what each method takes")
    })
}

pub(super) fn write_reply(reply: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(reply).expect("invariant: our replies are JSON"))
}
