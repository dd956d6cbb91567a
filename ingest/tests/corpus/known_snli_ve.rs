//! What ingest says of the files of `snli_ve`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const SNLI_VE: &[(&str, Outcome)] = &[
    ("snli_ve/list-bom-crlf.lst", Kept(1)),
    ("snli_ve/list-broken-utf8.lst", Kept(1)),
    ("snli_ve/list-empty.lst", Refused("has 1 records, none of them about an image in")),
    ("snli_ve/list-others.lst", Refused("has 1 records, none of them about an image in")),
    ("snli_ve/list-whole.lst", Kept(1)),
    ("snli_ve/pairs-bom-crlf.csv", Kept(2)),
    ("snli_ve/pairs-bom-crlf.jsonl", Kept(2)),
    ("snli_ve/pairs-broken-utf8.csv", Lost(1, &[("bad_record", "column hypothesis is not UTF-8 from byte 0 on")])),
    (
        "snli_ve/pairs-broken-utf8.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"Flickr30K_ID\":\"a\",\"pairID\":\"a.jpg#0r1e\",\"sentence2\":\"\u{fffd}\",\"g..., expected a JSON object: in",
            )],
        ),
    ),
    ("snli_ve/pairs-carriage-returns.csv", Kept(2)),
    (
        "snli_ve/pairs-columns.csv",
        Lost(
            1,
            &[
                (
                    "wrong_column_count",
                    "the row has 3 columns, expected 4: Flickr30kID, pairID, hypothesis, gold_label",
                ),
                (
                    "wrong_column_count",
                    "the row has 5 columns, expected 4: Flickr30kID, pairID, hypothesis, gold_label",
                ),
            ],
        ),
    ),
    ("snli_ve/pairs-deep-unclosed.jsonl", Refused("it is not JSON: EOF while parsing a list")),
    ("snli_ve/pairs-duplicate-ids.jsonl", Lost(2, &[("duplicate_pair_id", "an earlier record has the same pairID")])),
    ("snli_ve/pairs-empty.jsonl", Refused("found the columns []")),
    ("snli_ve/pairs-gzip-bad-crc.jsonl", Refused("corrupt gzip stream does not have a matching checksum")),
    (
        "snli_ve/pairs-gzip-bomb.jsonl",
        Refused("its 17380 bytes unpack to more than 16777216, expected an annotation file"),
    ),
    ("snli_ve/pairs-gzip-cut.jsonl", Refused("incomplete deflate stream")),
    ("snli_ve/pairs-gzip-garbage.jsonl", Refused("incomplete deflate stream")),
    ("snli_ve/pairs-header-alone.csv", Refused("pairs-header-alone.csv holds nothing to ingest as snli-ve")),
    ("snli_ve/pairs-html.jsonl", Refused("found the columns [<html>404</html>]")),
    (
        "snli_ve/pairs-labels.jsonl",
        Lost(
            2,
            &[
                ("no_gold_label", "the gold label is \"-\": the annotators did not agree"),
                ("unknown_label", "the gold label is \"maybe\", expected one of entailment, neutral, contradiction"),
                ("bad_record", "field gold_label is 1, expected a text"),
                ("bad_record", "field gold_label is [], expected a text"),
                ("unknown_label", "the gold label is \"Neutral\", expected one of entailment, neutral, contradiction"),
            ],
        ),
    ),
    (
        "snli_ve/pairs-missing-fields.jsonl",
        Lost(
            1,
            &[
                (
                    "bad_record",
                    "field Flikr30kID or Flickr30K_ID or Flickr30kID or image or pairID is missing or empty, expected the id o",
                ),
                (
                    "bad_record",
                    "field Flikr30kID or Flickr30K_ID or Flickr30kID or image or pairID is missing or empty, expected the id o",
                ),
                ("bad_record", "field sentence2 or hypothesis or sentence is missing or empty, expected a text"),
            ],
        ),
    ),
    (
        "snli_ve/pairs-nul-bytes.jsonl",
        Refused(
            "found the columns [\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\",
        ),
    ),
    ("snli_ve/pairs-nul.csv", Kept(2)),
    (
        "snli_ve/pairs-odd-images.jsonl",
        Lost(
            2,
            &[
                ("image_missing", "the image folder has no passwd.jpg"),
                ("image_unreadable", "\"a\\0.jpg\" leads out of the image folder"),
                ("image_missing", "the image folder has no a\\nb.jpg"),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    ("snli_ve/pairs-other-columns.csv", Refused("found the columns [image, caption]")),
    (
        "snli_ve/pairs-other-types.jsonl",
        Lost(
            1,
            &[
                ("bad_record", "the record is [], expected an object"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "field pairID is 1.5, expected a whole number or a text"),
                ("bad_record", "field Flickr30K_ID is {}, expected a whole number or a text"),
                ("bad_record", "field sentence2 is 7, expected a text"),
            ],
        ),
    ),
    ("snli_ve/pairs-unclosed-quote.csv", Lost(1, &[("unclosed_quote", "a quote is not closed from line 3 to line 4")])),
    ("snli_ve/pairs-unclosed-quote.tsv", Kept(2)),
    (
        "snli_ve/pairs-utf16.jsonl",
        Refused(
            "found the columns [\u{fffd}\u{fffd}{\\u{0}\"\\u{0}q\\u{0}u\\u{0}e\\u{0}s\\u{0}t\\u{0}i\\u{0}o\\u{0}n\\u{0}s\\u{0}\"\\u{0}:\\u{0} \\u{0}[\\u{0",
        ),
    ),
    (
        "snli_ve/pairs-visual-genome.jsonl",
        Lost(
            1,
            &[(
                "visual_genome_pair",
                "pairID vg_len1r1e is about an image of Visual Genome, expected one of Flickr30k",
            )],
        ),
    ),
    (
        "snli_ve/pairs-zip.jsonl",
        Refused(
            "found the columns [PK\\u{3}\\u{4}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0",
        ),
    ),
];
