//! The tables that a teacher adds to a data set.
//!
//! Vectors of floats make version 1.0. Codes have a column of scales beside them, which makes version 1.1.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use crate::tables::{id, versioned};
use crate::{Layout, SchemaVersion, VectorType};

/// Name of the pooled embedding's column.
pub const EMBEDDING: &str = "embedding";

/// Whether vectors have a column of scales beside them.
fn are_coded(vectors: &[Field]) -> bool {
    vectors.len() > 1
}

/// Pooled embedding of each image: row i belongs to row i of the data set's images.
pub mod images {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "images";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("image_features", 1, 0);
    /// Version written with codes.
    pub const CODED: SchemaVersion = SchemaVersion::new("image_features", 1, 1);

    /// Columns and types for embeddings of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        with(Layout::from(vector).fields(EMBEDDING))
    }

    /// Columns and types with these columns of embeddings, as [`Layout::fields`] has them.
    pub fn with(embedding: Vec<Field>) -> SchemaRef {
        let version = if are_coded(&embedding) { CODED } else { VERSION };
        versioned(version, [vec![id(crate::tables::images::IMAGE_ID)], embedding].concat())
    }
}

/// Pooled embedding of each text: row i belongs to row i of the data set's texts.
pub mod texts {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "texts";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("text_features", 1, 0);
    /// Version written with codes.
    pub const CODED: SchemaVersion = SchemaVersion::new("text_features", 1, 1);

    /// Columns and types for embeddings of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        with(Layout::from(vector).fields(EMBEDDING))
    }

    /// Columns and types with these columns of embeddings, as [`Layout::fields`] has them.
    pub fn with(embedding: Vec<Field>) -> SchemaRef {
        let version = if are_coded(&embedding) { CODED } else { VERSION };
        versioned(version, [vec![id(crate::tables::texts::TEXT_ID)], embedding].concat())
    }
}

/// Contextual features of the tokens of each text, special tokens left out: row i belongs to row i of the texts.
pub mod tokens {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "tokens";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("token_features", 1, 0);
    /// Version written with codes.
    pub const CODED: SchemaVersion = SchemaVersion::new("token_features", 1, 1);
    /// One vector a token.
    pub const TOKENS: &str = "tokens";
    /// Byte offsets of each token in the text.
    pub const TOKEN_SPANS: &str = "token_spans";

    /// Fields of a token's span: byte offsets into the text, `end` exclusive.
    pub fn span_fields() -> Fields {
        ["start", "end"].map(|name| Field::new(name, DataType::UInt32, false)).to_vec().into()
    }

    /// Columns and types for token features of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        with(Layout::from(vector).list_fields(TOKENS))
    }

    /// Columns and types with these columns of token features, as [`Layout::list_fields`] has them.
    pub fn with(tokens: Vec<Field>) -> SchemaRef {
        let span = Field::new_list_field(DataType::Struct(span_fields()), false);
        let spans = Field::new(TOKEN_SPANS, DataType::List(Arc::new(span)), false);
        let version = if are_coded(&tokens) { CODED } else { VERSION };
        versioned(version, [vec![id(crate::tables::texts::TEXT_ID)], tokens, vec![spans]].concat())
    }
}

/// The image encoder's patch grid of each image: row i belongs to row i of the data set's images. Every row has as many
/// vectors, the patches row by row from the top left; an image that is missing has zeros.
///
/// A vector is what the last layer gives of a patch, through the normalisation that the encoder applies to the token it
/// pools and before any projection.
pub mod patches {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "patches";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("patch_features", 1, 0);
    /// Version written with codes.
    pub const CODED: SchemaVersion = SchemaVersion::new("patch_features", 1, 1);
    /// One vector a patch.
    pub const GRID: &str = "grid";

    /// Columns and types for patch features of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        with(Layout::from(vector).list_fields(GRID))
    }

    /// Columns and types with these columns of patch features, as [`Layout::list_fields`] has them.
    pub fn with(grid: Vec<Field>) -> SchemaRef {
        let version = if are_coded(&grid) { CODED } else { VERSION };
        versioned(version, [vec![id(crate::tables::images::IMAGE_ID)], grid].concat())
    }
}

/// The tables that a teacher may have, by name.
pub const ALL: [&str; 5] = [images::NAME, patches::NAME, texts::NAME, tokens::NAME, words::NAME];

/// Embeddings of each distinct word of the data set; a shard holds the words that first appear in it.
pub mod words {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "words";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("word_features", 1, 0);
    /// Version written with codes.
    pub const CODED: SchemaVersion = SchemaVersion::new("word_features", 1, 1);
    /// The word, lower case.
    pub const WORD: &str = "word";
    /// Embedding of the word alone: E_text(w) of the semantic relevance.
    pub const ISOLATED: &str = "isolated";
    /// Embedding of the word in [`TEMPLATE`]: E_joint of the visual relevance.
    pub const PROMPT: &str = "prompt";
    /// The template of `prompt`; `{}` is the word.
    pub const TEMPLATE: &str = "a photo of {}";

    /// Columns and types for embeddings of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        let layout = Layout::from(vector);
        with(layout.fields(ISOLATED), layout.fields(PROMPT))
    }

    /// Columns and types with these columns of embeddings, as [`Layout::fields`] has them.
    pub fn with(isolated: Vec<Field>, prompt: Vec<Field>) -> SchemaRef {
        let version = if are_coded(&isolated) || are_coded(&prompt) { CODED } else { VERSION };
        versioned(version, [vec![Field::new(WORD, DataType::Utf8, false)], isolated, prompt].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dtype, SCHEMA_KEY};

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        let vector = VectorType { dtype: Dtype::F16, width: 2 };
        let written: Vec<String> = [images::schema, texts::schema, tokens::schema, words::schema, patches::schema]
            .iter()
            .map(|schema| {
                let schema = schema(vector);
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("{} {}", schema.metadata()[SCHEMA_KEY], columns.join(" "))
            })
            .collect();
        assert_eq!(
            written,
            [
                "image_features/1.0 image_id embedding",
                "text_features/1.0 text_id embedding",
                "token_features/1.0 text_id tokens token_spans",
                "word_features/1.0 word isolated prompt",
                "patch_features/1.0 image_id grid",
            ]
        );
        assert_eq!(words::TEMPLATE, "a photo of {}");
        let codes = Layout::Codes { code: crate::Code::I8, width: 2 };
        let coded = [
            images::with(codes.fields(EMBEDDING)),
            texts::with(codes.fields(EMBEDDING)),
            tokens::with(codes.list_fields(tokens::TOKENS)),
            words::with(codes.fields(words::ISOLATED), codes.fields(words::PROMPT)),
            patches::with(codes.list_fields(patches::GRID)),
        ];
        let written = coded.map(|schema| {
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            format!("{} {}", schema.metadata()[SCHEMA_KEY], columns.join(" "))
        });
        assert_eq!(
            written,
            [
                "image_features/1.1 image_id embedding embedding_scale",
                "text_features/1.1 text_id embedding embedding_scale",
                "token_features/1.1 text_id tokens token_scales token_spans",
                "word_features/1.1 word isolated isolated_scale prompt prompt_scale",
                "patch_features/1.1 image_id grid grid_scale",
            ]
        );
    }
}
