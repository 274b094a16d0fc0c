//! Secrets of known shapes are taken out of text and argument lists before they become events or logs.
//!
//! A guard against accidents: it knows tokens by their prefixes, assignments by their names, `user:pass@`
//! in addresses, keys in PEM. What looks like nothing it lets pass.

use std::borrow::Cow;
use std::ops::Range;

use crate::raw::Raw;

/// What stands where a secret stood.
pub const REDACTED: &str = "[REDACTED]";

/// What tokens start with, and how many token characters must follow at least.
const TOKENS: &[(&str, usize)] = &[
    ("github_pat_", 16),
    ("ghp_", 16),
    ("gho_", 16),
    ("ghu_", 16),
    ("ghs_", 16),
    ("ghr_", 16),
    ("glpat-", 16),
    ("sk-", 16),
    ("sk_live_", 8),
    ("sk_test_", 8),
    ("rk_live_", 8),
    ("xapp-", 8),
    ("xoxa-", 8),
    ("xoxb-", 8),
    ("xoxe-", 8),
    ("xoxo-", 8),
    ("xoxp-", 8),
    ("xoxr-", 8),
    ("xoxs-", 8),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("npm_", 24),
    ("pypi-", 24),
    ("hf_", 20),
    ("dop_v1_", 24),
    ("ya29.", 20),
];

/// Last words of names whose values are secret, in lower case, with `-` for `_`.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pass",
    "secret",
    "token",
    "apikey",
    "api-key",
    "access-key",
    "secret-key",
    "private-key",
    "credential",
    "credentials",
    "auth",
];

/// Takes known secrets out of a text.
pub fn text(input: &str) -> Cow<'_, str> {
    match replace(input.as_bytes()) {
        None => Cow::Borrowed(input),
        // Spans begin and end at ASCII bytes, so this stays text.
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Takes known secrets out of bytes that are usually text.
pub fn bytes(input: &[u8]) -> Cow<'_, [u8]> {
    replace(input).map_or(Cow::Borrowed(input), Cow::Owned)
}

/// Takes known secrets out of an argument list, also where a flag and its value are two arguments.
pub fn arguments(argv: &[Raw]) -> Vec<Raw> {
    let mut redacted = Vec::with_capacity(argv.len());
    let mut value_of_secret = false;
    for argument in argv {
        let bytes = argument.as_bytes();
        if value_of_secret && !bytes.starts_with(b"--") {
            redacted.push(Raw::from(REDACTED));
            value_of_secret = false;
            continue;
        }
        value_of_secret = bytes.starts_with(b"-") && is_secret_name(&argument.lossy());
        redacted.push(one_argument(bytes));
    }
    redacted
}

/// Takes the values of variables with telling names and known secrets out of an environment.
pub fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a Raw)>) -> Vec<(String, Raw)> {
    let clean = |name: &str, value: &Raw| {
        if is_secret_name(name) { Raw::from(REDACTED) } else { Raw(bytes(value.as_bytes()).into_owned()) }
    };
    variables.into_iter().map(|(name, value)| (name.to_owned(), clean(name, value))).collect()
}

/// True for names such as `--password`, `GITHUB_TOKEN`, `api-key`: their values are secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase().replace(['_', '.'], "-");
    NAMES.iter().any(|word| {
        name.strip_suffix(word).is_some_and(|before| {
            // `bypass` and `oauth` are other words; `authToken` and `mypassword` are not.
            before.is_empty() || before.ends_with('-') || !matches!(*word, "pass" | "auth")
        })
    })
}

/// In an argument `name=value` all of the value is secret, blanks included.
fn one_argument(argument: &[u8]) -> Raw {
    let assigned = argument.iter().position(|byte| *byte == b'=');
    if let Some(at) = assigned
        && let Ok(name) = std::str::from_utf8(&argument[..at])
        && name.bytes().all(is_name_byte)
        && is_secret_name(name)
        && at + 1 < argument.len()
    {
        return Raw([&argument[..=at], REDACTED.as_bytes()].concat());
    }
    Raw(bytes(argument).into_owned())
}

fn replace(input: &[u8]) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while at < input.len() {
        let Some(secret) = secret_at(input, at) else {
            at += 1;
            continue;
        };
        output.extend_from_slice(&input[copied..secret.start]);
        output.extend_from_slice(REDACTED.as_bytes());
        copied = secret.end;
        at = secret.end.max(at + 1);
    }
    if copied == 0 {
        return None;
    }
    output.extend_from_slice(&input[copied..]);
    Some(output)
}

