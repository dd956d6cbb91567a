//! Writes an answer batch by batch, in the format that was asked for.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Float32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, JsonArray, LineDelimited, Writer, WriterBuilder, make_encoder};
use arrow::util::pretty::pretty_format_batches_with_schema;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::thumbnails::{Drawings, Thumbnails};
use crate::{Error, Result};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A box for people: long vectors are cut short, bytes are counted.
    Table,
    /// Comma-separated values with a header. Lists are JSON in a cell, bytes are hex.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A Parquet file.
    Parquet,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let all = [Self::Table, Self::Csv, Self::Json, Self::Ndjson, Self::Parquet];
        let found = all.into_iter().find(|format| format.to_string() == word);
        found.ok_or_else(|| Error::UnknownFormat { found: word.to_owned() })
    }
}

/// An answer on its way.
pub(crate) struct Output<'a> {
    /// As the query has it, but every name once.
    schema: SchemaRef,
    encoder: Encoder<'a>,
}

type Out<'a> = &'a mut (dyn Write + Send);

enum Encoder<'a> {
    /// The widths of a table's columns are known at the end.
    Table(Vec<RecordBatch>, Option<Drawings>, Out<'a>),
    Csv(Out<'a>),
    Json(Writer<Out<'a>, JsonArray>),
    Ndjson(Writer<Out<'a>, LineDelimited>),
    Parquet(Box<ArrowWriter<Out<'a>>>),
}

impl<'a> Output<'a> {
    /// Starts an answer.
    /// Thumbnails are drawn under tables; elsewhere they are none.
    pub(crate) fn open(
        format: Format,
        schema: &Schema,
        thumbnails: Option<&Arc<dyn Thumbnails>>,
        out: Out<'a>,
    ) -> Result<Self> {
        let schema = with_distinct_names(schema);
        let json = || WriterBuilder::new().with_explicit_nulls(true);
        let encoder = match format {
            Format::Table => Encoder::Table(Vec::new(), thumbnails.cloned().map(Drawings::new), out),
            Format::Csv => {
                // An answer without rows has a header all the same.
                write_csv(&RecordBatch::new_empty(schema.clone()), true, out)?;
                Encoder::Csv(out)
            }
            Format::Json => Encoder::Json(json().build(out)),
            Format::Ndjson => Encoder::Ndjson(json().build(out)),
            Format::Parquet => {
                Encoder::Parquet(Box::new(ArrowWriter::try_new(out, schema.clone(), None).map_err(parquet_failed)?))
            }
        };
        Ok(Self { schema, encoder })
    }

    /// Writes some rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let renamed = RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options);
        let batch = renamed.map_err(failed(Format::Table))?;
        match &mut self.encoder {
            Encoder::Table(batches, drawings, _) => {
                drawings.iter_mut().for_each(|drawings| drawings.add(&batch));
                batches.push(for_people(&batch)?);
            }
            Encoder::Csv(out) => write_csv(&batch, false, out)?,
            Encoder::Json(writer) => writer.write(&batch).map_err(failed(Format::Json))?,
            Encoder::Ndjson(writer) => writer.write(&batch).map_err(failed(Format::Ndjson))?,
            Encoder::Parquet(writer) => writer.write(&batch).map_err(parquet_failed)?,
        }
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<()> {
        match self.encoder {
            Encoder::Table(batches, drawings, out) => {
                let schema = for_people(&RecordBatch::new_empty(self.schema))?.schema();
                let table = pretty_format_batches_with_schema(schema, &batches).map_err(failed(Format::Table))?;
                writeln!(out, "{table}").map_err(Error::Write)?;
                let drawn = drawings.map(Drawings::finish).unwrap_or_default();
                out.write_all(drawn.as_bytes()).map_err(Error::Write)
            }
            Encoder::Csv(_) => Ok(()),
            Encoder::Json(mut writer) => {
                writer.finish().map_err(failed(Format::Json))?;
                writeln!(writer.get_mut()).map_err(Error::Write)
            }
            Encoder::Ndjson(mut writer) => writer.finish().map_err(failed(Format::Ndjson)),
            Encoder::Parquet(writer) => writer.close().map(drop).map_err(parquet_failed),
        }
    }
}

fn failed(format: Format) -> impl Fn(ArrowError) -> Error {
    move |error| match error {
        ArrowError::IoError(_, error) => Error::Write(error),
        error => Error::Encode { format, source: Box::new(error) },
    }
}

fn parquet_failed(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Error::Write(*error),
            Err(error) => Error::Encode { format: Format::Parquet, source: error },
        },
        error => Error::Encode { format: Format::Parquet, source: Box::new(error) },
    }
}

/// A join may give a name twice: the second `row` is called `row_2`, so that no reader loses one.
fn with_distinct_names(schema: &Schema) -> SchemaRef {
    let mut taken: HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen = HashSet::new();
    let distinct = |field: &Arc<Field>| -> Field {
        let mut name = field.name().clone();
        if !seen.insert(name.clone()) {
            let mut count = 2;
            while !taken.insert(format!("{}_{count}", field.name())) {
                count += 1;
            }
            name = format!("{}_{count}", field.name());
        }
        field.as_ref().clone().with_name(name)
    };
    Arc::new(Schema::new(schema.fields().iter().map(distinct).collect::<Vec<_>>()))
}

/// Replaces some columns of a batch by words.
fn with_words(
    batch: &RecordBatch,
    format: Format,
    words: impl Fn(&Arc<Field>, &ArrayRef) -> Result<Option<ArrayRef>>,
) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let column = words(field, column)?.unwrap_or_else(|| column.clone());
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(failed(format))
}

/// What does not help a person in a box is told in a word.
fn for_people(batch: &RecordBatch) -> Result<RecordBatch> {
    /// Floats shown of a longer vector.
    const SHOWN: usize = 4;
    let short = |vector: ArrayRef| match vector.as_primitive_opt::<Float32Type>() {
        Some(floats) if floats.len() > 2 * SHOWN => {
            let first: Vec<String> = floats.values()[..SHOWN].iter().map(|x| format!("{x:.3}")).collect();
            format!("[{}, ... {}]", first.join(", "), floats.len())
        }
        Some(floats) => format!("{:?}", floats.values().as_ref()),
        None => String::new(),
    };
    with_words(batch, Format::Table, |_, column| {
        let words: Option<StringArray> = match column.data_type() {
            DataType::Binary => {
                Some(column.as_binary::<i32>().iter().map(|bytes| Some(format!("<{} bytes>", bytes?.len()))).collect())
            }
            DataType::FixedSizeList(item, _) if *item.data_type() == DataType::Float32 => {
                Some(column.as_fixed_size_list().iter().map(|vector| vector.map(short)).collect())
            }
            DataType::List(item) => match item.data_type() {
                DataType::FixedSizeList(_, width) => {
                    let words = |list: ArrayRef| format!("<{} vectors of {width}>", list.len());
                    Some(column.as_list::<i32>().iter().map(|list| list.map(words)).collect())
                }
                _ => None,
            },
            _ => None,
        };
        Ok(words.map(|words| Arc::new(words) as ArrayRef))
    })
}

/// CSV has no lists: they are written as JSON.
fn write_csv(batch: &RecordBatch, header: bool, out: &mut dyn Write) -> Result<()> {
    let flat = with_words(batch, Format::Csv, |field, column| {
        if !column.data_type().is_nested() {
            return Ok(None);
        }
        let options = EncoderOptions::default().with_explicit_nulls(true);
        let mut encoder = make_encoder(field, column, &options).map_err(failed(Format::Csv))?;
        let mut json = |row: usize| {
            let mut text = Vec::new();
            (!encoder.is_null(row)).then(|| encoder.encode(row, &mut text))?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        Ok(Some(Arc::new((0..column.len()).map(&mut json).collect::<StringArray>()) as ArrayRef))
    })?;
    // Encoded here and written there: the CSV writer would turn a closed pipe into words.
    let mut text = Vec::new();
    let mut writer = csv::WriterBuilder::new().with_header(header).build(&mut text);
    writer.write(&flat).map_err(failed(Format::Csv))?;
    drop(writer);
    out.write_all(&text).map_err(Error::Write)
}
