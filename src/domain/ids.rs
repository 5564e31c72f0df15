//! A type for each kind of name, so that two of them are never swapped.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name that is taken from outside, in bytes. Long enough for any
/// Kubernetes object or host name, short enough to be shown and stored.
const NAME_BYTES_MAX: usize = 253;

/// A name that is empty, too long, or has characters that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not usable: {problem}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
    problem: &'static str,
}

fn check(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let problem = if text.is_empty() {
        "it is empty"
    } else if text.len() > NAME_BYTES_MAX {
        "it is longer than 253 bytes"
    } else if text.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    let shown = text.chars().take(60).collect();
    Err(InvalidId { kind, text: shown, problem })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// If it is empty, over 253 bytes, or has control characters.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                check($kind, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

id! {
    /// The name of an application, as the release system knows it.
    ApplicationName, "application"
}
id! {
    /// The id of a release order, unique within its application.
    ReleaseId, "release"
}
id! {
    /// One scraped process or machine: host and port, a pod, or the value of
    /// the label that tells a group apart where there are no machines.
    InstanceId, "instance"
}
id! {
    /// A version of an application, as the release system writes it.
    Version, "version"
}
id! {
    /// The id of one command to a release system; also its idempotency key.
    CommandId, "command"
}

/// A release among those of all applications.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ReleaseKey {
    /// Whose release.
    pub application: ApplicationName,
    /// Which of its releases.
    pub id: ReleaseId,
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.application, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_shown_or_stored_are_refused() {
        assert!(ApplicationName::new("").is_err());
        assert!(ApplicationName::new("a\nb").is_err());
        assert!(ApplicationName::new("x".repeat(254)).is_err());
        assert_eq!(ApplicationName::new("购物车").unwrap().as_str(), "购物车");
    }

    #[test]
    fn a_refused_name_is_refused_when_read_from_json_too() {
        assert!(serde_json::from_str::<ReleaseId>("\"\"").is_err());
        assert_eq!(serde_json::from_str::<ReleaseId>("\"r-1\"").unwrap().as_str(), "r-1");
    }
}
