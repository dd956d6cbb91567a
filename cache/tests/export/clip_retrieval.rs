//! clip-retrieval's layout: row i of everything is one pair.

use super::*;

#[test]
fn row_i_of_everything_that_clip_retrieval_reads_is_one_pair() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::ClipRetrieval, &out, false)?;
    let files = ["img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"];
    assert_eq!(exported.files, files);
    assert_eq!((exported.rows, exported.skipped), (10, 2));
    let (header, images) = npy(&fs::read(out.join(files[0]))?)?;
    assert_eq!(header, "{'descr': '<f2', 'fortran_order': False, 'shape': (10,4,), }");
    let (_, texts) = npy(&fs::read(out.join(files[1]))?)?;
    let metadata = read_parquet(&out.join(files[2]))?;
    let pairs = pairs();
    assert_eq!((images.len(), texts.len(), metadata.num_rows()), (10 * WIDTH, 10 * WIDTH, pairs.len()));
    for (row, (image, text)) in pairs.iter().enumerate() {
        let at = row * WIDTH..(row + 1) * WIDTH;
        assert_normalised(&images[at.clone()], &stored(*image, 1.0));
        assert_normalised(&texts[at], &stored(*text, -1.0));
        assert_eq!(strings(&metadata, "image_path")[row], format!("photos/{image}.png"));
        assert_eq!(strings(&metadata, "caption")[row], format!("text number {text}"));
        assert_eq!(strings(&metadata, "image_id")[row], hex_id(*image));
        assert_eq!(strings(&metadata, "text_id")[row], hex_id(*text));
    }
    assert_eq!(strings(&metadata, "sample_id")[2..4], ["sample.0/2", "sample.0/2"]);
    Ok(())
}

#[test]
fn a_teacher_of_texts_alone_is_exported_text_by_text() -> Result {
    let (folder, dataset) = dataset_with(&["texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::ClipRetrieval, &out, false)?;
    assert_eq!(exported.files, ["text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"]);
    let captions = strings(&read_parquet(&out.join("metadata/metadata_0.parquet"))?, "caption");
    assert_eq!(captions[3..5], ["text number 3", "text number 16"]);
    assert_eq!(exported.rows, 8);
    Ok(())
}
