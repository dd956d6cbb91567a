//! What a folder is opened with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::ExecutionPlan;

use crate::skipped::Skips;
use crate::thumbnails::Thumbnails;
use crate::{Error, QueryEncoder, Result};

/// Consumers of memory that an error names, the largest first.
const NAMED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(2);
/// Bytes that each core needs for its part of a query: where fewer are allowed, fewer cores are at work.
const EACH_CORE: usize = 16 << 20;
/// Of the memory of one core, the part that a sort keeps free to merge what it has sorted: DataFusion's 10 MB are too
/// much where little is allowed.
const MERGE_SHARE: usize = 3;

/// Batches that a merge may have in hand in each partition.
const BATCHES: usize = 16;
/// Rows that are worth a batch, however wide.
const LEAST_ROWS: usize = 16;

/// What a folder is opened with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Makes vectors of the texts and images that `nearest` is asked for; without it, it takes vectors and ids.
    pub encoder: Option<Arc<dyn QueryEncoder>>,
    /// Bytes that sorts, groups, joins and scans of all queries may hold at a time; without it, what they need.
    pub memory_limit: Option<usize>,
    /// Where sorts, groups and joins put what does not fit into the limit; it is made if it is not there. Without it a
    /// query that needs more than the limit fails.
    pub spill_folder: Option<PathBuf>,
    /// Leaves damaged shards out of the tables they belong to; [`crate::take_skipped`] tells which. Without it, a query that
    /// reads one fails.
    pub skip_damaged: bool,
    /// Lets statements read and write files outside of the folder: `COPY ... TO 'file'`, `CREATE EXTERNAL TABLE` and
    /// `SELECT ... FROM 'file'`.
    pub allow_external: bool,
    /// Draws images under the tables of answers, for terminals.
    pub thumbnails: Option<Arc<dyn Thumbnails>>,
}

/// What a context was opened with, where its queries find it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    /// Where scans tell what they skipped, if they may.
    pub(crate) skips: Option<Arc<Skips>>,
}

impl Opened {
    pub(crate) fn with(folder: &Path, options: &Options) -> Arc<Self> {
        let skips = options.skip_damaged.then(Arc::default);
        Arc::new(Self { folder: folder.to_owned(), options: options.clone(), skips })
    }

    /// Of a context that [`crate::open_with`] made.
    pub(crate) fn of(context: &SessionContext) -> Option<Arc<Self>> {
        context.state().config().get_extension()
    }
}

/// The memory that queries share, and the folder for what does not fit.
pub(crate) fn runtime(options: &Options) -> Result<Arc<RuntimeEnv>> {
    let mode = match &options.spill_folder {
        Some(folder) => {
            retort_cache::create_folder(folder)?;
            DiskManagerMode::Directories(vec![folder.clone()])
        }
        None => DiskManagerMode::Disabled,
    };
    // The disk is as large as it is: DataFusion's own bound of 100 GB would be one more thing to know.
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX);
    let mut builder = RuntimeEnvBuilder::new().with_disk_manager_builder(disk);
    if let Some(limit) = options.memory_limit {
        builder =
            builder.with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(limit), NAMED_CONSUMERS)));
    }
    builder.build_arc().map_err(Error::from)
}

/// Removes what queries have put on disk: for a process that ends before they do.
pub fn remove_spilled(context: &SessionContext) {
    for folder in context.runtime_env().disk_manager.temp_dir_paths() {
        // One that cannot be removed stays, as it would if the process were killed.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Settings of a session under these options.
pub(crate) fn tuned(mut config: SessionConfig, options: &Options) -> SessionConfig {
    if let Some(limit) = options.memory_limit {
        let cores = config.target_partitions().min(limit / EACH_CORE).max(1);
        config = config.with_target_partitions(cores);
        let each = limit / cores / MERGE_SHARE;
        let merge = &mut config.options_mut().execution.sort_spill_reservation_bytes;
        *merge = each.min(*merge);
    }
    config
}

/// Rows of a batch under a memory limit: so few that what merges sorted rows, with several batches in hand in each partition, finds
/// room for the widest rows of a plan. Only vectors and images make rows wide; of others, few rows a batch would be the dearer way.
pub(crate) fn batch_rows(plan: &Arc<dyn ExecutionPlan>, limit: usize, partitions: usize) -> usize {
    let mut widest = 1;
    let _ = plan.apply(|node| {
        let row = node.schema().fields().iter().map(|field| row_bytes(field.data_type())).sum();
        widest = widest.max(row);
        Ok(TreeNodeRecursion::Continue)
    });
    (limit / partitions.max(1) / BATCHES / widest).max(LEAST_ROWS)
}

/// Bytes of a row of such a column, about, if they are many.
fn row_bytes(column: &DataType) -> usize {
    /// Of an image.
    const BINARY: usize = 1 << 16;
    /// Of a list, as the patches of an image.
    const ITEMS: usize = 64;
    match column {
        DataType::FixedSizeList(_, width) => usize::try_from(*width).unwrap_or(0) * size_of::<f32>(),
        DataType::List(item) | DataType::LargeList(item) => ITEMS * row_bytes(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| row_bytes(field.data_type())).sum(),
        DataType::Binary | DataType::LargeBinary => BINARY,
        _ => 0,
    }
}

/// A number of bytes as somebody would give it: `512 MiB`, `65 KiB`, `1000 bytes`.
pub(crate) fn bytes_in_words(bytes: usize) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    whole.map_or_else(|| format!("{bytes} bytes"), |(bits, unit)| format!("{} {unit}", bytes >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said_in_the_largest_unit_that_is_exact() {
        let words = [512 << 20, 3 << 30, 65 << 10, 1000, 0].map(bytes_in_words);
        assert_eq!(words, ["512 MiB", "3 GiB", "65 KiB", "1000 bytes", "0 bytes"]);
    }
}