/// The secret that the bytes at `at` announce. It never starts before `at`.
fn secret_at(input: &[u8], at: usize) -> Option<Range<usize>> {
    match input[at] {
        b'-' => private_key(input, at),
        b':' if input[at..].starts_with(b"://") => user_info(input, at + 3),
        b'=' | b':' => assignment(input, at),
        byte if byte.is_ascii_alphabetic() && (at == 0 || !input[at - 1].is_ascii_alphanumeric()) => {
            token(input, at).or_else(|| web_token(input, at)).or_else(|| bearer(input, at))
        }
        _other => None,
    }
}

fn token(input: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &input[at..];
    let (prefix, least) = TOKENS.iter().find(|(prefix, _least)| rest.starts_with(prefix.as_bytes()))?;
    let body = run(&rest[prefix.len()..], is_token_byte);
    (body >= *least).then(|| at..at + prefix.len() + body)
}

/// A JSON web token: `eyJ….….…`.
fn web_token(input: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &input[at..];
    // One inside a longer word is none; that also keeps the search linear.
    if !rest.starts_with(b"eyJ") || (at > 0 && is_token_byte(input[at - 1])) {
        return None;
    }
    let header = run(rest, is_token_byte);
    if header < 8 || rest.get(header) != Some(&b'.') {
        return None;
    }
    let body = run(&rest[header + 1..], |byte| is_token_byte(byte) || byte == b'.');
    (body >= 8).then(|| at..at + header + 1 + body)
}

/// `Bearer …`, and `Basic …` where it looks like one.
fn bearer(input: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &input[at..];
    let (word, least) = if has_prefix(rest, b"bearer ") {
        (7, 6)
    } else if has_prefix(rest, b"basic ") {
        (6, 16)
    } else {
        return None;
    };
    let blanks = run(&rest[word..], |byte| byte == b' ');
    let start = at + word + blanks;
    let secret = run(&input[start..], |byte| is_token_byte(byte) || b".~+/=".contains(&byte));
    (secret >= least).then(|| start..start + secret)
}

/// `name=value`, `name: value`, `"name": "value"` with a telling name.
fn assignment(input: &[u8], at: usize) -> Option<Range<usize>> {
    let quote = |byte: &u8| matches!(byte, b'"' | b'\'');
    let name_end = if at > 0 && quote(&input[at - 1]) { at - 1 } else { at };
    let name_len = input[..name_end].iter().rev().take(64).take_while(|byte| is_name_byte(**byte)).count();
    let name = std::str::from_utf8(&input[name_end - name_len..name_end]).ok()?;
    if !is_secret_name(name) {
        return None;
    }
    let mut start = at + 1;
    if input[at] == b':' {
        start += run(&input[start..], |byte| byte == b' ');
    }
    let rest = input.get(start..)?;
    let first = rest.first()?;
    if quote(first) {
        let inside = run(&rest[1..], |byte| byte != *first && byte != b'\n');
        return (inside > 0).then(|| start + 1..start + 1 + inside);
    }
    // The scheme of an `authorization: Bearer x` stays, what follows it is found by itself.
    if has_prefix(rest, b"bearer ") || has_prefix(rest, b"basic ") {
        return None;
    }
    let value = run(rest, |byte| !byte.is_ascii_whitespace() && !b"\"'&;,)}]<>".contains(&byte));
    (value > 0 && !rest.starts_with(b"//") && !rest.starts_with(REDACTED.as_bytes()))
        .then(|| start..start + value)
}

/// The password in `scheme://user:password@host`, or a long user that stands alone.
fn user_info(input: &[u8], start: usize) -> Option<Range<usize>> {
    let authority = run(&input[start..], |byte| !byte.is_ascii_whitespace() && !b"/?#\"'<>".contains(&byte));
    let authority = &input[start..start + authority];
    let end = authority.iter().rposition(|byte| *byte == b'@')?;
    match authority[..end].iter().position(|byte| *byte == b':') {
        Some(colon) if colon + 1 < end => Some(start + colon + 1..start + end),
        None if end >= 16 => Some(start..start + end),
        Some(_) | None => None,
    }
}

/// A private key in PEM, to its end or that of the text.
fn private_key(input: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = &input[at..];
    if !rest.starts_with(b"-----BEGIN ") {
        return None;
    }
    let head = &rest[..rest.len().min(80)];
    let head = &head[..run(head, |byte| byte != b'\n' && byte != b'\\')];
    find(head, b"PRIVATE KEY")?;
    let end = find(rest, b"-----END ").map(|end| {
        let tail = &rest[end + 9..];
        end + 9 + find(tail, b"-----").map_or(tail.len(), |dashes| dashes + 5)
    });
    Some(at..at + end.unwrap_or(rest.len()))
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(**byte)).count()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn has_prefix(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}
