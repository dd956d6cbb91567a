//! The tables that ingest writes: images, texts, samples and rejects, one file a shard each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::{ID_BYTES, SCHEMA_KEY, SchemaVersion, VectorType};

/// Puts a version into a schema.
pub(crate) fn versioned(version: SchemaVersion, fields: Vec<Field>) -> SchemaRef {
    let metadata = HashMap::from([(SCHEMA_KEY.to_owned(), version.to_string())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// An id column.
pub(crate) fn id(name: &str) -> Field {
    Field::new(name, DataType::FixedSizeBinary(ID_BYTES), false)
}

fn list_of(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new_list_field(item, false))), false)
}

/// One row per distinct image of the shard, in source order.
pub mod images {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "images";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// First 16 bytes of the blake3 hash of the source bytes; of a missing image, of its name.
    pub const IMAGE_ID: &str = "image_id";
    /// Path of the source file, relative to the image folder.
    pub const SOURCE: &str = "source";
    /// The encoded image as stored.
    pub const BYTES: &str = "bytes";
    /// Encoding of `bytes`: `png`, `jpeg`, ..., or `missing` where the source names an image that was not there: it has
    /// no bytes and no size.
    pub const FORMAT: &str = "format";
    /// Width of the stored image in pixels, upright as its EXIF orientation has it: readers apply it.
    pub const WIDTH: &str = "width";
    /// Height of the stored image in pixels, upright.
    pub const HEIGHT: &str = "height";
    /// Width of the source image in pixels, upright.
    pub const SOURCE_WIDTH: &str = "source_width";
    /// Height of the source image in pixels, upright.
    pub const SOURCE_HEIGHT: &str = "source_height";
    /// The [`FORMAT`] of an image that the source names and that was not there.
    pub const MISSING: &str = "missing";
    /// 64-bit difference hash: near duplicates differ in few bits.
    pub const PHASH: &str = "phash";

    /// The hash by which an image is compared with others, from its [`FORMAT`] and [`PHASH`]; None where it has none to compare.
    /// This is what images that look alike are, wherever retort counts or lists them.
    ///
    /// A bit of the hash says that a pixel is darker than the one on its right, so 0 is the hash of every image that has no edges
    /// (a red one, a blue one, one of a single pixel), and does not tell that two of them look alike. An image that is missing has
    /// 0, too, as there is nothing to hash. Equal files need no hash: they have one id, and are one row of a shard.
    pub fn compared_hash(format: &str, phash: u64) -> Option<u64> {
        (format != MISSING && phash != 0).then_some(phash)
    }

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                id(IMAGE_ID),
                Field::new(SOURCE, DataType::Utf8, false),
                Field::new(BYTES, DataType::Binary, false),
                Field::new(FORMAT, DataType::Utf8, false),
                Field::new(WIDTH, DataType::UInt32, false),
                Field::new(HEIGHT, DataType::UInt32, false),
                Field::new(SOURCE_WIDTH, DataType::UInt32, false),
                Field::new(SOURCE_HEIGHT, DataType::UInt32, false),
                Field::new(PHASH, DataType::UInt64, false),
            ],
        )
    }
}

/// Detected objects: row i belongs to row i of the images. Only splits whose source has objects have this table.
pub mod regions {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "regions";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// Id of the image.
    pub const IMAGE_ID: &str = super::images::IMAGE_ID;
    /// The objects in the source's order: an object reference of a text is an index into them. Empty where nothing was
    /// found, where the image's detections are lost (`rejects`), and where features came without boxes.
    pub const BOXES: &str = "boxes";
    /// One vector an object, where a detector's features were given; empty where the image's are lost.
    pub const FEATURES: &str = "features";

    /// Fields of one object: corners in pixels of the source image, class and score where they are known.
    pub fn box_fields() -> Fields {
        let corner = |name: &str| Field::new(name, DataType::Float32, false);
        vec![
            corner("left"),
            corner("top"),
            corner("right"),
            corner("bottom"),
            Field::new("class", DataType::Utf8, true),
            Field::new("score", DataType::Float32, true),
        ]
        .into()
    }

