//! What extractors write, found, read and stored.

use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/regions").join(name)
}

/// What tests/py/make_regions.py puts into every file.
fn expected(classes: bool, scores: bool) -> Row {
    let classes = ["traffic light", "cat", "dog"].map(|class| classes.then(|| class.to_owned()));
    Row {
        corners: vec![[0.0, 0.0, 40.0, 20.0], [10.0, 5.0, 20.0, 15.0], [2.5, 0.0, 5.0, 10.0]],
        classes: classes.to_vec(),
        scores: [0.75, 0.5, 0.25].map(|score| scores.then_some(score)).to_vec(),
        features: (0..24).map(|at| (at as f32 - 4.0) / 8.0).collect(),
    }
}

/// The row of [`IMAGE`], from a file under this name.
fn row_of(file: &str, name: &str, classes: bool) -> Row {
    let fixture = Fixture::new();
    fixture.write(name, &std::fs::read(data(file)).unwrap());
    fixture.write("classes.txt", &std::fs::read(data("classes.txt")).unwrap());
    let given = if name.ends_with(".tsv") { name } else { "r" };
    let detected = fixture.open(&[given], classes.then_some("classes.txt"), 8).unwrap();
    let report = fixture.ingest(vec![(IMAGE, None)], detected).unwrap();
    assert_eq!((report.images, report.samples, report.rejected()), (1, 1, 0), "{file}");
    rows(&fixture.table(regions::NAME)).remove(0)
}

#[test]
fn what_published_extractors_write() {
    assert_eq!(row_of("uniter.npz", "r/coco_val2014_000000000009.npz", true), expected(true, true));
    assert_eq!(row_of("uniter.npz", "r/9.npz", false), expected(false, true));
    assert_eq!(row_of("bottom_up.npz", "r/COCO_val2014_000000000009.npz", false), expected(false, false));
    assert_eq!(row_of("openvqa.npz", "r/val2014/COCO_val2014_000000000009.jpg.npz", false), expected(false, false));
    assert_eq!(row_of("bottom_up.tsv", "bottom_up.tsv", false), expected(false, false));
    assert_eq!(row_of("lxmert.tsv", "lxmert.tsv", true), expected(true, true));
    let alone = row_of("alone.npy", "r/000000000009.npy", false);
    assert_eq!(alone, Row { features: expected(false, false).features, ..Row::default() });
}

#[test]
fn boxes_may_lie_beside_the_features() -> Result<()> {
    let fixture = Fixture::new();
    for (from, to) in [("plain.npy", "r/9.npy"), ("plain_bbox.npy", "r/9_bbox.npy")] {
        fixture.write(to, &std::fs::read(data(from)).unwrap());
    }
    fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 8)?)?;
    // The boxes of this file are whole numbers.
    let mut expected = expected(false, false);
    expected.corners[2][0] = 2.0;
    assert_eq!(rows(&fixture.table(regions::NAME)), [expected]);
    Ok(())
}

#[test]
fn members_may_be_stored_packed_or_in_zip64() -> Result<()> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let packed = stored.compression_method(CompressionMethod::Deflated);
    for options in [stored, packed, stored.large_file(true), packed.large_file(true)] {
        let fixture = Fixture::new();
        fixture.write("r/9.npz", &npz_with(&small(), options));
        fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 2)?)?;
        assert_eq!(rows(&fixture.table(regions::NAME)), [small_row()]);
    }
    Ok(())
}

#[test]
fn several_tables_plain_and_gzip_with_headers_and_repeated_lines() -> Result<()> {
    let fixture = Fixture::new();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (boxes, features) = (base64_floats(&[0.0, 0.0, 10.0, 10.0, 5.0, 5.0, 40.0, 20.0]), base64_floats(&[1.0; 4]));
    let (sevens, none) = (base64_floats(&[7.0; 4]), base64_floats(&[]));
    fixture.write("1.tsv", [line("1"), line("2"), line("\u{e9}")].concat().as_bytes());
    // The columns in another order, told by a header; Python 3's bytes; a second line of image 1, which is not read.
    let header = "image_id\tnum_boxes\tfeatures\tboxes";
    let second = format!("{header}\n3\t2\tb'{features}'\tb'{boxes}'\n1\t2\t{sevens}\t{boxes}\n4\t0\t{none}\t{none}\n");
    fixture.write("2.tsv.gz", &gzip(&second));
    let detected = fixture.open(&["1.tsv", "2.tsv.gz"], None, 2)?;
    let photos = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "\u{e9}.jpg"].map(|name| (name, None));
    let report = fixture.ingest(photos.to_vec(), detected)?;
    assert_eq!(report.rejected(), 0);
    let third = Row { features: vec![1.0; 4], ..small_row() };
    assert_eq!(rows(&fixture.table(regions::NAME)), [small_row(), small_row(), third, Row::default(), small_row()]);
    Ok(())
}

#[test]
fn a_table_whose_first_image_has_no_regions_is_one() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("1.tsv", format!("1\t40\t20\t0\t\t\n{}", line("2")).as_bytes());
    fixture.ingest(vec![("1.jpg", None), ("2.jpg", None)], fixture.open(&["1.tsv"], None, 2)?)?;
    assert_eq!(rows(&fixture.table(regions::NAME)), [Row::default(), small_row()]);
    Ok(())
}

