//! Reading row by row, in any order, and never a wrong value.
#![allow(clippy::unwrap_used, clippy::panic)]

mod integrity;
mod picked;
mod rows;
mod set;
