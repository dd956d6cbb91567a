//! Which tables of a teacher an export has a place for.

use retort_schemas::features;
use retort_schemas::manifest::Shard;

use super::{Export, ExportFormat};
use crate::{Error, Result};

impl ExportFormat {
    /// Why a layout has no place for a table; none where it has one.
    pub fn refuses(self, table: &str) -> Option<&'static str> {
        use features::{patches, tokens, words};
        match (self, table) {
            (Self::ClipRetrieval, patches::NAME | tokens::NAME) => {
                Some("clip-retrieval has one vector a row, not a list of them: use webdataset or safetensors")
            }
            (Self::ClipRetrieval | Self::Webdataset, words::NAME) => {
                Some("its rows are images, texts or pairs of them, and a word belongs to none: use safetensors")
            }
            _ => None,
        }
    }
}

/// The tables that are exported, in the order of [`features::ALL`], and those of the teacher that the layout has no place for.
///
/// # Errors
/// [`Error::NotExportable`] if a table that was asked for is not there or has no place, if one is there of some shards only,
/// or if nothing is left.
pub(super) fn choose(export: &Export<'_>, shards: &[Shard]) -> Result<(Vec<&'static str>, Vec<&'static str>)> {
    let asked = |table: &str| export.tables.iter().any(|asked| asked == table);
    if let Some(unknown) = export.tables.iter().find(|asked| !features::ALL.contains(&asked.as_str())) {
        let known = features::ALL.join(", ");
        return Err(refuse(export, &format!("a teacher has no table {unknown:?}: the tables are {known}")));
    }
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for table in features::ALL {
        let wanted = export.tables.is_empty() || asked(table);
        match export.format.refuses(table) {
            _ if !wanted => {}
            Some(reason) if asked(table) => return Err(refuse(export, &format!("{table}: {reason}"))),
            Some(_) if export.teacher.manifest().has(table) => {
                left_out.push(table);
            }
            Some(_) => {}
            None if has(export, shards, table)? => chosen.push(table),
            None if asked(table) => return Err(refuse(export, &format!("it has no {table}"))),
            None => {}
        }
    }
    if chosen.is_empty() {
        let lacks = match export.format {
            ExportFormat::ClipRetrieval => "it has embeddings of neither images nor texts",
            ExportFormat::Webdataset => "it has features of neither images nor texts",
            ExportFormat::Safetensors => "it has no features",
        };
        return Err(refuse(export, lacks));
    }
    Ok((chosen, left_out))
}

/// Whether the teacher has a table, of every shard then.
fn has(export: &Export<'_>, shards: &[Shard], table: &str) -> Result<bool> {
    let teacher = export.teacher;
    for shard in shards {
        if teacher.shard(&shard.name)?.is_some_and(|mine| mine.tables.contains_key(table)) {
            continue;
        }
        // None of any shard, of this split or another: it does not make them.
        if !teacher.manifest().has(table) {
            return Ok(false);
        }
        return Err(refuse(export, &format!("it has no {table} of shard {}: run `retort teach` again", shard.name)));
    }
    Ok(!shards.is_empty())
}

fn refuse(export: &Export<'_>, problem: &str) -> Error {
    Error::NotExportable { path: export.teacher.folder().to_owned(), problem: problem.to_owned() }
}