    /// Columns and types, with features of this type or without.
    pub fn schema(features: Option<VectorType>) -> SchemaRef {
        let mut fields = vec![id(IMAGE_ID), list_of(BOXES, DataType::Struct(box_fields()))];
        if let Some(vector) = features {
            fields.push(Field::new(FEATURES, DataType::List(Arc::new(vector.field("item"))), false));
        }
        versioned(VERSION, fields)
    }
}

/// One row per distinct text of the shard, in order of first appearance.
pub mod texts {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "texts";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 1);
    /// First 16 bytes of the blake3 hash of the text, and of its parts and object references where it has any.
    pub const TEXT_ID: &str = "text_id";
    /// The text, UTF-8.
    pub const TEXT: &str = "text";
    /// Where the text names detected objects (VCR): byte span in the text and object index.
    pub const OBJECTS: &str = "objects";
    /// Byte offsets at which the second and further parts of the text begin, such as the answer after the question:
    /// students that tell segments apart need them. Since 1.1.
    pub const PARTS: &str = "parts";

    /// Fields of one object reference: `start` and `end` are byte offsets into the text.
    pub fn object_fields() -> Fields {
        ["start", "end", "object"].map(|name| Field::new(name, DataType::UInt32, false)).to_vec().into()
    }

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                id(TEXT_ID),
                Field::new(TEXT, DataType::Utf8, false),
                list_of(OBJECTS, DataType::Struct(object_fields())),
                list_of(PARTS, DataType::UInt32),
            ],
        )
    }
}

/// One row per sample; points at rows of the shard's images and texts.
pub mod samples {
    use super::*;

    /// What is asked about an image: the values of the column [`TASK`].
    pub mod tasks {
        /// A question, answered from a vocabulary.
        pub const VQA: &str = "vqa";
        /// A question with four answers.
        pub const VCR_QA: &str = "vcr_qa";
        /// A question with its answer and four rationales.
        pub const VCR_QAR: &str = "vcr_qar";
        /// Whether the image entails a hypothesis.
        pub const SNLI_VE: &str = "snli_ve";
        /// Nothing: an image and a text about it.
        pub const CAPTION: &str = "caption";
        /// Which class an image belongs to, perhaps with a text.
        pub const CLASSIFICATION: &str = "classification";
        /// Which of several texts belongs to an image.
        pub const MATCHING: &str = "matching";
    }

