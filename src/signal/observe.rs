//! Both groups over the same interval: for each signal and instance the cells
//! that its values come from.

use serde::{Deserialize, Serialize};

use super::SignalClass;
use super::catalogue::{Shape, SignalDef, SignalId};
use super::column::Column;
use super::window::{InstanceWindow, Step, Window};
use crate::domain::{Batch, Group, InstanceId, Timestamp};

/// One instance of the application as the release sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Which instance.
    pub instance: InstanceId,
    /// When its batch started; absent in the reference group.
    pub released_at: Option<Timestamp>,
    /// Expected traffic in units of one reference instance.
    pub weight: f64,
    /// Whether somebody said what its traffic would be.
    pub weight_is_given: bool,
}

impl Member {
    /// Its group now.
    pub fn group(&self) -> Group {
        if self.released_at.is_some() { Group::Release } else { Group::Reference }
    }
}

/// Who belongs to which group; instances in neither are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// All members, in a fixed order.
    pub members: Vec<Member>,
}

impl Groups {
    /// Puts instances into the reference group unless they are known.
    pub fn add_reference(&mut self, instances: impl IntoIterator<Item = InstanceId>) {
        for instance in instances {
            if !self.members.iter().any(|m| m.instance == instance) {
                self.members.push(Member {
                    instance,
                    released_at: None,
                    weight: 1.0,
                    weight_is_given: false,
                });
            }
        }
    }

    /// Moves a batch's instances into the release group.
    pub fn release(&mut self, batch: &Batch) {
        self.add_reference(batch.instances.iter().cloned());
        for member in &mut self.members {
            if batch.instances.contains(&member.instance) && member.released_at.is_none() {
                member.released_at = Some(batch.started_at);
                member.weight = batch.weight.unwrap_or(1.0);
                member.weight_is_given = batch.weight.is_some();
            }
        }
    }

    /// The members of one group.
    pub fn of(&self, group: Group) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |m| m.group() == group)
    }
}

/// A machine alone beside another takes its place, and is no fleet.
const FLEET_MIN: usize = 2;

/// A window seen through the groups of a release.
#[derive(Clone)]
pub struct Observation<'a> {
    /// The samples.
    pub window: &'a Window,
    /// The groups.
    pub groups: &'a Groups,
    /// The signal that counts the main traffic, if there is one.
    pub traffic: Option<SignalId>,
    /// By member what is kept of it: found by name once, asked for by every signal.
    instances: Vec<Option<&'a InstanceWindow>>,
}

/// Numerators and denominators of consecutive steps, each in a row of its own.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Numerators.
    pub num: Vec<f64>,
    /// Denominators; 0 where there is no value.
    pub den: Vec<f64>,
}

/// The cells of one signal of one instance.
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    num: Option<&'a Column>,
    minus: Option<&'a Column>,
    num_from_den: bool,
    den: Option<&'a Column>,
    den_from_num: bool,
}

impl Cells<'_> {
    /// Numerator and denominator at one step; a denominator of 0 is no value.
    pub fn at(&self, step: Step) -> (f64, f64) {
        let den = self.den.map_or(0.0, |c| if self.den_from_num { c.num_at(step) } else { c.den_at(step) });
        if den <= 0.0 || self.minus.is_some_and(|c| c.den_at(step) <= 0.0) {
            return (0.0, 0.0);
        }
        let num = self.num.map_or(0.0, |c| if self.num_from_den { c.den_at(step) } else { c.num_at(step) });
        (num - self.minus.map_or(0.0, |c| c.num_at(step)), den)
    }

    /// Numerators and denominators of steps `from..to` into `out`, as
    /// [`Cells::at`] gives them.
    pub fn read(&self, from: Step, to: Step, out: &mut Rows) {
        let len = usize::try_from(to - from).unwrap_or(0);
        for row in [&mut out.num, &mut out.den] {
            row.clear();
            row.resize(len, 0.0);
        }
        self.read_zeroed(from, &mut out.num, &mut out.den);
    }

    fn read_zeroed(&self, from: Step, num: &mut [f64], den: &mut [f64]) {
        if let Some(column) = self.den {
            column.combine(self.den_from_num, from, den, |out, value| *out = value);
        }
        if let Some(column) = self.minus {
            column.combine(false, from, num, |out, value| *out = value);
            for (is_there, den) in num.iter_mut().zip(den.iter_mut()) {
                *den = if *is_there > 0.0 { *den } else { 0.0 };
                *is_there = 0.0;
            }
        }
        if let Some(column) = self.num {
            column.combine(!self.num_from_den, from, num, |out, value| *out = value);
        }
        if let Some(column) = self.minus {
            column.combine(true, from, num, |out, value| *out -= value);
        }
        // Without a branch, so that several are done at a time.
        for (num, den) in num.iter_mut().zip(den) {
            let none = *den <= 0.0;
            *num = if none { 0.0 } else { *num };
            *den = if none { 0.0 } else { *den };
        }
    }

    /// The sums over steps `from..to`, of cells that have a value.
    pub fn sum(&self, from: Step, to: Step) -> (f64, f64) {
        const PART: usize = 64;
        let mut total = (0.0, 0.0);
        let mut at = from;
        while at < to {
            let len = usize::try_from(to - at).unwrap_or(PART).min(PART);
            let (mut num, mut den) = ([0.0; PART], [0.0; PART]);
            self.read_zeroed(at, &mut num[..len], &mut den[..len]);
            for (num, den) in num[..len].iter().zip(&den[..len]) {
                total.0 += num;
                total.1 += den;
            }
            at += len as Step;
        }
        total
    }
}

