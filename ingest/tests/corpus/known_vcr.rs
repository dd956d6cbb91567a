//! What ingest says of the files of `vcr`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const VCR: &[(&str, Outcome)] = &[
    ("vcr/annots-bad-crc.zip", Refused("its bytes do not match the checksum of the archive")),
    ("vcr/annots-bomb.zip", Refused("it unpacks to more than the 10 bytes that the archive declares")),
    ("vcr/annots-cut.zip", Refused("is damaged: it is no zip archive: invalid Zip archive: Could not find EOCD")),
    ("vcr/annots-inflates.zip", Refused("bytes unpack to more than 16777216, expected an annotation file")),
    ("vcr/annots-no-lines.zip", Refused("has no single .jsonl, or more than one; it has: readme")),
    ("vcr/annots-no-members.zip", Refused("has no single .jsonl, or more than one; it has:")),
    ("vcr/annots-two-splits.zip", Refused("has no single .jsonl, or more than one; it has: val.jsonl, test.jsonl")),
    ("vcr/annots-whole.zip", Kept(2)),
    (
        "vcr/images-bad-crc.zip",
        Lost(
            0,
            &[
                ("metadata_missing", "images-bad-crc.zip has no member vcr1images/a.json"),
                (
                    "image_unreadable",
                    "member vcr1images/a.png of images-bad-crc.zip: its bytes do not match the checksum of the archive",
                ),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    (
        "vcr/images-outside.zip",
        Lost(
            0,
            &[
                ("metadata_missing", "images-outside.zip has no member vcr1images/a.json"),
                ("image_missing", "images-outside.zip has no member vcr1images/a.png"),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    ("vcr/images-whole.zip", Kept(2)),
    ("vcr/lines-bom-crlf.jsonl", Kept(4)),
    (
        "vcr/lines-broken-utf8.jsonl",
        Lost(2, &[("bad_record", "it is not JSON: invalid unicode code point at line 1 column 90")]),
    ),
    (
        "vcr/lines-choices.jsonl",
        Lost(
            1,
            &[
                ("wrong_choices", "field answer_choices has 2 choices, expected 4"),
                ("wrong_choices", "field answer_choices has 2 choices, expected 4"),
                (
                    "bad_record",
                    "field answer_choices is \"abcd\", expected four lists of words and lists of object indices",
                ),
                (
                    "bad_record",
                    "field answer_choices is \"abcd\", expected four lists of words and lists of object indices",
                ),
                ("wrong_choices", "field rationale_choices has 0 choices, expected 4"),
            ],
        ),
    ),
    (
        "vcr/lines-cut.jsonl",
        Lost(2, &[("bad_record", "it is not JSON: EOF while parsing a list at line 1 column 183")]),
    ),
    (
        "vcr/lines-deep-unclosed.jsonl",
        Refused(
            "but no line is one, and the first is lost because it is not JSON: EOF while parsing a list at line 1 column 10",
        ),
    ),
    (
        "vcr/lines-deep.jsonl",
        Lost(
            2,
            &[(
                "bad_record",
                "field objects is [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[..., expected a list of clas",
            )],
        ),
    ),
    (
        "vcr/lines-duplicate-ids.jsonl",
        Lost(4, &[("duplicate_annot_id", "line 2: an earlier line has the same annot_id")]),
    ),
    ("vcr/lines-empty.jsonl", Refused("lines-empty.jsonl holds nothing to ingest as vcr")),
    ("vcr/lines-gzip-bad-crc.jsonl", Refused("corrupt gzip stream does not have a matching checksum")),
    ("vcr/lines-gzip-bomb.jsonl", Refused("its 17380 bytes unpack to more than 16777216, expected an annotation file")),
    ("vcr/lines-gzip-cut.jsonl", Refused("incomplete deflate stream")),
    ("vcr/lines-gzip-garbage.jsonl", Refused("incomplete deflate stream")),
    (
        "vcr/lines-html.jsonl",
        Refused("but no line is one, and the first is lost because it is not JSON: expected value at line 1 column 1"),
    ),
    (
        "vcr/lines-labels.jsonl",
        Lost(
            5,
            &[
                ("label_out_of_range", "field answer_label is 4, expected a whole number from 0 to 3"),
                ("label_out_of_range", "field answer_label is 4, expected a whole number from 0 to 3"),
                ("label_out_of_range", "field answer_label is -1, expected a whole number from 0 to 3"),
                ("label_out_of_range", "field answer_label is -1, expected a whole number from 0 to 3"),
                ("bad_record", "field answer_label is 1.5, expected a whole number from 0 to 3"),
                ("bad_record", "field answer_label is 1.5, expected a whole number from 0 to 3"),
                ("bad_record", "field answer_label is \"0\", expected a whole number from 0 to 3"),
                ("bad_record", "field answer_label is \"0\", expected a whole number from 0 to 3"),
            ],
        ),
    ),
    (
        "vcr/lines-list.jsonl",
        Refused(
            "but no line is one, and the first is lost because the record is [{\"annot_id\":\"v-0\",\"img_fn\":\"a.png\",\"metadata_",
        ),
    ),
    (
        "vcr/lines-lone-surrogate.jsonl",
        Lost(
            2,
            &[(
                "bad_record",
                "field question is [\"\\udc00\",[0]], expected a list of words and lists of object indices",
            )],
        ),
    ),
    (
        "vcr/lines-missing-fields.jsonl",
        Lost(
            2,
            &[
                ("bad_record", "field img_fn is missing, expected a text"),
                ("bad_record", "field img_fn is missing, expected a text"),
                ("bad_record", "field objects is missing, expected a list of class names"),
            ],
        ),
    ),
    (
        "vcr/lines-no-words.jsonl",
        Lost(
            0,
            &[
                ("bad_record", "field question has no words"),
                ("bad_record", "field answer_choices has no words"),
                ("bad_record", "field answer_choices has no words"),
            ],
        ),
    ),
    (
        "vcr/lines-nul-between.jsonl",
        Lost(2, &[("bad_record", "it is not JSON: key must be a string at line 1 column 19")]),
    ),
    (
        "vcr/lines-nul-bytes.jsonl",
        Refused("but no line is one, and the first is lost because it is not JSON: expected value at line 1 column 1"),
    ),
    (
        "vcr/lines-objects.jsonl",
        Lost(
            2,
            &[
                ("object_out_of_range", "field question refers to object 1, expected one of its 1 objects from 0"),
                ("object_out_of_range", "field question refers to object -1, expected one of its 1 objects from 0"),
                ("objects_mismatch", "it is about 2 objects (cup, cup), a.json about 1 objects (cup)"),
            ],
        ),
    ),
    (
        "vcr/lines-odd-images.jsonl",
        Lost(
            0,
            &[
                ("bad_record", "field img_fn is \"../a.png\", which leads out of the image folder"),
                ("bad_record", "field img_fn is \"/etc/passwd\", which leads out of the image folder"),
                ("bad_record", "field img_fn is \"a\\0.png\", which leads out of the image folder"),
                ("bad_record", "field img_fn is \"\", which leads out of the image folder"),
                ("image_missing", "the image folder has no a\\nb.png"),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    (
        "vcr/lines-odd-metadata.jsonl",
        Lost(2, &[("metadata_unreadable", "\"../../a.json\" leads out of the image folder")]),
    ),
    (
        "vcr/lines-other-types.jsonl",
        Lost(
            0,
            &[
                ("bad_record", "the record is [], expected an object"),
                ("bad_record", "the record is 7, expected an object"),
                ("bad_record", "field annot_id is 7, expected a text"),
                ("bad_record", "field img_fn is [], expected a text"),
                ("bad_record", "field question is \"q\", expected a list of words and lists of object indices"),
                ("bad_record", "field question is [[\"x\"]], expected a list of words and lists of object indices"),
                ("bad_record", "field objects is [1], expected a list of class names"),
            ],
        ),
    ),
    (
        "vcr/lines-rationale-label.jsonl",
        Lost(1, &[("label_out_of_range", "field rationale_label is 4, expected a whole number from 0 to 3")]),
    ),
    (
        "vcr/lines-utf16.jsonl",
        Refused("but no line is one, and the first is lost because it is not JSON: expected value at line 1 column 1"),
    ),
    ("vcr/lines-zip.jsonl", Refused("is damaged: it is no zip archive: invalid Zip archive: Could not find EOCD")),
    (
        "vcr/metadata-cut.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "expected an object with the lists boxes and names, but EOF while parsing a value at line 1 column 39",
            )],
        ),
    ),
    (
        "vcr/metadata-deep.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "the box of object 0 is [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[,",
            )],
        ),
    ),
    (
        "vcr/metadata-empty.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "expected an object with the lists boxes and names, but EOF while parsing a value at line 1 column 0",
            )],
        ),
    ),
    (
        "vcr/metadata-huge.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "the box of object 0 is [0, 0, 1e+300, 2, 0.5], expected left, top, right, bottom and score, right and bot",
            )],
        ),
    ),
    (
        "vcr/metadata-list.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "expected an object with the lists boxes and names, but invalid type: map, expected a sequence at line 1 c",
            )],
        ),
    ),
    ("vcr/metadata-more-names.json", Lost(2, &[("metadata_corrupt", "it has 2 names for 1 boxes, expected one each")])),
    (
        "vcr/metadata-nan.json",
        Lost(
            2,
            &[(
                "metadata_corrupt",
                "expected an object with the lists boxes and names, but expected value at line 1 column 19",
            )],
        ),
    ),
    (
        "vcr/metadata-other-objects.json",
        Lost(2, &[("metadata_mismatch", "it is about 1 objects (car), its annotations about 1 objects (cup)")]),
    ),
    ("vcr/metadata-whole.json", Kept(2)),
];
