//! Samples in, observations out: which signals an application has, and what
//! both groups show of them over the same interval.

mod catalogue;
mod column;
mod counter;
mod division;
pub mod exposition;
mod inventory;
mod kind;
mod names;
mod observe;
mod window;

pub use catalogue::{
    AddedValue, Catalogue, Shape, SignalAddition, SignalDef, SignalId, SignalOverride, SignalSettings,
};
pub use division::{DivideBy, Divider, Labels, Part};
pub use inventory::{Inventory, InventorySignal};
pub use kind::{BadWhen, SignalClass, Unit};
pub use names::ADDED_TO_SCRAPES;
pub use observe::{Cells, Groups, Member, Observation, Rows};
pub use window::{Contact, InstanceWindow, Step, Window};
