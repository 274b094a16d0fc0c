//! Tests of `src/api/codec.rs` and `src/api/lines.rs`.

use lanes::api::codec::{self, FromServer, Id, parse_from_server, parse_request};
use lanes::api::lines::{Line, Lines};
use lanes::failure::{Code, Failure};
use proptest::prelude::*;
use serde_json::json;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Decoder as _;

/// Feeds `input` in pieces of `piece` bytes; texts of the lines, `None` for one that was too long.
fn cut(input: &[u8], max: usize, piece: usize) -> Vec<Option<String>> {
    let (mut lines, mut buffer, mut out) = (Lines::new(max), BytesMut::new(), Vec::new());
    let mut take = |line: Option<Line>| {
        let more = line.is_some();
        match line {
            Some(Line::Text(text)) => out.push(Some(String::from_utf8_lossy(&text).into_owned())),
            Some(Line::TooLong) => out.push(None),
            None => {}
        }
        more
    };
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        while take(lines.decode(&mut buffer).expect("no error")) {}
        assert!(buffer.len() <= max + piece, "nothing is kept of a line that is too long");
    }
    while take(lines.decode_eof(&mut buffer).expect("no error")) {}
    out
}

#[test]
fn lines_are_cut_at_any_piece_size() {
    let some = |text: &str| Some(text.to_owned());
    for piece in 1..12 {
        assert_eq!(cut(b"ab\n\ncde\nhalf", 5, piece), [some("ab"), some(""), some("cde")]);
        assert_eq!(cut(b"12345\n123456\nok\n", 5, piece), [some("12345"), None, some("ok")]);
        assert_eq!(cut(b"1234567890123\nok\n", 5, piece), [None, some("ok")]);
    }
}

#[test]
fn requests_are_read_with_their_ids() {
    let check = |id: &str, expected: Option<Id>| {
        let line = format!(r#"{{"jsonrpc":"2.0",{id}"method":"a.b","params":{{"x":1}}}}"#);
        let request = parse_request(line.as_bytes()).expect("a request");
        assert_eq!(request.id, expected);
        assert_eq!((request.method.as_str(), &request.params["x"]), ("a.b", &json!(1)));
    };
    check("", None);
    check("\"id\":null,", Some(Id::Null));
    check("\"id\":\"x\",", Some(Id::Text("x".into())));
    check("\"id\":18446744073709551615,", Some(Id::Number(u64::MAX.into())));
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let deep = "[".repeat(100_000);
    let malformed = parse_request(deep.as_bytes()).expect_err("not followed");
    assert_eq!(malformed.code, codec::PARSE_ERROR);
}

#[test]
fn a_failure_survives_the_way() {
    let failure = Failure::new(Code::NameTaken, "taken").hint("take another").details(json!({ "by": "x" }));
    let line = codec::reply_line(&Id::Number(3.into()), &Err(failure.clone()));
    let read = parse_from_server(&line).expect("a reply");
    assert_eq!(read, FromServer::Reply { id: Id::Number(3.into()), result: Err(failure) });
}

#[test]
fn a_code_of_a_newer_server_is_an_error_not_a_lost_connection() {
    let line = br#"{"jsonrpc":"2.0","id":3,"error":{"code":-32000,"message":"new","data":{"code":"NEWER"}}}"#;
    let Ok(FromServer::Reply { id: _, result: Err(failure) }) = parse_from_server(line) else {
        panic!("not read")
    };
    assert_eq!((failure.code, failure.message.as_str()), (Code::HandlerError, "new"));
}

#[test]
fn a_null_result_is_a_result() {
    let line = br#"{"jsonrpc":"2.0","id":3,"result":null}"#;
    let expected = FromServer::Reply { id: Id::Number(3.into()), result: Ok(json!(null)) };
    assert_eq!(parse_from_server(line), Ok(expected));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_answerable_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(malformed) = parse_request(&bytes) {
            let line = codec::malformed_line(&malformed);
            let is_error = matches!(parse_from_server(&line), Ok(FromServer::Reply { id: _, result: Err(_) }));
            prop_assert!(is_error);
        }
    }
}
