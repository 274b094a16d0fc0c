//! From the text of the files to one configuration, without touching a file.

use std::ops::Range;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, KEYS};
use super::model::Config;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user's own; what it says needs no approval.
    User,
    /// The repository's.
    Repository,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// Whose it is.
    pub origin: Origin,
    /// What is in it.
    pub text: String,
}

/// Something that a repository's configuration would run or open up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The key with its section.
    pub key: String,
    /// The value in TOML, on one line, keys of tables sorted.
    pub value_toml: String,
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.key, self.value_toml)
    }
}

/// The configuration of a workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// All of it, as if everything were approved.
    pub config: Config,
    /// The same without what needs approval: what holds until the user has said yes.
    pub unapproved: Config,
    /// What needs approval, sorted by key.
    pub asks: Vec<Ask>,
    /// Changes when any of them changes.
    pub fingerprint: String,
}

/// Merges the layers; a later one wins.
///
/// # Errors
/// The first key that is unknown or has a wrong value, with file and line; text that is not TOML.
pub fn merge(layers: &[Layer]) -> Result<Loaded, ConfigError> {
    let mut config = Config::default();
    let mut unapproved = Config::default();
    let mut asks = std::collections::BTreeMap::new();
    for layer in layers {
        for entry in entries(layer)? {
            put(&mut config, layer, &entry)?;
            if layer.origin == Origin::Repository && keys::needs_approval(&entry.key) {
                ask(&mut asks, entry);
            } else {
                put(&mut unapproved, layer, &entry)?;
            }
        }
    }
    let asks: Vec<Ask> =
        asks.into_iter().map(|(key, value)| Ask { key, value_toml: one_line(&value) }).collect();
    let fingerprint = fingerprint(&asks);
    Ok(Loaded { config, unapproved, asks, fingerprint })
}

/// The fingerprint of what needs approval.
pub fn fingerprint(asks: &[Ask]) -> String {
    let mut hasher = Sha256::new();
    for ask in asks {
        // One line each; TOML on one line has no bare newline, so no two lists write the same bytes.
        hasher.update(format!("{ask}\n"));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value in TOML on one line: what is approved is read by a person and hashed line by line.
fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let fields = table.iter().map(|(key, value)| format!("{} = {}", quoted(key), one_line(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// A value replaces the earlier one, except that agents are merged by name, as in [`Config::agents`].
fn ask(asks: &mut std::collections::BTreeMap<String, Value>, entry: Entry) {
    match (asks.get_mut(&entry.key), entry.value) {
        (Some(Value::Table(old)), Value::Table(new)) => old.extend(new),
        (_, value) => {
            asks.insert(entry.key, value);
        }
    }
}

struct Entry {
    key: String,
    line: usize,
    value: Value,
}

fn put(config: &mut Config, layer: &Layer, entry: &Entry) -> Result<(), ConfigError> {
    match keys::set(config, &entry.key, &entry.value) {
        Some(Ok(())) => Ok(()),
        Some(Err(wanted)) => Err(ConfigError::BadValue {
            path: layer.path.clone(),
            line: entry.line,
            key: entry.key.clone(),
            wanted,
        }),
        None => Err(ConfigError::UnknownKey {
            path: layer.path.clone(),
            line: entry.line,
            near: nearest(&entry.key),
            key: entry.key.clone(),
        }),
    }
}

/// The known key that is most alike, when it is alike at all.
fn nearest(key: &str) -> Option<&'static str> {
    let alike = |known: &&'static str| {
        let whole = strsim::jaro_winkler(key, known);
        // `capacity` without its section is meant as `lanes.capacity`.
        let last = known.rsplit('.').next().unwrap_or(known);
        let ours = key.rsplit('.').next().unwrap_or(key);
        whole.max(strsim::jaro_winkler(ours, last) * 0.98)
    };
    KEYS.into_iter()
        .map(|known| (alike(&known), known))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .filter(|(score, _)| *score > 0.8)
        .map(|(_, known)| known)
}

fn entries(layer: &Layer) -> Result<Vec<Entry>, ConfigError> {
    let table = DeTable::parse(&layer.text).map_err(|error| ConfigError::Syntax {
        path: layer.path.clone(),
        line: line(&layer.text, error.span()),
        message: error.message().to_owned(),
    })?;
    let mut found = Vec::new();
    walk(&layer.text, "", table.get_ref(), &mut found);
    // By place, so that the first mistake in the file is the one that is told.
    found.sort_by_key(|entry| entry.line);
    Ok(found)
}

fn walk(text: &str, section: &str, table: &DeTable<'_>, found: &mut Vec<Entry>) {
    for (name, value) in table {
        let key = if section.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{section}.{}", name.get_ref())
        };
        let is_section = KEYS.iter().any(|known| known.starts_with(&format!("{key}.")));
        match value.get_ref() {
            DeValue::Table(inner) if is_section => walk(text, &key, inner, found),
            other => found.push(Entry { line: line(text, Some(name.span())), value: owned(other), key }),
        }
    }
}

fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.map_or(0, |span| span.start.min(text.len()));
    1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count()
}

fn owned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // What does not fit becomes a text, which no key for numbers takes.
        DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map_or_else(|_too_large| Value::String(number.as_str().to_owned()), Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or_else(
            |_odd: std::num::ParseFloatError| Value::String(number.as_str().to_owned()),
            Value::Float,
        ),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(when) => Value::Datetime(*when),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| owned(item.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(key, value)| (key.get_ref().to_string(), owned(value.get_ref()))).collect(),
        ),
    }
}
