//! Releases of fleets that never ran, for training and testing the judge: a
//! seed in, a recording's content and its label out. A service, its machines,
//! the names of its series, what goes wrong and what merely looks wrong are
//! all drawn at random, widely, so that what is learnt here holds elsewhere.
//!
//! Nothing here names the judge: the simulation knows what is true and not
//! how anybody would find it.

mod change;
mod fault;
mod fleet;
mod instruments;
mod load;
mod machine;
mod random;
mod run;
mod service;
mod trouble;

#[cfg(test)]
mod tests;

use std::str::FromStr;

use crate::domain::{InvalidId, Label, ReleaseOrder, Scrape};

pub use fault::Fault;
pub use run::simulate;
pub use trouble::Trouble;

/// A kind of service: what it does, and what can be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Requests over HTTP.
    Http,
    /// Remote calls with status words.
    Rpc,
    /// A service on the Java virtual machine.
    Jvm,
    /// Jobs taken from a queue.
    Worker,
    /// Orders and payments beside requests.
    Shop,
    /// An application on telephones; an instance is a version in a region.
    Mobile,
    /// Machines of which only gauges are known, some without a telling name.
    Hosts,
    /// Only what recording rules made of the series.
    Recorded,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 8] = [
        Self::Http,
        Self::Rpc,
        Self::Jvm,
        Self::Worker,
        Self::Shop,
        Self::Mobile,
        Self::Hosts,
        Self::Recorded,
    ];

    /// The word on the command line and in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Rpc => "rpc",
            Self::Jvm => "jvm",
            Self::Worker => "worker",
            Self::Shop => "shop",
            Self::Mobile => "mobile",
            Self::Hosts => "hosts",
            Self::Recorded => "recorded",
        }
    }
}

/// A word that names none of the known things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; there are: {}", .known.join(", "))]
pub struct UnknownWord {
    what: &'static str,
    text: String,
    known: Vec<&'static str>,
}

fn by_word<T: Copy>(
    what: &'static str,
    text: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<T, UnknownWord> {
    let found = all.iter().copied().find(|item| word(*item) == text);
    found.ok_or_else(|| UnknownWord {
        what,
        text: text.to_owned(),
        known: all.iter().map(|item| word(*item)).collect(),
    })
}

impl FromStr for Style {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        by_word("style", text, &Self::ALL, Self::word)
    }
}

/// Why a release could not be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// The wanted faults show in none of the wanted styles.
    #[error(
        "no fleet was found in which one of the faults [{}] shows in one of the styles [{}]; \
         allow more faults or styles",
        .faults.join(", "),
        .styles.join(", ")
    )]
    CannotShow {
        /// The wanted faults.
        faults: Vec<&'static str>,
        /// The wanted styles.
        styles: Vec<&'static str>,
    },
    /// A drawn name is not usable: a mistake of the simulation.
    #[error("a simulated name is not usable")]
    Name(#[from] InvalidId),
}

/// Which release to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The seed of the whole set.
    pub seed: u64,
    /// Which release of the set; each is drawn on its own.
    pub index: u64,
    /// One of these styles; any if empty.
    pub styles: Vec<Style>,
    /// One of these faults if it is to be faulty; any if empty.
    pub faults: Vec<Fault>,
    /// One of these troubles; any if empty.
    pub troubles: Vec<Trouble>,
    /// Share of releases that are faulty, 0 to 1.
    pub faulty_share: f64,
    /// About how many samples one release may have.
    pub samples_max: usize,
    /// How many releases in a row are of the same service; with more than
    /// one, releases are drawn otherwise than with one.
    pub releases_per_service: u64,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            seed: 1,
            index: 0,
            styles: Vec::new(),
            faults: Vec::new(),
            troubles: Vec::new(),
            faulty_share: 0.5,
            samples_max: 400_000,
            releases_per_service: 1,
        }
    }
}

/// A simulated release: what a recording of it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// The release order.
    pub order: ReleaseOrder,
    /// What is true of it.
    pub label: Label,
    /// Every scrape, by time, then instance.
    pub scrapes: Vec<Scrape>,
}
