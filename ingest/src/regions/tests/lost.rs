//! Images whose detections cannot be used: they are kept, and the reason is told.

use super::*;

/// Ingests one image whose detections are lost: stage, code and message.
fn lost(fixture: &Fixture, own: Option<Regions>, detected: DetectedRegions) -> (String, String, String) {
    let boxes = own.as_ref().map_or(0, |own| own.boxes.len());
    let report = fixture.ingest(vec![(IMAGE, own)], detected).unwrap();
    assert_eq!((report.images, report.samples, report.rejected()), (1, 1, 1));
    assert_eq!(fixture.table(samples::NAME).num_rows(), 1);
    let row = rows(&fixture.table(regions::NAME)).remove(0);
    assert_eq!((row.corners.len(), row.features), (boxes, Vec::new()));
    let table = fixture.table(rejects::NAME);
    let column = |name: &str| table.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(column(rejects::SOURCE), IMAGE);
    (column(rejects::STAGE), column(rejects::CODE), column(rejects::MESSAGE))
}

fn assert_lost(fixture: &Fixture, own: Option<Regions>, detected: DetectedRegions, code: &str, found: &str) {
    let (stage, found_code, message) = lost(fixture, own, detected);
    assert_eq!((stage.as_str(), found_code.as_str()), ("regions", code), "{message}");
    assert!(message.contains(found), "{message}");
}

fn array(floats: &[f32]) -> Vec<u8> {
    npy(1, floats.len(), floats)
}

#[test]
fn every_array_file_that_cannot_be_used() {
    let classes = |bytes: &[u8]| {
        // A list of numbers: one axis.
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}\n", bytes.len());
        [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), bytes].concat()
    };
    let object = |descr: &str| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (), }}\n");
        [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), b"\x80\x03."].concat()
    };
    let boxes = |floats: &[f32]| with(&[("bbox", npy(2, floats.len() / 2, floats))]);
    let whole = npz(&small());
    let mut flipped = npz_with(&small(), SimpleFileOptions::default().compression_method(CompressionMethod::Stored));
    let feature = flipped.windows(4).position(|bytes| bytes == 4_f32.to_le_bytes()).unwrap();
    flipped[feature] ^= 1;
    let nan = f32::NAN;
    for (bytes, code, found) in [
        (whole[..whole.len() / 2].to_vec(), "regions_corrupt", "9.npz: it is no .npz file"),
        (Vec::new(), "regions_corrupt", "it is no .npz file"),
        (b"<html>".to_vec(), "regions_corrupt", "it is no .npz file"),
        (flipped, "regions_corrupt", "array features: Invalid checksum"),
        (npz(&small()[1..]), "regions_corrupt", "no array of the name features, x"),
        (with(&[("features", b"features".to_vec())]), "regions_corrupt", "array features: it starts with"),
        (with(&[("features", object("|O"))]), "regions_corrupt", "pickled Python objects"),
        (
            with(&[("image_w", array(&[1.0, 2.0]))]),
            "regions_corrupt",
            "array image_w has shape (1, 2), expected one number",
        ),
        (with(&[("features", npy(2, 3, &[0.0; 6]))]), "regions_width", "feature vectors have 3 elements, expected 2"),
        (with(&[("features", object("|u1")[..].to_vec())]), "regions_corrupt", "more bytes"),
        (with(&[("features", classes(&[1, 2]))]), "regions_width", "array features has shape (2), expected rows"),
        (with(&[("features", npy(3, 2, &[0.0; 6]))]), "regions_count", "3 feature vectors and 2 boxes"),
        (with(&[("features", npy(5000, 2, &[0.0; 10_000]))]), "regions_count", "5000 regions, expected 4096 at most"),
        (with(&[("num_bbox", array(&[3.0]))]), "regions_count", "tells of 3 regions and has 2"),
        (with(&[("num_bbox", array(&[1.5]))]), "regions_count", "tells of"),
        (with(&[("conf", classes(&[1]))]), "regions_count", "2 feature vectors and 1 scores"),
        (with(&[("objects_id", classes(&[1]))]), "regions_count", "2 feature vectors and 1 classes"),
        (with(&[("features", npy(2, 2, &[0.0, 1.0, nan, 0.0]))]), "regions_not_finite", "a feature is NaN"),
        (with(&[("features", npy(2, 2, &[0.0, 1.0, 1e6, 0.0]))]), "regions_not_finite", "a feature is 1000000"),
        (with(&[("conf", array(&[1.0, nan]))]), "regions_not_finite", "a score is no finite number"),
        (boxes(&[0.0, 0.0, 1.0, nan, 0.0, 0.0, 1.0, 1.0]), "regions_not_finite", "a box is [0.0, 0.0, 1.0, NaN]"),
        (boxes(&[0.0, 0.0, 99.0, 1.0, 0.0, 0.0, 1.0, 1.0]), "regions_box", "not inside the image of 40 x 20 pixels"),
        (boxes(&[9.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]), "regions_box", "expected left, top, right, bottom"),
        (boxes(&[0.0; 6]), "regions_box", "boxes have 3 numbers, expected 4 or more"),
        (
            with(&[("image_w", array(&[20.0])), ("image_h", array(&[40.0]))]),
            "regions_box",
            "the detector saw 20 x 40 pixels, the image has 40 x 20: it was turned",
        ),
        (with(&[("image_w", array(&[0.0])), ("image_h", array(&[40.0]))]), "regions_box", "saw an image of 0 x 40"),
        (with(&[("objects_id", classes(&[1, 3]))]), "regions_class", "a class is 3, expected one of 0 to 2"),
        (with(&[("soft_labels", npy(2, 5, &[0.0; 10]))]), "regions_class", "scores of 5 classes, 3 have names"),
    ] {
        let fixture = Fixture::new();
        fixture.write("r/9.npz", &bytes).write("classes.txt", b"cat\ndog\nbird\n");
        assert_lost(&fixture, None, fixture.open(&["r"], Some("classes.txt"), 2).unwrap(), code, found);
    }
}

