//! Tests of `src/bus/redact.rs`.

use lanes::bus::redact::{arguments, bytes, environment, is_secret_name, text};
use lanes::raw::Raw;
use proptest::prelude::*;

#[track_caller]
fn check(input: &str, expected: &str) {
    assert_eq!(text(input), expected, "{input}");
    assert_eq!(text(expected), expected, "a second time");
}

#[track_caller]
fn check_arguments(argv: &[&str], expected: &[&str]) {
    let argv: Vec<_> = argv.iter().map(|argument| Raw::from(*argument)).collect();
    let expected: Vec<_> = expected.iter().map(|argument| Raw::from(*argument)).collect();
    assert_eq!(arguments(&argv), expected);
}

#[test]
fn tokens_are_known_by_their_prefix() {
    let body = "abcdefghijklmnopqrstuvwxyz0123456789";
    for prefix in ["ghp_", "github_pat_", "glpat-", "sk-", "sk-ant-api03-", "xoxb-", "npm_", "hf_"] {
        check(&format!("use {prefix}{body} now"), "use [REDACTED] now");
        check(&format!("\"{prefix}{body}\""), "\"[REDACTED]\"");
    }
    check("AKIAIOSFODNN7EXAMPLE", "[REDACTED]");
    check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl!", "[REDACTED]!");
}

#[test]
fn assignments_are_known_by_their_name() {
    check("password=hunter2", "password=[REDACTED]");
    check("a PASSWORD=x&b=c", "a PASSWORD=[REDACTED]&b=c");
    check("--api-key=abc --verbose", "--api-key=[REDACTED] --verbose");
    check("ANTHROPIC_API_KEY=abc claude", "ANTHROPIC_API_KEY=[REDACTED] claude");
    check(r#"{"access_token": "a b", "id": 1}"#, r#"{"access_token": "[REDACTED]", "id": 1}"#);
    check("password: 'a b' x", "password: '[REDACTED]' x");
    check("authToken=abc", "authToken=[REDACTED]");
}

#[test]
fn credentials_in_headers_and_addresses_are_taken_out() {
    check("Authorization: Bearer abc.def-123", "Authorization: Bearer [REDACTED]");
    check("authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic [REDACTED]");
    check("https://me:s3cret@example.org/x", "https://me:[REDACTED]@example.org/x");
    check("postgres://u:p@ss@db/x?y", "postgres://u:[REDACTED]@db/x?y");
}

#[test]
fn private_keys_are_taken_out_to_their_end() {
    check("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [REDACTED] b");
    check("-----BEGIN OPENSSH PRIVATE KEY-----\nMIIE", "[REDACTED]");
    check("-----BEGIN CERTIFICATE-----\nMIIE", "-----BEGIN CERTIFICATE-----\nMIIE");
}

#[test]
fn what_is_no_secret_stays_as_it_is() {
    for input in [
        "",
        "git commit -m message",
        "https://example.org:8080/a:b@c",
        "ssh://git@example.org/x",
        "--max-tokens=100 bypass=1 SSH_AUTH_SOCK=/run/x",
        "task-sk-learn a::b C:\\x 12:30",
        "tokenizer=fast password=",
        "naïve – ünïcode",
    ] {
        check(input, input);
    }
}

#[test]
fn the_value_of_a_secret_flag_may_be_the_next_argument() {
    check_arguments(
        &["x", "--password", "a b", "--token", "--next", "--api-key=a b", "tail"],
        &["x", "--password", "[REDACTED]", "--token", "--next", "--api-key=[REDACTED]", "tail"],
    );
    check_arguments(&["login", "--password-stdin", "user"], &["login", "--password-stdin", "user"]);
    check_arguments(&["-H", "Authorization: Bearer abcdef12"], &["-H", "Authorization: Bearer [REDACTED]"]);
}

#[test]
fn bytes_that_are_not_text_stay_beside_what_is_taken_out() {
    assert_eq!(&*bytes(b"\xff password=x \xfe"), b"\xff password=[REDACTED] \xfe");
}

#[test]
fn variables_are_judged_by_name_and_by_value() {
    let home = Raw::from("/home/x");
    let secret = Raw::from("short");
    let url = Raw::from("https://u:p@h/");
    let clean = environment([("HOME", &home), ("GH_TOKEN", &secret), ("REMOTE", &url)]);
    let values: Vec<_> = clean.iter().map(|(_name, value)| value.lossy()).collect();
    assert_eq!(values, ["/home/x", "[REDACTED]", "https://u:[REDACTED]@h/"]);
    assert!(is_secret_name("AWS_SECRET_ACCESS_KEY") && !is_secret_name("PATH"));
}

#[test]
fn hostile_text_takes_linear_time() {
    for pattern in ["eyJ-", "-----BEGIN ", "bearer ", "://", "password:", "a=", "sk-"] {
        let long = pattern.repeat(128 * 1024 / pattern.len());
        assert!(text(&long).len() <= long.len() * 4);
    }
}

proptest! {
    #[test]
    fn redacting_twice_is_redacting_once(input in "[a-z:=/@ \"'-]{0,40}(password=|token: |Bearer |://a:)[a-z:=/@ \"'-]{0,40}") {
        let once = text(&input).into_owned();
        prop_assert_eq!(text(&once).into_owned(), once);
    }

    #[test]
    fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _any_outcome = bytes(&input);
    }
}
