//! What ingest says of the files of `webdataset`.

use super::Outcome::{self, Kept, Lost, Refused};

/// One row a file, in the order of their names.
pub const WEBDATASET: &[(&str, Outcome)] = &[
    (
        "webdataset/bad-checksum.tar",
        Lost(
            0,
            &[
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
                (
                    "archive_broken",
                    "at offset 512: expected a header with the checksum 3482, found 3481: no tar, or damaged",
                ),
            ],
        ),
    ),
    (
        "webdataset/claims-much.tar.gz",
        Lost(
            0,
            &[
                (
                    "archive_broken",
                    "at offset 1536: expected 1099511627776 bytes of a member, but the archive ends after 0",
                ),
                ("image_unreadable", "it has 1099511627776 bytes, expected 536870912 at most"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    (
        "webdataset/cut-in-header.tar",
        Lost(
            0,
            &[
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
                (
                    "archive_broken",
                    "at offset 512: expected a header or the end mark of the archive, but it ends after 100 bytes of one",
                ),
            ],
        ),
    ),
    (
        "webdataset/cut-in-member.tar",
        Refused("is no tar archive, plain, gzip or zstd: the member here has 71 bytes, but the archive ends before"),
    ),
    (
        "webdataset/deep-unclosed.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header with the checksum 46120, found none: no tar, or dama",
        ),
    ),
    (
        "webdataset/duplicates.tar.gz",
        Lost(3, &[("duplicate_member", "its sample has a member with the suffix \"png\" before it, which is kept")]),
    ),
    (
        "webdataset/empty.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header or the end mark of the archive, but it ends",
        ),
    ),
    (
        "webdataset/gzip-bad-checksum.tar",
        Lost(
            1,
            &[(
                "archive_broken",
                "at offset 2560: it cannot be read on: corrupt gzip stream does not have a matching checksum",
            )],
        ),
    ),
    (
        "webdataset/gzip-bad-crc.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: it cannot be read on: corrupt gzip stream does not have a matching che",
        ),
    ),
    (
        "webdataset/gzip-bomb.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header with the checksum 17279, found none: no tar, or dama",
        ),
    ),
    (
        "webdataset/gzip-cut-archive.tar",
        Lost(
            0,
            &[
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
                ("archive_broken", "at offset 1436: it cannot be read on: incomplete deflate stream"),
            ],
        ),
    ),
    (
        "webdataset/gzip-cut.tar",
        Refused("is no tar archive, plain, gzip or zstd: it cannot be read on: incomplete deflate stream"),
    ),
    (
        "webdataset/gzip-garbage.tar",
        Refused("is no tar archive, plain, gzip or zstd: it cannot be read on: incomplete deflate stream"),
    ),
    ("webdataset/gzip.tar", Kept(1)),
    (
        "webdataset/html.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header or the end mark of the archive, but it ends after 16",
        ),
    ),
    (
        "webdataset/images.tar.gz",
        Lost(
            0,
            &[
                ("image_corrupt", "it has no bytes"),
                (
                    "image_corrupt",
                    "it is no image of a known format: it has 6 bytes, expected jpeg, png, webp, gif, bmp, tiff",
                ),
                ("image_rejected", "its image is lost"),
                ("image_rejected", "its image is lost"),
            ],
        ),
    ),
    (
        "webdataset/labels.tar.gz",
        Lost(
            1,
            &[
                ("unknown_label", "1.cls is \"-1\", expected a whole number"),
                ("unknown_label", "2.cls is \"one\", expected a whole number"),
                ("unknown_label", "3.cls is \"4294967296\", expected a whole number"),
                ("unknown_label", "4.cls is \"\", expected a whole number"),
                ("unknown_label", "5.cls is \"\u{fffd}\", expected a whole number"),
            ],
        ),
    ),
    (
        "webdataset/links.tar.gz",
        Lost(
            0,
            &[
                ("member_not_a_file", "it is a symbolic link, expected a file"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
                ("member_not_a_file", "it is a hard link, expected a file"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found []",
                ),
                ("member_not_a_file", "it is a pipe, expected a file"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found []",
                ),
                ("member_not_a_file", "it is a device, expected a file"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found []",
                ),
                ("member_not_a_file", "it is of a type that is not known, expected a file"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found []",
                ),
            ],
        ),
    ),
    ("webdataset/long-name.tar.gz", Kept(1)),
    (
        "webdataset/no-end.tar.gz",
        Lost(1, &[("archive_broken", "at offset 2048: expected a header or the end mark of the archive, but it ends")]),
    ),
    ("webdataset/no-members.tar.gz", Refused("no-members.tar.gz holds nothing to ingest as webdataset")),
    (
        "webdataset/nul-bytes.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header or the end mark of the archive, but it ends after 64",
        ),
    ),
    (
        "webdataset/odd-names.tar.gz",
        Lost(0, &[("bad_name", "its name has control characters"), ("bad_name", "its name is no UTF-8")]),
    ),
    (
        "webdataset/outside.tar.gz",
        Lost(
            1,
            &[
                ("bad_name", "its name leads out of the archive"),
                ("bad_name", "its name leads out of the archive"),
                ("bad_name", "its name leads out of the archive"),
                ("bad_name", "its name leads out of the archive"),
            ],
        ),
    ),
    (
        "webdataset/sparse.tar.gz",
        Lost(
            0,
            &[
                ("member_sparse", "it is sparse, expected a file that is stored whole"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
            ],
        ),
    ),
    (
        "webdataset/texts.tar.gz",
        Lost(
            1,
            &[
                ("text_invalid", "a.txt is no UTF-8: bad from byte 0 on"),
                ("text_missing", "expected a member with the suffix txt or caption, found none or an empty one"),
                ("text_missing", "expected a member with the suffix txt or caption, found none or an empty one"),
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
            ],
        ),
    ),
    (
        "webdataset/utf16.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header or the end mark of the archive, but it ends after 28",
        ),
    ),
    ("webdataset/whole.tar", Kept(1)),
    (
        "webdataset/zip.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: expected a header or the end mark of the archive, but it ends after 30",
        ),
    ),
    (
        "webdataset/zstd-cut.tar",
        Lost(
            0,
            &[
                (
                    "image_missing",
                    "expected an image with the suffix jpg, jpeg, png, webp, gif, bmp, tif, tiff, found [txt]",
                ),
                ("archive_broken", "at offset 1591: it cannot be read on: incomplete frame"),
            ],
        ),
    ),
    (
        "webdataset/zstd-reserved-block.tar",
        Refused("is no tar archive, plain, gzip or zstd: it cannot be read on: Data corruption detected"),
    ),
    (
        "webdataset/zstd-window.tar",
        Refused(
            "is no tar archive, plain, gzip or zstd: it cannot be read on: Frame requires too much memory for decoding",
        ),
    ),
    ("webdataset/zstd.tar", Kept(1)),
];
