//! JSON-RPC 2.0 on single lines: from bytes to messages and back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use super::MAX_LINE;
use crate::failure::{Code, Failure};

/// Not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but not a request.
pub const INVALID_REQUEST: i64 = -32600;
/// No such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Parameters that the method does not take.
pub const INVALID_PARAMS: i64 = -32602;
/// Every refusal and error of ours; the code for programs is in `data`.
pub const OUR_ERROR: i64 = -32000;

/// What a request is recognised by. Echoed as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// `null`, also where the id could not be read.
    Null,
}

/// A request, or a notification when it has no id.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// None: nobody waits for a reply.
    pub id: Option<Id>,
    /// What is wanted.
    pub method: String,
    /// Its parameters.
    pub params: Map<String, Value>,
}

/// A line that is no request: what its sender is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// Of the request, as far as it could be read.
    pub id: Id,
    /// The number of the error.
    pub code: i64,
    /// The error.
    pub failure: Failure,
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum FromServer {
    /// To a request.
    Reply {
        /// Which.
        id: Id,
        /// What came of it.
        result: Result<Value, Failure>,
    },
    /// To nobody's request.
    Notification {
        /// What kind.
        method: String,
        /// What it says.
        params: Value,
    },
}

/// Reads a request.
///
/// # Errors
/// What is wrong with the line, ready to be sent back.
pub fn parse_request(line: &[u8]) -> Result<Request, Malformed> {
    let value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return Err(malformed(Id::Null, PARSE_ERROR, format!("the line is not JSON: {error}"))),
    };
    let mut object = match value {
        Value::Object(object) => object,
        Value::Array(_batch) => {
            let failure = Failure::new(Code::ValidationError, "batches are not taken")
                .hint("send each request on a line of its own; they are handled at the same time");
            return Err(Malformed { id: Id::Null, code: INVALID_REQUEST, failure });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(malformed(Id::Null, INVALID_REQUEST, "a request is an object"));
        }
    };
    let id = parse_id(&mut object)?;
    let echo = || id.clone().unwrap_or(Id::Null);
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(malformed(echo(), INVALID_REQUEST, "a request says \"jsonrpc\": \"2.0\""));
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(malformed(echo(), INVALID_REQUEST, "a request names its method"));
    };
    let params = match object.remove("params") {
        Some(Value::Object(params)) => params,
        None | Some(Value::Null) => Map::new(),
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            return Err(malformed(echo(), INVALID_PARAMS, "parameters are an object, by name"));
        }
    };
    Ok(Request { id, method, params })
}

fn parse_id(object: &mut Map<String, Value>) -> Result<Option<Id>, Malformed> {
    match object.remove("id") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Id::Null)),
        Some(Value::Number(number)) => Ok(Some(Id::Number(number))),
        Some(Value::String(text)) => Ok(Some(Id::Text(text))),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(malformed(Id::Null, INVALID_REQUEST, "an id is a text, a number or null"))
        }
    }
}

fn malformed(id: Id, code: i64, message: impl Into<String>) -> Malformed {
    Malformed { id, code, failure: Failure::new(Code::ValidationError, message) }
}

/// What the sender of a line of more than [`MAX_LINE`] bytes is told.
pub fn too_long() -> Malformed {
    let failure = Failure::new(Code::ValidationError, format!("the line has more than {MAX_LINE} bytes"))
        .hint("put what is large into a file and send its path");
    Malformed { id: Id::Null, code: PARSE_ERROR, failure }
}

