//! safetensors: every row as stored, with its id.

use super::*;

#[test]
fn safetensors_hold_every_row_as_stored_with_its_id() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Safetensors, &out, false)?;
    assert_eq!(exported.files, ["images.safetensors", "texts.safetensors"]);
    let bytes = fs::read(out.join("texts.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let (embedding, ids) = (tensors.tensor("embedding")?, tensors.tensor("ids")?);
    assert_eq!((embedding.dtype(), embedding.shape()), (Dtype::F16, &[8, WIDTH][..]));
    assert_eq!((ids.dtype(), ids.shape()), (Dtype::U8, &[8, 16][..]));
    for (row, id) in [0, 1, 2, 3, 16, 17, 18, 19].into_iter().enumerate() {
        let bytes = &embedding.data()[row * 2 * WIDTH..(row + 1) * 2 * WIDTH];
        let floats: Vec<f32> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(floats, stored(id, -1.0));
        assert_eq!(ids.data()[16 * row..16 * row + 16], [id; 16]);
    }
    Ok(())
}

#[test]
fn safetensors_hold_patches_tokens_and_words_too() -> Result {
    for store in ["f16", "cos:0.999"] {
        let (folder, dataset) = stored_as(store)?;
        let out = folder.path().join("out");
        let exported = run(&dataset, ExportFormat::Safetensors, &out, false)?;
        let files = ["images", "patches", "texts", "tokens", "words"].map(|table| format!("{table}.safetensors"));
        assert_eq!((exported.files, exported.rows), (files.to_vec(), 6 + 6 + 8 + 8 + 4));
        assert!(exported.left_out.is_empty());
        let images: Vec<u8> = [0..3, 16..19].into_iter().flatten().collect();
        let texts: Vec<(u8, usize)> =
            [0, 16].into_iter().flat_map(|first| (0..4).map(move |at| (first + at, at as usize))).collect();

        let bytes = fs::read(out.join("patches.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (shape, grid) = elements(&file, "grid")?;
        assert_eq!(shape, [6, support::stores::PATCHES, WIDTH]);
        for (at, vector) in grid.chunks_exact(WIDTH).enumerate() {
            assert_close(vector, &stored(images[at / 2] + (at % 2) as u8, 1.0), store);
        }
        let (shape, ids) = numbers(&file, "ids", 1)?;
        assert_eq!((shape, ids[16 * 5]), (vec![6, 16], 18));

        let bytes = fs::read(out.join("tokens.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (shape, tokens) = elements(&file, "tokens")?;
        let count: usize = texts.iter().map(|(_, length)| length).sum();
        assert_eq!(shape, [count, WIDTH]);
        let (shape, spans) = numbers(&file, "spans", 4)?;
        assert_eq!(shape, [count, 2]);
        let (shape, offsets) = numbers(&file, "offsets", 8)?;
        assert_eq!((shape, offsets[0]), (vec![9], 0));
        for (row, (id, length)) in texts.iter().enumerate() {
            let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
            assert_eq!(to - from, *length);
            for (token, span) in support::stores::spans(*id, *length).iter().enumerate() {
                let at = from + token;
                assert_close(&tokens[at * WIDTH..(at + 1) * WIDTH], &stored(id + token as u8, 1.0), store);
                assert_eq!((spans[2 * at], spans[2 * at + 1]), (u64::from(span.0), u64::from(span.1)));
            }
        }
        assert_eq!(numbers(&file, "ids", 1)?.1[16 * 4], 16);

        let bytes = fs::read(out.join("words.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (_, offsets) = numbers(&file, "offsets", 8)?;
        let text = file.tensor("words")?.data();
        let words: Vec<_> = offsets.windows(2).map(|ends| &text[ends[0] as usize..ends[1] as usize]).collect();
        let expected = ["red-train-00000", "shape-train-00000", "red-train-00001", "shape-train-00001"];
        assert_eq!(words, expected.map(str::as_bytes));
        for (name, id) in [("isolated", 3), ("prompt", 5)] {
            let (shape, vectors) = elements(&file, name)?;
            assert_eq!(shape, [4, WIDTH]);
            assert_close(&vectors[3 * WIDTH..], &stored(id + 1, 1.0), store);
        }
    }
    Ok(())
}
