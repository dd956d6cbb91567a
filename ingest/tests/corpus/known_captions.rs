//! What ingest says of the files of `captions`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const CAPTIONS: &[(&str, Outcome)] = &[
    (
        "captions/coco-bad.json",
        Lost(
            1,
            &[
                ("bad_record", "field file_name is missing, expected a text"),
                ("bad_record", "field id is missing, expected a whole number or a text"),
                ("bad_record", "the record is [], expected an object"),
                ("duplicate_caption_id", "an earlier caption has the same id"),
                ("unlisted_image", "image_id is 9, which the list images does not have"),
                ("bad_record", "field image_id is [], expected a whole number or a text"),
                ("bad_record", "field caption is 7, expected a text"),
                ("bad_record", "field caption is empty, expected a text"),
                ("bad_record", "field image_id is missing, expected a whole number or a text"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "the image is \"../b\", which leads out of the image folder"),
            ],
        ),
    ),
    (
        "captions/coco-broken-image.json",
        Lost(
            0,
            &[
                ("bad_record", "the record is not UTF-8 from byte 24 on: {\"id\": 1, \"file_name\": \"?.png\"}"),
                ("unlisted_image", "image_id is 1, which the list images does not have"),
                ("unlisted_image", "image_id is 1, which the list images does not have"),
            ],
        ),
    ),
    (
        "captions/coco-broken-utf8.json",
        Lost(1, &[("bad_record", "the record is not UTF-8 from byte 37 on: {\"id\": 1, \"image_id\": 1")]),
    ),
    ("captions/coco-cut.json", Refused("it is not JSON: EOF while parsing a string")),
    (
        "captions/coco-deep.json",
        Lost(
            1,
            &[(
                "bad_record",
                "field caption is [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[..., expected a text",
            )],
        ),
    ),
    (
        "captions/coco-no-images.json",
        Refused(
            "expected an object with the list \"images\", or the bare list, but it is an object with the keys [annotations]",
        ),
    ),
    (
        "captions/coco-object.json",
        Refused(
            "expected an object with the list \"images\", or the bare list, but invalid type: map, expected a sequence",
        ),
    ),
    ("captions/coco-whole.json", Kept(2)),
    (
        "captions/instances-bad.json",
        Lost(
            1,
            &[
                ("bad_record", "field name is missing, expected a text"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "field bbox is null, expected left, top, width and height, none of them negative"),
                ("bad_record", "field bbox is [], expected left, top, width and height, none of them negative"),
                ("bad_record", "field bbox is [0, 0, 2], expected left, top, width and height, none of them negative"),
                (
                    "bad_record",
                    "field bbox is [0, 0, -1, 2], expected left, top, width and height, none of them negative",
                ),
                (
                    "bad_record",
                    "field bbox is [0, 0, 1e+300, 2], expected left, top, width and height, none of them negative",
                ),
                (
                    "bad_record",
                    "field bbox is [\"0\", 0, 2, 2], expected left, top, width and height, none of them negative",
                ),
                ("bad_record", "field bbox is {}, expected left, top, width and height, none of them negative"),
                ("unlisted_image", "image_id is 9, which the list images does not have"),
                ("bad_record", "category_id is 9, which the list categories does not have"),
                ("bad_record", "field image_id is missing, expected a whole number or a text"),
                ("bad_record", "the record is 7, expected an object"),
            ],
        ),
    ),
    (
        "captions/instances-no-categories.json",
        Refused(
            "expected an object with the list \"categories\", or the bare list, but it is an object with the keys [images, an",
        ),
    ),
    (
        "captions/karpathy-bad.json",
        Lost(
            1,
            &[
                ("duplicate_caption_id", "an earlier caption has the same id"),
                ("bad_record", "sentence 2: field raw is 7, expected a text"),
                ("bad_record", "sentence 3: field raw is missing, expected a text"),
                ("bad_record", "sentence 4: the record is 7, expected an object"),
                ("bad_record", "sentence 5: field raw is empty, expected a text"),
                ("bad_record", "field sentences is null, expected a list of objects with the text `raw`"),
                ("bad_record", "field filename is 7, expected a text"),
                ("bad_record", "field split is missing, expected a text"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "the image is \"../../a.png\", which leads out of the image folder"),
            ],
        ),
    ),
    (
        "captions/karpathy-broken-utf8.json",
        Lost(1, &[("bad_record", "the record is not UTF-8 from byte 63 on: {\"filename\": \"a.png\"")]),
    ),
    ("captions/karpathy-other-parts.json", Refused("holds val")),
    (
        "captions/lines-bad.jsonl",
        Lost(
            3,
            &[
                ("bad_record", "field caption is [], expected a text or a list of texts"),
                ("bad_record", "field caption is [1], expected a text or a list of texts"),
                ("bad_record", "field caption is 7, expected a text or a list of texts"),
                (
                    "bad_record",
                    "field caption or captions or text or title or comment is missing or empty, expected a text or a list of t",
                ),
                (
                    "bad_record",
                    "field caption or captions or text or title or comment is missing or empty, expected a text or a list of t",
                ),
                ("bad_record", "field caption is [\"s\",\"\"], expected a text or a list of texts"),
                (
                    "bad_record",
                    "field image or image_name or filename or file_name or filepath or image_path is missing or empty, expecte",
                ),
                ("bad_record", "field image is 1, expected a text"),
                ("bad_record", "the record is [], expected an object"),
                (
                    "bad_record",
                    "the record is {, expected a JSON object: EOF while parsing an object at line 1 column 1",
                ),
                (
                    "bad_record",
                    "the record is {\"image\":\"a.png\",\"caption\":\"\\ud800\"}, expected a JSON object: unexpected end of hex escape",
                ),
            ],
        ),
    ),
    ("captions/table-bom-crlf.csv", Kept(2)),
    (
        "captions/table-broken-utf8.csv",
        Lost(
            1,
            &[
                ("bad_record", "column caption is not UTF-8 from byte 0 on"),
                ("bad_record", "column image is not UTF-8 from byte 0 on"),
            ],
        ),
    ),
    (
        "captions/table-columns.csv",
        Lost(
            1,
            &[
                ("wrong_column_count", "the row has 1 columns, expected 2: image, caption"),
                ("wrong_column_count", "the row has 3 columns, expected 2: image, caption"),
            ],
        ),
    ),
    ("captions/table-deep-unclosed.csv", Refused("it is not JSON: EOF while parsing a list")),
    (
        "captions/table-empty-cells.csv",
        Lost(
            0,
            &[
                (
                    "bad_record",
                    "field image or image_name or filename or file_name or filepath or image_path is missing or empty, expecte",
                ),
                (
                    "bad_record",
                    "field caption or captions or text or title or comment is missing or empty, expected a text or a list of t",
                ),
                (
                    "bad_record",
                    "field caption or captions or text or title or comment is missing or empty, expected a text or a list of t",
                ),
            ],
        ),
    ),
    ("captions/table-empty.csv", Refused("found the columns []")),
    ("captions/table-gzip-bad-crc.csv", Refused("corrupt gzip stream does not have a matching checksum")),
    (
        "captions/table-gzip-bomb.csv",
        Refused("its 17380 bytes unpack to more than 16777216, expected an annotation file"),
    ),
    ("captions/table-gzip-cut.csv", Refused("incomplete deflate stream")),
    ("captions/table-gzip-garbage.csv", Refused("incomplete deflate stream")),
    ("captions/table-html.csv", Refused("found the columns [<html>404</html>]")),
    (
        "captions/table-nul-bytes.csv",
        Refused(
            "found the columns [\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\",
        ),
    ),
    (
        "captions/table-odd-images.csv",
        Lost(
            0,
            &[
                ("bad_record", "the image is \"../a.png\", which leads out of the image folder"),
                ("bad_record", "the image is \"/etc/passwd\", which leads out of the image folder"),
                ("bad_record", "the image is \"a\\0.png\", which leads out of the image folder"),
                ("image_missing", "the image folder has no a\\nb.png"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    ("captions/table-other-columns.csv", Refused("found the columns [a, b]")),
    ("captions/table-same-column-twice.csv", Kept(1)),
    (
        "captions/table-unclosed-quote.csv",
        Lost(1, &[("unclosed_quote", "a quote is not closed from line 3 to line 4")]),
    ),
    (
        "captions/table-utf16.csv",
        Refused(
            "found the columns [\u{fffd}\u{fffd}{\\u{0}\"\\u{0}q\\u{0}u\\u{0}e\\u{0}s\\u{0}t\\u{0}i\\u{0}o\\u{0}n\\u{0}s\\u{0}\"\\u{0}:\\u{0} \\u{0}[\\u{0",
        ),
    ),
    (
        "captions/table-zip.csv",
        Refused(
            "found the columns [PK\\u{3}\\u{4}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0",
        ),
    ),
    (
        "captions/token-bad.token",
        Lost(
            1,
            &[
                ("bad_record", "the key is \"a.png\", expected the name of an image, # and a number"),
                ("wrong_column_count", "the line has 1 columns, expected 2: name.jpg#0 and a caption"),
                ("wrong_column_count", "the line has 3 columns, expected 2: name.jpg#0 and a caption"),
                ("bad_record", "the line is not UTF-8"),
                ("bad_record", "the key is \"a.png#x\", expected the name of an image, # and a number"),
                ("bad_record", "the key is \"#4\", expected the name of an image, # and a number"),
                ("bad_record", "the image is \"../a.png\", which leads out of the image folder"),
            ],
        ),
    ),
    ("captions/token-duplicate-ids.token", Lost(1, &[("duplicate_caption_id", "an earlier caption has the same id")])),
    (
        "captions/token-empty.token",
        Lost(
            0,
            &[
                ("wrong_column_count", "the line has 1 columns, expected 2: name.jpg#0 and a caption"),
                ("wrong_column_count", "the line has 1 columns, expected 2: name.jpg#0 and a caption"),
            ],
        ),
    ),
    ("captions/token-whole.token", Kept(2)),
];