#[test]
fn boxes_of_a_resized_image_are_scaled_and_padding_is_left_out() -> Result<()> {
    let fixture = Fixture::new();
    let one = |number: f32| npy(1, 1, &[number]);
    let size = [("image_w", one(80.0)), ("image_h", one(10.0)), ("num_boxes", one(1.0))];
    fixture.write("r/9.npz", &with(&size));
    fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 2)?)?;
    let row = &rows(&fixture.table(regions::NAME))[0];
    assert_eq!(
        (row.corners.as_slice(), row.features.as_slice()),
        ([[0.0, 0.0, 5.0, 20.0]].as_slice(), [1.0, 2.0].as_slice())
    );
    Ok(())
}

#[test]
fn shares_are_surer_than_pixels_of_an_unknown_image() -> Result<()> {
    let one = |number: f32| npy(1, 1, &[number]);
    let both = [
        ("bbox", npy(2, 4, &[0.0, 0.0, 99.0, 99.0, 0.0, 0.0, 50.0, 50.0])),
        ("norm_bb", npy(2, 4, &[0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.25, 0.25])),
    ];
    for (size, expected) in [
        (vec![], [[0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 10.0, 5.0]]),
        (vec![("image_w", one(160.0)), ("image_h", one(160.0))], [[0.0, 0.0, 24.75, 12.375], [0.0, 0.0, 12.5, 6.25]]),
    ] {
        let fixture = Fixture::new();
        fixture.write("r/9.npz", &with(&[both.to_vec(), size].concat()));
        fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 2)?)?;
        assert_eq!(rows(&fixture.table(regions::NAME))[0].corners, expected);
    }
    Ok(())
}

#[test]
fn scores_of_every_class_tell_the_best_that_has_a_name() -> Result<()> {
    let fixture = Fixture::new();
    let probabilities = npy(2, 3, &[0.875, 0.0, 0.125, 0.0, 0.5, 0.25]);
    fixture.write("r/9.npz", &with(&[("cls_prob", probabilities)])).write("classes.txt", b"cat\ndog\n");
    fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], Some("classes.txt"), 2)?)?;
    let row = &rows(&fixture.table(regions::NAME))[0];
    assert_eq!(row.classes, ["dog", "cat"].map(|class| Some(class.to_owned())));
    assert_eq!(row.scores, [Some(0.125), Some(0.5)]);
    Ok(())
}

#[test]
fn rounding_leaves_a_box_inside_its_image() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("r/9.npz", &with(&[("bbox", npy(2, 4, &[-1.0, 0.0, 41.0, 20.5, 5.0, 5.0, 5.0, 5.0]))]));
    fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 2)?)?;
    assert_eq!(rows(&fixture.table(regions::NAME))[0].corners, [[0.0, 0.0, 40.0, 20.0], [5.0, 5.0, 5.0, 5.0]]);
    Ok(())
}

#[test]
fn the_boxes_of_a_source_stay_and_get_features() -> Result<()> {
    let region = |corners, class: &str| Region { corners, class: Some(class.to_owned()), score: Some(0.5) };
    let own = Regions {
        boxes: vec![region([0.0, 0.0, 10.0, 10.5], "person"), region([5.0, 5.0, 39.0, 20.0], "dog")],
        features: None,
    };
    let fixture = Fixture::new();
    fixture.write("r/9.npz", &npz(&small()));
    fixture.ingest(vec![(IMAGE, Some(own))], fixture.open(&["r"], None, 2)?)?;
    let expected = Row {
        corners: vec![[0.0, 0.0, 10.0, 10.5], [5.0, 5.0, 39.0, 20.0]],
        classes: vec![Some("person".to_owned()), Some("dog".to_owned())],
        scores: vec![Some(0.5); 2],
        ..small_row()
    };
    assert_eq!(rows(&fixture.table(regions::NAME)), [expected]);
    Ok(())
}

#[test]
fn the_options_tell_the_content_and_not_the_place() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("a/x/9.npz", &npz(&small())).write("b/x/9.npz", &npz(&small())).write("c/y/9.npz", &npz(&small()));
    fixture.write("1.tsv", line("1").as_bytes()).write("d/1.tsv", line("1").as_bytes());
    fixture.write("e/1.tsv", line("2").as_bytes()).write("classes.txt", b"cat\n");
    let options = |path: &str, classes, width| fixture.open(&[path], classes, width).unwrap().options();
    assert_eq!(options("a", None, 2), options("b", None, 2));
    assert_ne!(options("a", None, 2), options("c", None, 2));
    assert_eq!(options("1.tsv", None, 2), options("d/1.tsv", None, 2));
    assert_ne!(options("1.tsv", None, 2), options("e/1.tsv", None, 2));
    assert_ne!(options("1.tsv", None, 2), options("1.tsv", None, 3));
    assert_ne!(options("1.tsv", None, 2), options("1.tsv", Some("classes.txt"), 2));

    let photos = vec![("1.jpg", None)];
    fixture.ingest(photos.clone(), fixture.open(&["1.tsv"], None, 2)?)?;
    assert!(fixture.ingest(photos.clone(), fixture.open(&["d/1.tsv"], None, 2)?)?.skipped_already);
    let error = fixture.ingest(photos, fixture.open(&["1.tsv"], Some("classes.txt"), 2)?).unwrap_err();
    assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
    Ok(())
}

#[test]
fn a_folder_that_links_to_itself_is_listed_once() -> Result<()> {
    let fixture = Fixture::new();
    fixture.write("r/9.npz", &npz(&small()));
    std::os::unix::fs::symlink(fixture.path("r"), fixture.path("r/again")).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.path("r/10.npz")).unwrap();
    let report = fixture.ingest(vec![(IMAGE, None)], fixture.open(&["r"], None, 2)?)?;
    assert_eq!(report.rejected(), 0);
    Ok(())
}