impl<'a> Observation<'a> {
    /// The window as the groups divide it.
    pub fn new(window: &'a Window, groups: &'a Groups, traffic: Option<SignalId>) -> Self {
        let instances = groups.members.iter().map(|m| window.instances().get(&m.instance)).collect();
        Self { window, groups, traffic, instances }
    }

    /// The instance behind a member, if it was ever seen.
    pub fn instance(&self, member: &Member) -> Option<&'a InstanceWindow> {
        match self.groups.members.element_offset(member) {
            Some(index) => self.instances[index],
            None => self.window.instances().get(&member.instance),
        }
    }

    /// The cells of one signal of one member. `bound` is the bound that was
    /// chosen for a `Slow` signal.
    pub fn cells(
        &self,
        id: SignalId,
        def: &SignalDef,
        member: &Member,
        bound: Option<f64>,
    ) -> Option<Cells<'a>> {
        let instance = self.instance(member)?;
        let column = instance.column(id);
        match def.shape {
            Shape::Slow => {
                let column = column?;
                let below = instance.bucket(id, bound?)?;
                Some(Cells {
                    num: Some(column),
                    minus: Some(below),
                    num_from_den: true,
                    den: Some(column),
                    den_from_num: false,
                })
            }
            Shape::Ratio | Shape::Mean | Shape::Level => {
                let column = column?;
                Some(Cells {
                    num: Some(column),
                    minus: None,
                    num_from_den: false,
                    den: Some(column),
                    den_from_num: false,
                })
            }
            Shape::Rate => {
                // Counters of errors appear with the first error: where there
                // is none yet, the count is zero and not unknown.
                let lazy = matches!(def.class, SignalClass::Errors | SignalClass::Logs | SignalClass::Health);
                if column.is_none() && !lazy {
                    return None;
                }
                let traffic =
                    if def.by_traffic { self.traffic.and_then(|id| instance.column(id)) } else { None };
                let (den, den_from_num) = match (traffic, lazy) {
                    (Some(traffic), _) => (Some(traffic), true),
                    (None, true) => (Some(instance.served()), false),
                    (None, false) => (column, false),
                };
                Some(Cells { num: column, minus: None, num_from_den: false, den, den_from_num })
            }
        }
    }

    /// Whether a member tells of the resources it uses; what stands for a version or
    /// a region of the clients gets as many of them as install it.
    pub fn is_machine(&self, member: &Member) -> bool {
        let Some(instance) = self.instance(member) else { return false };
        self.window.catalogue().signals().any(|(id, def)| {
            def.class == SignalClass::Saturation && !def.is_calls() && instance.column(id).is_some()
        })
    }

    /// Whether the released machines are a second fleet beside the old one: new ones
    /// all, and as many. Until the traffic is switched over they may have none of it.
    pub fn is_second_fleet(&self) -> bool {
        let released = self.groups.members.iter().filter_map(|member| member.released_at);
        let Some(first) = released.min() else { return false };
        let (mut new, mut old) = (0, 0);
        for member in &self.groups.members {
            let served = self.instance(member).and_then(InstanceWindow::first_served);
            match member.group() {
                Group::Release if served.is_some_and(|at| at < first) || !self.is_machine(member) => {
                    return false;
                }
                Group::Release => new += 1,
                Group::Reference => old += usize::from(served.is_some()),
            }
        }
        old > 0 && new >= old.max(FLEET_MIN)
    }

    /// The traffic signal with the most events in steps `from..to`, seen on
    /// most instances: what errors and orders are counted against. Calls to
    /// others stand for it only where nothing else does.
    pub fn main_traffic(&self, from: Step, to: Step) -> Option<SignalId> {
        self.most_events(from, to, false).or_else(|| self.most_events(from, to, true))
    }

    fn most_events(&self, from: Step, to: Step, outgoing: bool) -> Option<SignalId> {
        let mut best: Option<(SignalId, f64)> = None;
        for (id, def) in self.window.catalogue().signals() {
            if def.class != SignalClass::Traffic
                || def.segment.is_some()
                || def.muted
                || def.outgoing != outgoing
                || def.shape != Shape::Rate
            {
                continue;
            }
            let mut events = 0.0;
            let (mut seen_on, mut served) = (0, 0);
            for member in &self.groups.members {
                let Some(instance) = self.instance(member) else { continue };
                // Instances that did not exist then have no say.
                if instance.served().sum(from, to).1 <= 0.0 {
                    continue;
                }
                served += 1;
                let count = instance.column(id).map_or(0.0, |column| column.sum(from, to).0);
                events += count;
                seen_on += usize::from(count > 0.0);
            }
            let enough = seen_on * 2 > served && events >= 50.0;
            if enough && best.is_none_or(|(_, most)| events > most) {
                best = Some((id, events));
            }
        }
        best.map(|(id, _)| id)
    }
}