#[test]
fn every_line_that_cannot_be_used() {
    let (boxes, features) = (base64_floats(&[0.0; 8]), base64_floats(&[1.0; 4]));
    let row = |count: &str, boxes: &str, features: &str| format!("9\t40\t20\t{count}\t{boxes}\t{features}\n");
    for (line, code, found) in [
        (row("2", &boxes, &features[..features.len() / 2]), "regions_corrupt", "features has 9 bytes, expected 16"),
        (row("2", &boxes, &features[..features.len() - 3]), "regions_corrupt", "features has 15 bytes, expected 16"),
        (row("2", &boxes, ""), "regions_corrupt", "features has 0 bytes, expected 16"),
        (row("2", &boxes, &features.replace('A', "*")), "regions_corrupt", "bytes.tsv, line 2: features is not base64"),
        (row("2", &boxes, &base64_floats(&[1.0; 6])), "regions_width", "have 3 elements, expected 2"),
        (row("2", &base64_floats(&[0.0; 4]), &features), "regions_count", "boxes has 16 bytes, expected 32"),
        (row("3", &boxes, &features), "regions_count", "boxes has 32 bytes, expected 48"),
        (row("two", &boxes, &features), "regions_corrupt", "num_boxes is \"two\", expected a number"),
        (row("-1", &boxes, &features), "regions_count", "num_boxes is -1"),
        (row("4000000000", &boxes, &features), "regions_count", "expected a number up to 4096"),
        (row("NaN", &boxes, &features), "regions_count", "num_boxes is NaN"),
        (row("2", &boxes, &base64_floats(&[f32::INFINITY; 4])), "regions_not_finite", "a feature is inf"),
        (format!("9\tw\t20\t2\t{boxes}\t{features}\n"), "regions_corrupt", "image_w is \"w\""),
        (format!("9\tNaN\t20\t2\t{boxes}\t{features}\n"), "regions_box", "saw an image of NaN x 20"),
        ("9\n".to_owned(), "regions_corrupt", "num_boxes is \"\""),
    ] {
        let fixture = Fixture::new();
        fixture.write("bytes.tsv", format!("{}{line}", super::line("8")).as_bytes());
        assert_lost(&fixture, None, fixture.open(&["bytes.tsv"], None, 2).unwrap(), code, found);
    }
}

