//! WebDataset: the members of a key are one pair.

use super::*;

#[test]
fn webdataset_members_of_one_key_are_one_pair_as_stored() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Webdataset, &out, false)?;
    assert_eq!(exported.files, ["train-00000.tar", "train-00001.tar"]);
    let mut members = Vec::new();
    for entry in tar::Archive::new(fs::File::open(out.join("train-00001.tar"))?).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        members.push((entry.path()?.to_string_lossy().into_owned(), bytes));
    }
    assert_eq!(members.len(), 3 * 5);
    for (row, (image, text)) in pairs()[5..].iter().enumerate() {
        let [one, two, three] = &members[3 * row..3 * row + 3] else { return Err("too few members".into()) };
        let key = format!("train-00001-{row:06}");
        let names = [&one.0, &two.0, &three.0];
        assert_eq!(names, [&format!("{key}.image.npy"), &format!("{key}.text.npy"), &format!("{key}.json")]);
        assert_eq!(npy(&one.1)?.1, stored(*image, 1.0));
        assert_eq!(npy(&two.1)?.1, stored(*text, -1.0));
        let json: Value = serde_json::from_slice(&three.1)?;
        assert_eq!(json["caption"], format!("text number {text}"));
        assert_eq!(json["image_path"], format!("photos/{image}.png"));
    }
    Ok(())
}

#[test]
fn webdataset_members_hold_patches_and_tokens_with_their_spans() -> Result {
    let (folder, dataset) = stored_as("f16")?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Webdataset, &out, false)?;
    assert_eq!((exported.rows, &exported.left_out[..]), (10, &["words"][..]));
    let mut members = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(out.join("train-00001.tar"))?).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        members.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
    }
    assert_eq!(members.len(), 6 * 5);
    for (row, (image, text)) in pairs()[5..].iter().enumerate() {
        let of = |ending: &str| members.get(&format!("train-00001-{row:06}.{ending}")).ok_or(ending.to_owned());
        let (header, patches) = npy(of("patches.npy")?)?;
        assert!(header.contains("(2,4,)"), "{header}");
        assert_eq!(patches, [stored(*image, 1.0), stored(image + 1, 1.0)].concat());
        let length = usize::from(text - 16);
        let (header, tokens) = npy(of("tokens.npy")?)?;
        assert!(header.contains(&format!("({length},4,)")), "{header}");
        assert_eq!(tokens, (0..length as u8).flat_map(|at| stored(text + at, 1.0)).collect::<Vec<_>>());
        let spans = of("spans.npy")?;
        let expected = support::stores::spans(*text, length).into_iter().flat_map(|(start, end)| [start, end]);
        assert_eq!(spans[128..], expected.flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        assert!(spans.starts_with(b"\x93NUMPY") && String::from_utf8_lossy(&spans[..128]).contains("<u4"));
    }
    Ok(())
}
