//! Secrets: the settings say where they are, never what they are.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::raw::Section;

/// Where the values come from that do not stand in the file. The binary asks
/// the process, tests hand in their own.
pub trait Surroundings {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The content of a file.
    ///
    /// # Errors
    /// As the file system says.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// `{ file = "/etc/release-guardian/token" }`
    File(PathBuf),
    /// `{ credential = "token" }`: a file of that name in systemd's
    /// `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// `"${TOKEN}"`: an environment variable.
    Variable(String),
}

/// A secret that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}; create the file, readable by the guardian's user", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no credentials.
    #[error(
        "credential {name:?}: $CREDENTIALS_DIRECTORY is not set; add LoadCredential={name}:FILE to the unit and run under systemd"
    )]
    NoCredentials {
        /// Which was asked for.
        name: String,
    },
    /// The variable is not set.
    #[error("environment variable {name} is not set; set it, or name a file or a credential instead")]
    NoVariable {
        /// Which.
        name: String,
    },
    /// There is a secret, and it is empty.
    #[error("the secret in {place} is empty")]
    Empty {
        /// Where.
        place: Secret,
    },
}

impl Secret {
    /// Fetches the secret, without the line end that editors leave.
    ///
    /// # Errors
    /// If it is not where the settings say, or empty.
    pub fn fetch(&self, surroundings: &dyn Surroundings) -> Result<SecretString, SecretError> {
        let read = |path: PathBuf| {
            surroundings.read(&path).map_err(|source| SecretError::Unreadable { path, source })
        };
        let text = match self {
            Self::File(path) => read(path.clone())?,
            Self::Credential(name) => match surroundings.variable("CREDENTIALS_DIRECTORY") {
                Some(folder) => read(Path::new(&folder).join(name))?,
                None => return Err(SecretError::NoCredentials { name: name.clone() }),
            },
            Self::Variable(name) => {
                surroundings.variable(name).ok_or_else(|| SecretError::NoVariable { name: name.clone() })?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Empty { place: self.clone() });
        }
        Ok(SecretString::from(text))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Credential(name) => write!(f, "credential {name:?}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

const HELP: &str = "write where it is: { credential = \"name\" }, { file = \"/path\" } or \"${VARIABLE}\"";

/// The name in `${NAME}`.
pub(super) fn variable_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let usable = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    usable.then_some(name)
}

/// Reads the place of a secret. A secret in the file itself is refused, and
/// not shown in the problem.
pub(super) fn read_secret(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    let value = section.value(key)?;
    if let Some(text) = value.get_ref().as_str() {
        if let Some(name) = variable_name(text) {
            return Some(Secret::Variable(name.to_owned()));
        }
        section.hide(text);
        section.problem(value.span(), format!("`{key}` holds a secret itself"), HELP);
        return None;
    }
    let table = section.section_of(key, value)?;
    let (file, credential) = (table.text("file"), table.text("credential"));
    match (file, credential) {
        (Some(file), None) => Some(Secret::File(PathBuf::from(file.into_inner()))),
        (None, Some(name)) if is_credential_name(name.get_ref()) => {
            Some(Secret::Credential(name.into_inner()))
        }
        (None, Some(name)) => {
            let what = format!("credential {:?} is not a file name", name.get_ref());
            section.problem(name.span(), what, "write the name before the colon in LoadCredential=");
            None
        }
        (Some(_), Some(_)) => {
            section.problem(value.span(), format!("`{key}` has both a file and a credential"), "keep one");
            None
        }
        (None, None) => {
            section.problem(value.span(), format!("`{key}` says not where the secret is"), HELP);
            None
        }
    }
}

fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}
