//! The tables that a teacher adds to a data set.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use crate::tables::{id, versioned};
use crate::{SchemaVersion, VectorType};

/// Name of the pooled embedding's column.
pub const EMBEDDING: &str = "embedding";

/// Pooled embedding of each image: row i belongs to row i of the data set's images.
pub mod images {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "images";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("image_features", 1, 0);

    /// Columns and types for embeddings of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        versioned(VERSION, vec![id(crate::tables::images::IMAGE_ID), vector.field(EMBEDDING)])
    }
}

/// Pooled embedding of each text: row i belongs to row i of the data set's texts.
pub mod texts {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "texts";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("text_features", 1, 0);

    /// Columns and types for embeddings of this type.
    pub fn schema(vector: VectorType) -> SchemaRef {
        versioned(VERSION, vec![id(crate::tables::texts::TEXT_ID), vector.field(EMBEDDING)])
    }
}

/// Contextual features of the tokens of each text, special tokens left out: row i belongs to row i of the texts.
pub mod tokens {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "tokens";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("token_features", 1, 0);
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
        let span = Field::new_list_field(DataType::Struct(span_fields()), false);
        versioned(
            VERSION,
            vec![
                id(crate::tables::texts::TEXT_ID),
                Field::new(TOKENS, DataType::List(Arc::new(vector.field("item"))), false),
                Field::new(TOKEN_SPANS, DataType::List(Arc::new(span)), false),
            ],
        )
    }
}

/// Embeddings of each distinct word of the data set; a shard holds the words that first appear in it.
pub mod words {
    use super::*;

    /// Folder and table name.
    pub const NAME: &str = "words";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("word_features", 1, 0);
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
        versioned(VERSION, vec![Field::new(WORD, DataType::Utf8, false), vector.field(ISOLATED), vector.field(PROMPT)])
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
        let written: Vec<String> = [images::schema, texts::schema, tokens::schema, words::schema]
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
            ]
        );
        assert_eq!(words::TEMPLATE, "a photo of {}");
    }
}