    /// Folder and table name.
    pub const NAME: &str = "samples";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The source's own id, unique in its split.
    pub const SAMPLE_ID: &str = "sample_id";
    /// One of [`tasks`].
    pub const TASK: &str = "task";
    /// The split the sample was ingested as.
    pub const SPLIT: &str = "split";
    /// Row of the shard's images.
    pub const IMAGE: &str = "image";
    /// Rows of the shard's texts: four candidates for VCR, one otherwise.
    pub const TEXTS: &str = "texts";
    /// Class of the truth; null where the split has no labels, or the truth is outside the answer vocabulary.
    pub const LABEL: &str = "label";
    /// The truth as the source words it.
    pub const LABEL_TEXT: &str = "label_text";
    /// The human answers of VQA, as the source words them.
    pub const ANSWERS: &str = "answers";
    /// Soft targets: class and score of each answer in the vocabulary.
    pub const TARGETS: &str = "targets";
    /// The source's question type.
    pub const QUESTION_TYPE: &str = "question_type";
    /// The source's answer type.
    pub const ANSWER_TYPE: &str = "answer_type";
    /// Id of the sample's image: low-shot sampling draws groups, so that no image is in two parts.
    pub const GROUP: &str = "group";
    /// Version of a split that was made from another: it has the two columns below as well.
    pub const SHIFTED_VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 1);
    /// The split that a sample was taken from, where it has the same `sample_id`. Since 1.1, of shifted splits only.
    pub const ORIGIN: &str = "origin";
    /// What is other than there, such as `texts 0 1 3` (places in `texts`) or `label neutral -> entailment`; null where
    /// nothing is. Since 1.1, of shifted splits only.
    pub const CHANGE: &str = "change";

    /// Fields of one soft target.
    pub fn target_fields() -> Fields {
        vec![Field::new("class", DataType::UInt32, false), Field::new("score", DataType::Float32, false)].into()
    }

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(VERSION, fields())
    }

    /// Columns and types of a split that was made from another.
    pub fn shifted_schema() -> SchemaRef {
        let origin = [Field::new(ORIGIN, DataType::Utf8, true), Field::new(CHANGE, DataType::Utf8, true)];
        versioned(SHIFTED_VERSION, fields().into_iter().chain(origin).collect())
    }

    fn fields() -> Vec<Field> {
        vec![
            Field::new(SAMPLE_ID, DataType::Utf8, false),
            Field::new(TASK, DataType::Utf8, false),
            Field::new(SPLIT, DataType::Utf8, false),
            Field::new(IMAGE, DataType::UInt32, false),
            list_of(TEXTS, DataType::UInt32),
            Field::new(LABEL, DataType::UInt32, true),
            Field::new(LABEL_TEXT, DataType::Utf8, true),
            list_of(ANSWERS, DataType::Utf8),
            list_of(TARGETS, DataType::Struct(target_fields())),
            Field::new(QUESTION_TYPE, DataType::Utf8, true),
            Field::new(ANSWER_TYPE, DataType::Utf8, true),
            id(GROUP),
        ]
    }
}

/// One row per record that could not be used, and why.
pub mod rejects {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "rejects";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The record: a file's path, or `question 262148000`.
    pub const SOURCE: &str = "source";
    /// Where it failed: `annotation`, `read`, `decode`, `regions`.
    pub const STAGE: &str = "stage";
    /// Reason code, stable across releases, such as `image_missing`.
    pub const CODE: &str = "code";
    /// The reason for a reader.
    pub const MESSAGE: &str = "message";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(VERSION, [SOURCE, STAGE, CODE, MESSAGE].map(|name| Field::new(name, DataType::Utf8, false)).to_vec())
    }
}

/// The tables that every shard of a data set has, in the order they are written, with their schemas.
pub fn all() -> [(&'static str, SchemaRef); 4] {
    [
        (images::NAME, images::schema()),
        (texts::NAME, texts::schema()),
        (samples::NAME, samples::schema()),
        (rejects::NAME, rejects::schema()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_edges_or_bytes_have_no_hash_to_compare() {
        let hash = images::compared_hash;
        assert_eq!([hash("png", 1), hash("png", 0), hash(images::MISSING, 0)], [Some(1), None, None]);
        assert_eq!(hash(images::MISSING, 1), None);
    }

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        let vector = VectorType { dtype: crate::Dtype::F16, width: 2 };
        let regions = (regions::NAME, regions::schema(Some(vector)));
        let shifted = (samples::NAME, samples::shifted_schema());
        let written: Vec<String> = all()
            .iter()
            .chain([&regions, &shifted])
            .map(|(_, schema)| {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("{} {}", schema.metadata()[SCHEMA_KEY], columns.join(" "))
            })
            .collect();
        assert_eq!(
            written,
            [
                "images/1.0 image_id source bytes format width height source_width source_height phash",
                "texts/1.1 text_id text objects parts",
                "samples/1.0 sample_id task split image texts label label_text answers targets question_type answer_type group",
                "rejects/1.0 source stage code message",
                "regions/1.0 image_id boxes features",
                "samples/1.1 sample_id task split image texts label label_text answers targets question_type answer_type group \
                 origin change",
            ]
        );
    }
}
