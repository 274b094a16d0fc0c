//! An event as CloudEvents 1.0, in JSON.

use serde_json::{Map, Value, json};

use crate::bus::Event;

/// What the types of our events start with.
const TYPE_PREFIX: &str = "lanes.";

/// The event as a CloudEvent: the fact in `data`, scope and order in extension attributes.
///
/// Numbers are texts there, because integers of the standard have 32 bits. `sequence` is the offset, as
/// the standard's extension of that name asks for.
pub fn cloud_event(event: &Event) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("specversion", "1.0".into());
    put("id", event.id.to_string().into());
    put("source", source(event).into());
    put("type", format!("{TYPE_PREFIX}{}", event.topic).into());
    put("time", event.ts.to_string().into());
    put("datacontenttype", "application/json".into());
    put("dataschema", format!("urn:lanes:schema:{}:{}", event.schema, event.topic).into());
    put("sequence", event.offset.to_string().into());
    put("topicsequence", event.seq.to_string().into());
    put("epoch", event.epoch.clone().into());
    put("actorkind", event.actor.kind.clone().into());
    put("actorid", event.actor.id.clone().into());
    put("correlationid", event.correlation_id.to_string().into());
    let scope = [
        ("subject", event.task_id.map(|id| id.to_string()).or(event.lane_id.map(|id| id.to_string()))),
        ("workspaceid", event.workspace_id.map(|id| id.to_string())),
        ("laneid", event.lane_id.map(|id| id.to_string())),
        ("taskid", event.task_id.map(|id| id.to_string())),
        ("sessionid", event.session_id.map(|id| id.to_string())),
        ("causationid", event.causation_id.map(|id| id.to_string())),
    ];
    for (name, value) in scope {
        if let Some(value) = value {
            out.insert(name.to_owned(), json!(value));
        }
    }
    out.insert("data".to_owned(), event.payload.clone());
    Value::Object(out)
}

/// A reference that is the same for all events of a workspace.
fn source(event: &Event) -> String {
    match event.workspace_id {
        Some(workspace) => format!("/lanes/{workspace}"),
        None => "/lanes".to_owned(),
    }
}
