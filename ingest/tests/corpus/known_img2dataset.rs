//! What ingest says of the files of `img2dataset`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const IMG2DATASET: &[(&str, Outcome)] = &[
    (
        "img2dataset/archive-bad-checksum.tar",
        Lost(
            0,
            &[
                (
                    "archive_broken",
                    "at offset 512: expected a header with the checksum 3482, found 3481: no tar, or damaged",
                ),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found none",
                ),
            ],
        ),
    ),
    (
        "img2dataset/archive-cut-in-header.tar",
        Lost(
            0,
            &[
                (
                    "archive_broken",
                    "at offset 512: expected a header or the end mark of the archive, but it ends after 100 bytes of one",
                ),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found none",
                ),
            ],
        ),
    ),
    (
        "img2dataset/archive-cut-in-member.tar",
        Lost(0, &[("archive_broken", "at offset 0: the member here has 71 bytes, but the archive ends before")]),
    ),
    (
        "img2dataset/archive-deep-unclosed.tar",
        Lost(
            0,
            &[(
                "archive_broken",
                "at offset 0: expected a header with the checksum 46120, found none: no tar, or damaged",
            )],
        ),
    ),
    (
        "img2dataset/archive-empty.tar",
        Lost(0, &[("archive_broken", "at offset 0: expected a header or the end mark of the archive, but it ends")]),
    ),
    (
        "img2dataset/archive-gzip-bad-crc.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/archive-gzip-bomb.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/archive-gzip-cut.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/archive-gzip-garbage.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/archive-gzip.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/archive-html.tar",
        Lost(
            0,
            &[(
                "archive_broken",
                "at offset 0: expected a header or the end mark of the archive, but it ends after 16 bytes of one",
            )],
        ),
    ),
    (
        "img2dataset/archive-nul-bytes.tar",
        Lost(
            0,
            &[(
                "archive_broken",
                "at offset 0: expected a header or the end mark of the archive, but it ends after 64 bytes of one",
            )],
        ),
    ),
    (
        "img2dataset/archive-utf16.tar",
        Lost(
            0,
            &[(
                "archive_broken",
                "at offset 0: expected a header or the end mark of the archive, but it ends after 284 bytes of one",
            )],
        ),
    ),
    ("img2dataset/archive-whole.tar", Kept(1)),
    (
        "img2dataset/archive-zip.tar",
        Lost(
            0,
            &[(
                "archive_broken",
                "at offset 0: expected a header or the end mark of the archive, but it ends after 30 bytes of one",
            )],
        ),
    ),
    (
        "img2dataset/archive-zstd.tar",
        Lost(0, &[("archive_broken", "expected a plain tar, as img2dataset writes, found a packed one")]),
    ),
    (
        "img2dataset/beside-cut.parquet",
        Lost(
            1,
            &[(
                "shard_incomplete",
                "its failures are not known: 00000.parquet: Parquet error: Invalid Parquet file. Corrupt footer",
            )],
        ),
    ),
    (
        "img2dataset/beside-failures.parquet",
        Lost(
            1,
            &[
                ("resize_failed", "no reason is given"),
                ("image_missing", "the metadata say success, but the shard has no such image"),
                ("image_missing", "status \"unknown\": no reason is given"),
            ],
        ),
    ),
    ("img2dataset/stats-deep-unclosed.json", Kept(1)),
    ("img2dataset/stats-empty.json", Kept(1)),
    ("img2dataset/stats-gzip-bad-crc.json", Kept(1)),
    ("img2dataset/stats-gzip-bomb.json", Kept(1)),
    ("img2dataset/stats-gzip-cut.json", Kept(1)),
    ("img2dataset/stats-gzip-garbage.json", Kept(1)),
    ("img2dataset/stats-html.json", Kept(1)),
    ("img2dataset/stats-more.json", Lost(1, &[("shard_incomplete", "its stats tell of 2 images, found 1")])),
    ("img2dataset/stats-negative.json", Kept(1)),
    ("img2dataset/stats-nul-bytes.json", Kept(1)),
    ("img2dataset/stats-utf16.json", Kept(1)),
    ("img2dataset/stats-whole.json", Kept(1)),
    ("img2dataset/stats-zip.json", Kept(1)),
    (
        "img2dataset/table-cut.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-deep-unclosed.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-empty.parquet",
        Lost(0, &[("archive_broken", "EOF: Parquet file too small. Size is 0 but need 8")]),
    ),
    (
        "img2dataset/table-garbage-pages.parquet",
        Lost(0, &[("archive_broken", "Parquet argument error: Parquet error: Unexpected struct field type 15")]),
    ),
    (
        "img2dataset/table-gzip-bad-crc.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-gzip-bomb.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-gzip-cut.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-gzip-garbage.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-html.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-image-as-text.parquet",
        Refused(
            "holds no shards of img2dataset: its Parquet files have no column jpg, png or webp: they are metadata alone",
        ),
    ),
    (
        "img2dataset/table-long-footer.parquet",
        Lost(0, &[("archive_broken", "EOF: Parquet file too small. Size is 265 but need 2147483655")]),
    ),
    (
        "img2dataset/table-no-images.parquet",
        Refused(
            "holds no shards of img2dataset: its Parquet files have no column jpg, png or webp: they are metadata alone",
        ),
    ),
    (
        "img2dataset/table-no-key.parquet",
        Lost(0, &[("archive_broken", "expected a column key with a value in each row")]),
    ),
    (
        "img2dataset/table-nul-bytes.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    (
        "img2dataset/table-null-key.parquet",
        Lost(
            0,
            &[
                ("image_missing", "status \"unknown\": no reason is given"),
                ("archive_broken", "expected a column key with a value in each row"),
            ],
        ),
    ),
    (
        "img2dataset/table-nulls.parquet",
        Lost(
            0,
            &[
                ("text_missing", "expected a text under txt or caption or text, found none or an empty one"),
                ("download_failed", "no reason is given"),
            ],
        ),
    ),
    (
        "img2dataset/table-other-types.parquet",
        Lost(0, &[("text_missing", "expected a text under txt or caption or text, found none or an empty one")]),
    ),
    (
        "img2dataset/table-utf16.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
    ("img2dataset/table-whole.parquet", Kept(1)),
    (
        "img2dataset/table-zip.parquet",
        Lost(0, &[("archive_broken", "Parquet error: Invalid Parquet file. Corrupt footer")]),
    ),
];
