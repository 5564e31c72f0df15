//! The keys of series that many targets expose alike: kept once, not once a
//! target.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::SeriesKey;

use super::line;

/// Series that are shared; past this it begins anew.
const SERIES_MAX: usize = 200_000;

/// Series by the bytes that spell them.
type Spelt = HashMap<Arc<[u8]>, Arc<SeriesKey>>;

/// Keys that the readers of like targets share.
#[derive(Clone, Debug, Default)]
pub struct SharedKeys {
    by_bytes: Arc<Mutex<Spelt>>,
}

impl SharedKeys {
    /// The bytes and the series that they spell.
    pub(super) fn find_or_parse(&self, bytes: &[u8]) -> Result<(Arc<[u8]>, Arc<SeriesKey>), &'static str> {
        // A reader that panicked left a whole map: entries are put in at once.
        let mut known = self.by_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, key)) = known.get_key_value(bytes) {
            return Ok((bytes.clone(), key.clone()));
        }
        let (bytes, key): (Arc<[u8]>, _) = (bytes.into(), Arc::new(line::parse_series(bytes)?));
        if known.len() >= SERIES_MAX {
            known.clear();
        }
        known.insert(bytes.clone(), key.clone());
        Ok((bytes, key))
    }
}
