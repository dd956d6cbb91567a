//! What ingest says of the files of `jsonl`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const JSONL: &[(&str, Outcome)] = &[
    ("jsonl/mapping-broken-utf8.toml", Refused("stream did not contain valid UTF-8")),
    ("jsonl/mapping-deep.toml", Refused("cannot recurse further; max recursion depth met")),
    (
        "jsonl/mapping-empty.toml",
        Refused("is no mapping: task is missing, expected one of classification, matching, caption, vqa"),
    ),
    ("jsonl/mapping-json.toml", Refused("invalid key-value pair, expected key")),
    ("jsonl/mapping-near-key.toml", Refused("there is no key \"imgae\", did you mean \"image\"?")),
    (
        "jsonl/mapping-no-image.toml",
        Refused("is no mapping: image is missing, expected a field or a path with fields in braces"),
    ),
    ("jsonl/mapping-nul.toml", Refused("key with no value, expected `=`")),
    ("jsonl/mapping-open-brace.toml", Refused("is no mapping: image: \"{image\": a { is not closed")),
    (
        "jsonl/mapping-other-task.toml",
        Refused("is no mapping: task is \"captions\", expected one of classification, matching, caption, vqa"),
    ),
    ("jsonl/mapping-other-types.toml", Refused("is no mapping: invalid type: integer `7`, expected a string")),
    (
        "jsonl/mapping-outside.toml",
        Lost(0, &[("bad_record", "the image is \"../a.png\", which leads out of the image folder")]),
    ),
    ("jsonl/mapping-same-key-twice.toml", Refused("duplicate key")),
    ("jsonl/mapping-whole.toml", Kept(1)),
    (
        "jsonl/mapping-wide.toml",
        Refused(
            "is no mapping: image: \"{image:0999999999}\": braces hold a field such as {id} or {id:012}, found \"image:0999999",
        ),
    ),
    ("jsonl/records-bom-crlf.jsonl", Kept(2)),
    (
        "jsonl/records-broken-utf8.json",
        Lost(1, &[("bad_record", "the record is not UTF-8 from byte 32 on: {\"id\":0,\"image\":\"a.png\"")]),
    ),
    (
        "jsonl/records-broken-utf8.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"id\":0,\"image\":\"a.png\",\"text\":\"\u{fffd}\",\"label\":\"yes\"}, expected a JSON object: invalid unicode",
            )],
        ),
    ),
    (
        "jsonl/records-columns.csv",
        Lost(
            1,
            &[
                ("wrong_column_count", "the row has 3 columns, expected 4: id, image, text, label"),
                ("wrong_column_count", "the row has 5 columns, expected 4: id, image, text, label"),
            ],
        ),
    ),
    (
        "jsonl/records-cut.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"id\":1,\"image\":\"a.png\",\"text\":\"s\",\"labe, expected a JSON object: EOF while parsing a strin",
            )],
        ),
    ),
    ("jsonl/records-deep-unclosed.jsonl", Refused("it is not JSON: EOF while parsing a list")),
    (
        "jsonl/records-deep.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"id\":0,\"image\":\"a.png\",\"text\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[..., expected a JSON object: re",
            )],
        ),
    ),
    (
        "jsonl/records-document.json",
        Refused("expected jsonl, a JSON list, CSV or TSV, but it is an object with the keys [images]"),
    ),
    ("jsonl/records-duplicate-ids.jsonl", Lost(2, &[("duplicate_sample_id", "an earlier record has the same id")])),
    ("jsonl/records-empty.jsonl", Refused("found the columns []")),
    ("jsonl/records-gzip-bad-crc.jsonl", Refused("corrupt gzip stream does not have a matching checksum")),
    (
        "jsonl/records-gzip-bomb.jsonl",
        Refused("its 17380 bytes unpack to more than 16777216, expected an annotation file"),
    ),
    ("jsonl/records-gzip-cut.jsonl", Refused("incomplete deflate stream")),
    ("jsonl/records-gzip-garbage.jsonl", Refused("incomplete deflate stream")),
    ("jsonl/records-html.jsonl", Refused("found the columns [<html>404</html>]")),
    (
        "jsonl/records-labels.jsonl",
        Lost(
            2,
            &[
                ("unknown_label", "field label is \"2\", expected one of the classes no, yes"),
                ("unknown_label", "field label is \"-1\", expected one of the classes no, yes"),
                ("unknown_label", "field label is \"1.5\", expected one of the classes no, yes"),
                ("unknown_label", "field label is \"maybe\", expected one of the classes no, yes"),
                ("bad_record", "field label is [], expected a text, a number or a truth value"),
                ("unknown_label", "field label is \"true\", expected one of the classes no, yes"),
            ],
        ),
    ),
    (
        "jsonl/records-list.json",
        Lost(
            1,
            &[
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "field id is missing or null, expected a text or a number"),
            ],
        ),
    ),
    (
        "jsonl/records-lone-surrogate.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"id\":0,\"image\":\"a.png\",\"text\":\"\\udc00\",\"label\":\"yes\"}, expected a JSON object: lone leadin",
            )],
        ),
    ),
    (
        "jsonl/records-missing-fields.jsonl",
        Lost(
            1,
            &[
                ("bad_record", "field id is missing or null, expected a text or a number"),
                ("bad_record", "field text is missing or null, expected a text"),
                ("bad_record", "field image is missing or null, expected a text or a number"),
            ],
        ),
    ),
    (
        "jsonl/records-nul-between.jsonl",
        Lost(
            1,
            &[(
                "bad_record",
                "the record is {\"id\":0,\\u{0}\"image\":\"a.png\",\"text\":\"s\",\"label\":\"yes\"}, expected a JSON object: key must be a s",
            )],
        ),
    ),
    (
        "jsonl/records-nul-bytes.jsonl",
        Refused(
            "found the columns [\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\",
        ),
    ),
    (
        "jsonl/records-odd-images.jsonl",
        Lost(
            0,
            &[
                ("bad_record", "the image is \"../a.png\", which leads out of the image folder"),
                ("bad_record", "the image is \"/etc/passwd\", which leads out of the image folder"),
                ("bad_record", "the image is \"a\\0.png\", which leads out of the image folder"),
                ("image_missing", "the image folder has no a\\nb.png"),
                ("image_unreadable", ".: Is a directory (os error 21)"),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    (
        "jsonl/records-other-types.jsonl",
        Lost(
            1,
            &[
                ("bad_record", "the record is [], expected an object"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "field id is [], expected a text or a number"),
                ("bad_record", "field image is {}, expected a text or a number"),
                ("bad_record", "field text is [\"s\"], expected a text"),
                ("bad_record", "field text is \" \", expected a text"),
            ],
        ),
    ),
    ("jsonl/records-unclosed-quote.csv", Lost(1, &[("unclosed_quote", "a quote is not closed from line 3 to line 4")])),
    (
        "jsonl/records-utf16.jsonl",
        Refused(
            "found the columns [\u{fffd}\u{fffd}{\\u{0}\"\\u{0}q\\u{0}u\\u{0}e\\u{0}s\\u{0}t\\u{0}i\\u{0}o\\u{0}n\\u{0}s\\u{0}\"\\u{0}:\\u{0} \\u{0}[\\u{0",
        ),
    ),
    (
        "jsonl/records-zip.jsonl",
        Refused(
            "found the columns [PK\\u{3}\\u{4}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0",
        ),
    ),
];
