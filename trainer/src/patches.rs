//! Patch grids of a shard's images, from a teacher's cache: what the student `clip-grid` sees instead of pixels.

use retort_cache::vectors::Rows;
use retort_cache::{Dataset, TeacherCache};
use retort_schemas::features::patches;
use retort_schemas::manifest::Shard;

use crate::zipped::read_features;
use crate::{Error, Result};

/// The grids of all images of a shard, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Patches {
    vectors: Rows,
    places: usize,
}

impl Patches {
    /// Sees, from the manifest alone, that a teacher has the grids of a shard.
    pub(crate) fn check(teacher: &TeacherCache, dataset: &Dataset, shard: &Shard) -> Result<()> {
        if teacher.shard(&shard.name)?.is_some_and(|mine| mine.tables.contains_key(patches::NAME)) {
            return Ok(());
        }
        Err(Error::Data {
            path: dataset.folder().to_owned(),
            problem: format!(
                "teacher {} has no patch grid of shard {}, which the student clip-grid reads instead of pixels: run \
                     `retort teach` with --patches and --teacher {}=FOLDER",
                teacher.folder_name(),
                shard.name,
                teacher.manifest().name
            ),
        })
    }

    /// Reads the grids of a shard, whose rows are those of its images.
    pub(crate) fn read(teacher: &TeacherCache, dataset: &Dataset, shard: &Shard) -> Result<Self> {
        Self::read_part(teacher, dataset, shard, None)
    }

    /// As [`Patches::read`], of some images, at least one: row i of the result is that of image `rows[i]`.
    pub(crate) fn read_part(
        teacher: &TeacherCache,
        dataset: &Dataset,
        shard: &Shard,
        rows: Option<&[usize]>,
    ) -> Result<Self> {
        Self::check(teacher, dataset, shard)?;
        let batch = read_features(teacher, dataset, shard, patches::NAME, rows)?;
        let vectors = Rows::of(&batch, patches::GRID)?;
        let places = vectors.of_row(0).len();
        if let Some(row) = (0..batch.num_rows()).find(|row| vectors.of_row(*row).len() != places || places == 0) {
            let problem = format!("has {} vectors in row {row}, {places} in row 0", vectors.of_row(row).len());
            return Err(retort_cache::Error::Column { column: patches::GRID.to_owned(), problem }.into());
        }
        Ok(Self { vectors, places })
    }

    /// Elements of a vector.
    pub(crate) fn width(&self) -> usize {
        self.vectors.width()
    }

    /// Vectors of an image.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// The grid of image `row`, `[places, width]` end to end.
    pub(crate) fn of_image(&self, row: usize) -> Vec<f32> {
        let mut grid = vec![0.0; self.places * self.width()];
        self.vectors.decode(self.vectors.of_row(row), &mut grid);
        grid
    }
}