/// The number that a failure travels with.
pub const fn number(code: Code) -> i64 {
    match code {
        Code::MethodNotFound => METHOD_NOT_FOUND,
        Code::ValidationError => INVALID_PARAMS,
        Code::NotARepository
        | Code::NoCommits
        | Code::BaseNotFound
        | Code::LaneNotFound
        | Code::TaskNotFound
        | Code::OrphanNotFound
        | Code::NameTaken
        | Code::NameInvalid
        | Code::BranchExists
        | Code::BranchCheckedOut
        | Code::AtCapacity
        | Code::InvalidTransition
        | Code::LaneBusy
        | Code::LaneNotShared
        | Code::SharedInUse
        | Code::NotYourLane
        | Code::NotTrusted
        | Code::DiskLow
        | Code::Busy
        | Code::SafeMode
        | Code::DaemonDown
        | Code::ProtocolMismatch
        | Code::StoreNewer
        | Code::GitMissing
        | Code::GitTooOld
        | Code::GitFailed
        | Code::GitTimeout
        | Code::CommandNotFound
        | Code::TerminalContextMismatch
        | Code::ConfigInvalid
        | Code::Io
        | Code::HandlerError
        | Code::Timeout
        | Code::Backpressure => OUR_ERROR,
    }
}

/// Writes a request; its line feed included.
pub fn request_line(id: Option<u64>, method: &str, params: &Map<String, Value>) -> Vec<u8> {
    match id {
        Some(id) => line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })),
        None => line(&json!({ "jsonrpc": "2.0", "method": method, "params": params })),
    }
}

/// Writes a reply; its line feed included.
pub fn reply_line(id: &Id, result: &Result<Value, Failure>) -> Vec<u8> {
    match result {
        Ok(value) => line(&Success { jsonrpc: "2.0", id, result: value }),
        Err(failure) => error_line(id, number(failure.code), failure),
    }
}

#[derive(Serialize)]
struct Success<'a> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: &'a Value,
}

/// Writes what is wrong with a line; its line feed included.
pub fn malformed_line(malformed: &Malformed) -> Vec<u8> {
    error_line(&malformed.id, malformed.code, &malformed.failure)
}

fn error_line(id: &Id, code: i64, failure: &Failure) -> Vec<u8> {
    let error = json!({ "code": code, "message": failure.message, "data": failure });
    line(&json!({ "jsonrpc": "2.0", "id": id, "error": error }))
}

/// Writes a notification; its line feed included.
pub fn notification_line(method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, P> {
        jsonrpc: &'static str,
        method: &'a str,
        params: &'a P,
    }
    line(&Notification { jsonrpc: "2.0", method, params })
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("invariant: our messages are JSON");
    bytes.push(b'\n');
    bytes
}

/// Reads what a server sent.
///
/// # Errors
/// What is wrong with the line, in words.
pub fn parse_from_server(line: &[u8]) -> Result<FromServer, &'static str> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        id: Option<Id>,
        method: Option<String>,
        #[serde(default)]
        params: Value,
        // Some(Null) is a result, too.
        #[serde(default, deserialize_with = "some")]
        result: Option<Value>,
        error: Option<WireError>,
    }
    #[derive(Deserialize)]
    struct WireError {
        #[serde(default)]
        message: String,
        data: Option<Value>,
    }
    fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(deserializer).map(Some)
    }

    let wire: Wire = serde_json::from_slice(line).map_err(|_not_ours| "a line that is no message")?;
    let id = wire.id.unwrap_or(Id::Null);
    if let Some(error) = wire.error {
        return Ok(FromServer::Reply { id, result: Err(read_failure(error.message, error.data)) });
    }
    if let Some(result) = wire.result {
        return Ok(FromServer::Reply { id, result: Ok(result) });
    }
    match wire.method {
        Some(method) => Ok(FromServer::Notification { method, params: wire.params }),
        None => Err("a message without result, error and method"),
    }
}

/// The failure in an error object; one made of its message when the code is of a newer version.
fn read_failure(message: String, data: Option<Value>) -> Failure {
    let data = data.unwrap_or(Value::Null);
    match Failure::deserialize(&data) {
        Ok(failure) => failure,
        Err(_newer_than_we) => Failure::new(Code::HandlerError, message).details(data),
    }
}
