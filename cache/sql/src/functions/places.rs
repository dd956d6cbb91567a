//! Rows of tables by their place, as every table function tells them: `split`, `shard`, `row` and `id`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_datafusion_err};

use super::rank::Place;
use crate::parts::Table;

/// The first column of a table, which tells its rows apart: an id, or a word.
pub(super) const KEY: usize = 0;

/// The fields of a place; `prefix` tells two places of a row apart.
pub(super) fn place_fields(prefix: &str) -> Vec<Field> {
    let field = |name: &str, data_type| Field::new(format!("{prefix}{name}"), data_type, false);
    vec![
        field("split", DataType::Utf8),
        field("shard", DataType::Utf8),
        field("row", DataType::UInt32),
        field("id", DataType::Utf8),
    ]
}

/// The columns of places, as [`place_fields`] has them. Reads the keys of the parts that are among them.
pub(super) fn place_columns(table: &Table, places: &[Place]) -> Result<Vec<ArrayRef>> {
    let mut keys: BTreeMap<u32, StringArray> = BTreeMap::new();
    for place in places {
        if let Entry::Vacant(part) = keys.entry(place.part) {
            part.insert(keys_of(table, place.part as usize)?);
        }
    }
    let key = |place: &Place| {
        let keys = keys.get(&place.part)?;
        ((place.row as usize) < keys.len()).then(|| keys.value(place.row as usize))
    };
    Ok(placed(table, places, places.iter().map(key).collect()))
}

/// As [`place_columns`], with keys that are known.
pub(super) fn placed(table: &Table, places: &[Place], keys: StringArray) -> Vec<ArrayRef> {
    let words = |word: fn(&crate::parts::Part) -> &Option<String>| -> ArrayRef {
        let of = |place: &Place| word(&table.parts[place.part as usize]).as_deref().unwrap_or_default();
        Arc::new(StringArray::from_iter_values(places.iter().map(of)))
    };
    let rows = UInt32Array::from_iter_values(places.iter().map(|place| place.row));
    vec![words(|part| &part.split), words(|part| &part.shard), Arc::new(rows), Arc::new(keys)]
}

/// The keys of a part, in the order of its rows.
pub(super) fn keys_of(table: &Table, part: usize) -> Result<StringArray> {
    let stored = table.read(part, &[KEY])?;
    let schema = Arc::new(table.schema.project(&[KEY])?);
    let shown = table.shown(part, Some(&stored), &[KEY], &schema, 0..stored.num_rows())?;
    let keys = shown.column(0).as_string_opt::<i32>();
    keys.cloned().ok_or_else(|| exec_datafusion_err!("the rows of {} have no ids", table.name))
}

/// Whether the rows of a table are told apart by words, not by ids.
pub(super) fn has_words(table: &Table) -> bool {
    table.schema.fields().get(KEY).is_some_and(|field| field.name() == retort_schemas::features::words::WORD)
}
