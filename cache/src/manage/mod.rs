//! Whole caches of teachers: listed, removed, copied, compared, and their damaged files set aside.
//!
//! Whatever takes features away takes them out of `teacher.json` as well; whatever adds some names them there last.

mod compare;
mod copy;
mod list;
mod quarantine;
mod remove;

pub use compare::{ColumnComparison, Comparison, compare_teachers};
pub use copy::{Copied, copy_teacher};
pub use list::{Listing, TableListing, list_teachers};
pub use quarantine::{Left, Moved, Quarantine, quarantine};
pub use remove::{Removed, remove_teacher};
