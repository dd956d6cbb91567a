//! Files as others write them: lines, tables, JSON, archives. What their records mean is the sources' business.
//!
//! ```text
//! gzip --> lines --> delimited --\
//!      |         \-> name_list    +--> rows: the records of a csv, tsv, jsonl or JSON file, one by one
//!      \-> json ------------------/
//! tar, zip: members of archives, bounded before they are unpacked
//! ```

pub(crate) mod delimited;
pub(crate) mod gzip;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod name_list;
pub(crate) mod rows;
pub(crate) mod tar;
pub(crate) mod zip;
