//! The protocol as one JSON document: every method, every event, every error.

use serde_json::{Map, Value, json};

use super::{MAX_LINE, MAX_REPLY, Notification, PROTOCOL_MAX, PROTOCOL_MIN, codec, messages};
use crate::bus::Event;
use crate::bus::topic::{Known, TOPICS};
use crate::failure::{Code, Failure};
use crate::ids;
use crate::keeper::Exit;
use crate::raw::Raw;
use crate::worktree::Base;

/// The version of the document.
const DOCUMENT: u32 = 1;

/// The document that `lanes api schema` prints.
pub fn document() -> Value {
    json!({
        "schema": DOCUMENT,
        "protocol": {
            "min": PROTOCOL_MIN,
            "max": PROTOCOL_MAX,
            "transport": "JSON-RPC 2.0, one object a line, no batches, on daemon.sock of the home",
            "first_request": "daemon.hello",
            "max_request_bytes": MAX_LINE,
            "max_reply_bytes": MAX_REPLY,
        },
        "common_params": common_params(),
        "methods": methods(),
        "notifications": { "event": schemars::schema_for!(Notification) },
        "events": { "envelope": schemars::schema_for!(Event), "topics": topics() },
        "errors": errors(),
    })
}

fn common_params() -> Value {
    json!({
        "correlation_id": {
            "type": "string",
            "description": "carried by every event that the request causes; made up when missing",
        },
        "idempotency_key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": "for methods that change something: the same key never runs twice, the first \
                            reply is given again for 24 hours",
        },
    })
}

fn methods() -> Value {
    let described = messages::schemas().into_iter().map(|(name, changes, params, reply)| {
        (name.to_owned(), json!({ "changes": changes, "params": params, "reply": reply }))
    });
    Value::Object(described.collect())
}

fn errors() -> Value {
    let codes = Code::ALL.iter().map(|code| {
        let described = json!({ "number": codec::number(*code), "retryable": code.retryable() });
        (code.to_string(), described)
    });
    json!({
        "data": schemars::schema_for!(Failure),
        "codes": Value::Object(codes.collect()),
        "numbers": {
            "not JSON, or too long": codec::PARSE_ERROR,
            "not a request": codec::INVALID_REQUEST,
        },
    })
}

fn topics() -> Value {
    Value::Object(TOPICS.iter().map(|known| (known.name.to_owned(), payload(known))).collect())
}

/// The schema of a payload, from the words that document it: `sentence: {field, field?, …}`.
fn payload(known: &Known) -> Value {
    let (sentence, fields) = known.about.split_once(": {").unwrap_or((known.about, "}"));
    let fields = split(fields.strip_suffix('}').unwrap_or(fields));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let name = field.split([' ', '?']).next().unwrap_or(field);
        properties.insert(name.to_owned(), field_schema(name));
        if !field.contains('?') {
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "description": sentence,
        "properties": properties,
        "required": required,
        "additionalProperties": true,
    })
}

/// The fields, at commas outside of inner braces.
fn split(fields: &str) -> Vec<&str> {
    let mut depth = 0;
    let outside = |char: char| {
        match char {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            _other => {}
        }
        char == ',' && depth == 0
    };
    fields.split(outside).map(str::trim).filter(|field| !field.is_empty()).collect()
}

/// One meaning for one name, in all payloads.
fn field_schema(name: &str) -> Value {
    match name {
        "ms" | "max_rss_kb" | "pid" | "keeper_pid" | "cols" | "rows" | "count" | "files" | "bytes"
        | "timeout_ms" | "silent_ms" | "processes" => json!({ "type": "integer", "minimum": 0 }),
        "forced" | "dirty" | "unmerged" | "safe_mode" => json!({ "type": "boolean" }),
        "exit" => json!(schemars::schema_for!(Exit)),
        "base" => json!(schemars::schema_for!(Base)),
        "path" | "cwd" => json!(schemars::schema_for!(Raw)),
        "argv" => json!({ "type": "array", "items": { "type": "string" } }),
        "task_id" => json!(schemars::schema_for!(ids::TaskId)),
        "session_id" => json!(schemars::schema_for!(ids::SessionId)),
        "plan_id" => json!(schemars::schema_for!(ids::PlanId)),
        "restored_from" => json!(schemars::schema_for!(ids::LaneId)),
        "name" | "branch" | "event" | "reason" | "agent" | "close_reason" | "code" | "message"
        | "backend" | "kind" | "role" | "version" | "why" | "title" | "body" => json!({ "type": "string" }),
        // `from` and `to` are states or offsets, by topic; the rest is free.
        _free => json!(true),
    }
}