#[test]
fn images_that_no_file_is_about_or_several_are() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("r/8.npz", &npz(&small()));
    assert_lost(&fixture, None, fixture.open(&["r"], None, 2)?, "regions_missing", "no detections under its name");
    // A header is about no image.
    let fixture = Fixture::new();
    fixture.write("r.tsv", b"image_id\tnum_boxes\tboxes\tfeatures\n");
    assert!(
        fixture.open(&["r.tsv"], None, 2)?.find("image_id.jpg", [1, 1], None).unwrap_err().code == Code::RegionsMissing
    );
    let fixture = Fixture::new();
    fixture.write("r/a/9.npz", &npz(&small())).write("r/b/9.npz", &npz(&small()));
    assert_lost(&fixture, None, fixture.open(&["r"], None, 2)?, "regions_ambiguous", "several folders");
    let fixture = Fixture::new();
    fixture.write("r/9.npz", &npz(&small()));
    let detected = fixture.open(&["r"], None, 2)?;
    std::fs::remove_file(fixture.path("r/9.npz")).unwrap();
    assert_lost(&fixture, None, detected, "regions_unreadable", "9.npz: No such file");
    Ok(())
}

#[test]
fn a_file_too_large_to_be_of_one_image_is_not_read() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("r/9.npz", b"");
    std::fs::File::options().write(true).open(fixture.path("r/9.npz")).unwrap().set_len(1 << 40).unwrap();
    let detected = fixture.open(&["r"], None, 2)?;
    assert_lost(&fixture, None, detected, "regions_unreadable", "1099511627776 bytes, expected 268435456 at most");
    Ok(())
}

#[test]
fn features_of_other_boxes_than_the_source_has() -> Result<()> {
    let region = |corners| Region { corners, ..Region::default() };
    let own = |boxes: &[[f32; 4]]| Regions { boxes: boxes.iter().copied().map(region).collect(), features: None };
    for (boxes, code, found) in [
        ([[0.0, 0.0, 10.0, 10.0]].as_slice(), "regions_count", "2 feature vectors, the source has 1 boxes"),
        (&[[0.0, 0.0, 10.0, 10.0], [5.0, 9.0, 40.0, 20.0]], "regions_box", "box 1 is [5.0, 5.0, 40.0, 20.0]"),
    ] {
        let fixture = Fixture::new();
        fixture.write("r/9.npz", &npz(&small()));
        assert_lost(&fixture, Some(own(boxes)), fixture.open(&["r"], None, 2)?, code, found);
    }
    Ok(())
}

#[test]
fn files_that_hold_no_regions_are_refused() {
    let fixture = Fixture::new();
    fixture.write("empty/readme.txt", b"").write("none.tsv", b"").write("five.tsv", b"1\t2\t3\t4\t5\n");
    fixture.write("header.tsv", b"image_id\tcaption\n").write("r.tsv", line("1").as_bytes());
    fixture.write("gap.txt", b"cat\n\ndog\n").write("latin.txt", b"\xe9\n").write("bytes.npz", &npz(&small()));
    let long = "x".repeat(70 << 20);
    fixture.write("long.tsv", long.as_bytes());
    for (path, classes, width, found) in [
        ("empty", None, 2, "holds no .npz and no .npy file"),
        ("none.tsv", None, 2, "it is empty"),
        ("five.tsv", None, 2, "its first line has 5 columns, expected image_id image_w"),
        ("header.tsv", None, 2, "a header of 2 names from image_id"),
        ("bytes.npz", None, 2, "its first line has"),
        ("long.tsv", None, 2, "more than 67108864 bytes"),
        ("absent.tsv", None, 2, "absent.tsv"),
        ("r.tsv", Some("gap.txt"), 2, "line 2 is empty, expected the name of class 1"),
        ("r.tsv", Some("latin.txt"), 2, "line 1 is not UTF-8"),
        ("r.tsv", Some("none.tsv"), 2, "no class names"),
        ("r.tsv", None, 0, "region width"),
        ("r.tsv", None, 100_000, "region width"),
    ] {
        let error = fixture.open(&[path], classes, width).unwrap_err();
        assert!(error.to_string().contains(found), "{path}: {error}");
        assert!(error.hint().is_some() || path == "absent.tsv" || path == "long.tsv", "{error}");
    }
    assert!(fixture.open(&[], None, 2).is_err());
}
