//! What an application lacks before it can be watched, and what it lacks to
//! be watched well: `discover` and the interface say the same.

use crate::adapters::guardian::MissingSetting;
use crate::guard::Mode;
use crate::signal::{Inventory, SignalClass};

/// What is known of an application.
pub(super) struct Facts<'a> {
    /// As in the settings file; none if nobody named it yet.
    pub(super) name: Option<&'a str>,
    /// Its instances that are known.
    pub(super) instances: usize,
    /// What was seen of it.
    pub(super) inventory: &'a Inventory,
    /// How far the guardian may go.
    pub(super) mode: Mode,
    /// Whether somebody carries out its commands.
    pub(super) has_release_system: bool,
}

impl Facts<'_> {
    fn setting(&self, key: &str) -> String {
        match self.name {
            Some(name) => format!("application.{name}.{key}"),
            None => format!("application.{key}"),
        }
    }

    fn lack(&self, key: &str, why: String) -> MissingSetting {
        MissingSetting { setting: self.setting(key), why }
    }
}

/// Without these no release of it can be watched.
pub(super) fn missing(facts: &Facts<'_>) -> Vec<MissingSetting> {
    if facts.instances == 0 {
        let why = "no target is selected: check the sources' targets and the labels in select";
        return vec![facts.lack("select", why.to_owned())];
    }
    if facts.inventory.signals.is_empty() {
        let why = format!(
            "nothing that could be judged came from its {} so far: check with `release-guardian check --probe` \
             that its targets answer and expose metrics",
            instances(facts.instances)
        );
        return vec![facts.lack("sources", why)];
    }
    Vec::new()
}

/// Without these it is watched, and some faults are not seen, or nothing can
/// be done about them.
pub(super) fn recommended(facts: &Facts<'_>) -> Vec<MissingSetting> {
    let mut lacks = Vec::new();
    if facts.mode == Mode::Enforce && !facts.has_release_system {
        let why = "nobody carries out a pause or a rollback; gates answer, and people are told";
        lacks.push(facts.lack("release_system", why.to_owned()));
    }
    if facts.instances == 1 {
        let why = "it has one instance: there is no reference group beside it, and a release is compared with \
                   its own past only";
        lacks.push(facts.lack("select", why.to_owned()));
    }
    if facts.inventory.signals.is_empty() {
        return lacks;
    }
    let wanted = [
        (SignalClass::Errors, "failed requests are not seen"),
        (SignalClass::Latency, "a release that is slow is not seen by it"),
        (SignalClass::Traffic, "lost traffic is not seen, and counts cannot be set against requests"),
    ];
    for (class, what) in wanted {
        if !facts.inventory.has(class) {
            let class = class.word();
            let why = format!(
                "there is no signal of class {class}: {what}. Expose one, or name the metric: \
                 [[application.signal]] with metric = \"..\" and class = \"{class}\""
            );
            lacks.push(facts.lack("signal", why));
        }
    }
    if !facts.inventory.has_start_time {
        let why = "no metric tells when a process began (process_start_time_seconds): restarts, and how young a \
                   process is, are not seen";
        lacks.push(facts.lack("signal", why.to_owned()));
    }
    lacks
}

fn instances(count: usize) -> String {
    match count {
        1 => "instance".to_owned(),
        count => format!("{count} instances"),
    }
}
