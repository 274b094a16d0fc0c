//! Typed identifiers: a prefix and the 128 bits of a UUIDv7 in Crockford base32.
//!
//! `{prefix}_{26 characters}`, matching `^[a-z]{2,3}_[0-7][0-9A-HJKMNP-TV-Z]{25}$`. Ids sort by the
//! time they were made, are monotonic inside a process also when the clock steps back (the counter of
//! RFC 9562, section 6.2, kept by the crate `uuid`), and are safe in URLs, file names and JSON.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford base32 without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits in groups of five.
const BODY_LEN: usize = 26;

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is no underscore between prefix and body.
    #[error("an id is a prefix, an underscore and {BODY_LEN} characters")]
    NoSeparator,
    /// The prefix is not the one of the wanted kind, or of any kind.
    #[error("the prefix {found:?} is not {wanted}")]
    WrongPrefix {
        /// What was there.
        found: String,
        /// What may be there.
        wanted: &'static str,
    },
    /// The body is too short or too long.
    #[error("the part after the prefix has {found} characters, not {BODY_LEN}")]
    WrongLength {
        /// How many bytes the body has.
        found: usize,
    },
    /// A character outside the alphabet (lower case included).
    #[error("the character {found:?} at {at} is not Crockford base32 in upper case")]
    WrongCharacter {
        /// The character.
        found: char,
        /// Its place in the body, from 0.
        at: usize,
    },
    /// The first character is above 7, so that the value does not fit in 128 bits.
    #[error("the value is larger than 128 bits")]
    Overflow,
}

/// An id in text, on the stack.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; 3 + 1 + BODY_LEN],
    len: u8,
}

impl IdText {
    fn new(prefix: &str, value: u128) -> Self {
        let mut bytes = [0; 3 + 1 + BODY_LEN];
        bytes[..prefix.len()].copy_from_slice(prefix.as_bytes());
        bytes[prefix.len()] = b'_';
        let start = prefix.len() + 1;
        let mut rest = value;
        for slot in bytes[start..start + BODY_LEN].iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        Self { bytes, len: (start + BODY_LEN) as u8 }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len as usize]).expect("invariant: an id is ASCII")
    }
}

fn decode(byte: u8) -> Option<u8> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'H' => byte - b'A' + 10,
        b'J' | b'K' => byte - b'J' + 18,
        b'M' | b'N' => byte - b'M' + 20,
        b'P'..=b'T' => byte - b'P' + 22,
        b'V'..=b'Z' => byte - b'V' + 27,
        _other => return None,
    };
    Some(value)
}

fn parse_body(body: &str) -> Result<u128, IdError> {
    if body.len() != BODY_LEN {
        return Err(IdError::WrongLength { found: body.len() });
    }
    let mut value: u128 = 0;
    for (at, byte) in body.bytes().enumerate() {
        let Some(digit) = decode(byte) else {
            let found = body.chars().find(|c| !c.is_ascii() || decode(*c as u8).is_none()).unwrap_or('?');
            return Err(IdError::WrongCharacter { found, at });
        };
        if at == 0 && digit > 7 {
            return Err(IdError::Overflow);
        }
        value = (value << 5) | u128::from(digit);
    }
    Ok(value)
}

fn split(text: &str) -> Result<(&str, &str), IdError> {
    text.split_once('_').ok_or(IdError::NoSeparator)
}

/// Milliseconds since the Unix epoch in the first 48 bits of a UUIDv7.
fn timestamp_ms(value: u128) -> u64 {
    (value >> 80) as u64
}

macro_rules! text_traits {
    ($name:ident, $pattern:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.text().as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.text().as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the text of such an id starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new id, later than every one this process made before.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().as_u128())
            }

            /// The id with these bits.
            pub const fn from_u128(value: u128) -> Self {
                Self(value)
            }

            /// The bits of the UUID.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// When it was made, in milliseconds since the Unix epoch.
            pub fn timestamp_ms(self) -> u64 {
                timestamp_ms(self.0)
            }

            /// The text, without an allocation.
            pub fn text(self) -> IdText {
                IdText::new($prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let (prefix, body) = split(text)?;
                if prefix != $prefix {
                    return Err(IdError::WrongPrefix { found: prefix.to_owned(), wanted: $prefix });
                }
                parse_body(body).map(Self)
            }
        }

        text_traits!($name, $pattern);
    )*};
}

ids! {
    /// A workspace: a git repository that lanes work in.
    WorkspaceId = "ws", "^ws_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// A lane.
    LaneId = "ln", "^ln_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// An attached agent's or client's stay in a lane.
    SessionId = "ss", "^ss_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// A fact on the bus.
    EventId = "ev", "^ev_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// The request that caused a chain of facts.
    CorrelationId = "cor", "^cor_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// A dependency graph of work packages.
    PlanId = "pl", "^pl_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
    /// A node of a plan.
    PackageId = "wp", "^wp_[0-7][0-9A-HJKMNP-TV-Z]{25}$";
}

/// The two kinds of task, told apart by the prefix of the id.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// A command behind a pseudo-terminal.
    Terminal,
    /// A command behind pipes.
    Run,
}

impl TaskKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Terminal => "tm",
            Self::Run => "rn",
        }
    }
}

/// One supervised command in a lane: `tm_…` for a terminal, `rn_…` for a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    value: u128,
    kind: TaskKind,
}

impl TaskId {
    /// Makes a new id, later than every one this process made before.
    pub fn generate(kind: TaskKind) -> Self {
        Self { value: uuid::Uuid::now_v7().as_u128(), kind }
    }

    /// Terminal or run.
    pub const fn kind(self) -> TaskKind {
        self.kind
    }

    /// When it was made, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(self) -> u64 {
        timestamp_ms(self.value)
    }

    /// The text, without an allocation.
    pub fn text(self) -> IdText {
        IdText::new(self.kind.prefix(), self.value)
    }
}

impl FromStr for TaskId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (prefix, body) = split(text)?;
        let kind = match prefix {
            "tm" => TaskKind::Terminal,
            "rn" => TaskKind::Run,
            other => return Err(IdError::WrongPrefix { found: other.to_owned(), wanted: "tm or rn" }),
        };
        Ok(Self { value: parse_body(body)?, kind })
    }
}

text_traits!(TaskId, "^(tm|rn)_[0-7][0-9A-HJKMNP-TV-Z]{25}$");

/// Parses an id of any kind into its prefix and the time it was made, in milliseconds since the Unix epoch.
///
/// # Errors
/// The reason why the text is not an id.
pub fn parse_any(text: &str) -> Result<(&str, u64), IdError> {
    let (prefix, body) = split(text)?;
    let known = ["ws", "ln", "ss", "ev", "cor", "pl", "wp", "tm", "rn"];
    if !known.contains(&prefix) {
        return Err(IdError::WrongPrefix { found: prefix.to_owned(), wanted: "a known prefix" });
    }
    Ok((prefix, timestamp_ms(parse_body(body)?)))
}
impl LaneId {
    /// The id that stands for no lane of a workspace: what is run for its spare trees is recorded under it.
    pub const fn of_pool(workspace: WorkspaceId) -> Self {
        Self(workspace.0)
    }
}
