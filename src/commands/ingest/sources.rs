//! Each subcommand's arguments as the source that they mean.

use anyhow::Result;
use retort_ingest::{
    AnswerPlan, CaptionFiles, Captions, Folder, FolderFiles, Img2Dataset, Img2DatasetFiles, Jsonl, JsonlFiles, SnliVe,
    SnliVeFiles, SnliVePart, Source, Vcr, VcrFiles, VcrTasks, Vqa, VqaFiles, WebDataset, WebDatasetFiles,
};

use crate::cli::{Ingest, IngestOptions, TrainOrDev, VcrTask};

/// The source of a command, with the options that all of them share.
pub fn open(command: Ingest) -> Result<(Box<dyn Source>, IngestOptions)> {
    Ok(match command {
        Ingest::Vcr(vcr) => {
            let files = VcrFiles {
                annotations: vcr.annotations,
                member: vcr.member.or_else(|| Some(format!("{}.jsonl", vcr.options.split))),
                images: vcr.images,
                tasks: match vcr.task {
                    VcrTask::Qa => VcrTasks::Qa,
                    VcrTask::Qar => VcrTasks::Qar,
                    VcrTask::Both => VcrTasks::Both,
                },
            };
            (Box::new(Vcr::open(&files)?), vcr.options)
        }
        Ingest::SnliVe(snli_ve) => {
            let part = match (snli_ve.ids, snli_ve.train_val_list, snli_ve.part) {
                (Some(list), ..) => SnliVePart::Listed(list),
                (None, Some(list), Some(TrainOrDev::Train)) => SnliVePart::Train(list),
                (None, Some(list), Some(TrainOrDev::Dev)) => SnliVePart::Dev(list),
                // Neither of the two goes without the other.
                (None, ..) => SnliVePart::All,
            };
            let files = SnliVeFiles { pairs: snli_ve.pairs, images: snli_ve.images, part, id_map: snli_ve.id_map };
            (Box::new(SnliVe::open(&files)?), snli_ve.options)
        }
        Ingest::Vqa(vqa) => {
            let answers = match vqa.answers {
                Some(file) => AnswerPlan::File(file),
                None => AnswerPlan::Build { min_count: vqa.min_answer_count },
            };
            let files = VqaFiles {
                questions: vqa.questions,
                annotations: vqa.annotations,
                images: vqa.images,
                image_pattern: vqa.image_pattern,
                answers,
            };
            (Box::new(Vqa::open(&files)?), vqa.options)
        }
        Ingest::Captions(captions) => {
            let files = CaptionFiles {
                file: captions.file,
                images: captions.images,
                layout: captions.layout.map(Into::into),
                parts: captions.parts,
                ids: captions.ids,
                instances: captions.instances,
                image_column: captions.image_column,
                caption_column: captions.caption_column,
            };
            (Box::new(Captions::open(&files)?), captions.options)
        }
        Ingest::WebDataset(archives) => {
            let files = WebDatasetFiles {
                archives: archives.archives,
                image_suffixes: archives.image_suffix,
                text_suffixes: archives.text_suffix,
                label_suffix: archives.label_suffix,
                json_suffix: archives.json_suffix,
                json_texts: archives.json_text,
                json_label: archives.json_label,
                texts: archives.texts.into(),
                text_lines: archives.text_lines,
                classes: archives.classes,
            };
            (Box::new(WebDataset::open(&files)?), archives.options)
        }
        Ingest::Img2Dataset(downloads) => {
            let files = Img2DatasetFiles {
                folder: downloads.folder,
                caption: downloads.caption,
                texts: downloads.texts.into(),
                check_hashes: downloads.check_hashes,
            };
            (Box::new(Img2Dataset::open(&files)?), downloads.options)
        }
        Ingest::Folder(folder) => {
            let files = FolderFiles {
                folder: folder.folder,
                texts: folder.texts.into(),
                text_lines: folder.text_lines,
                json_texts: folder.json_text,
                follow_links: folder.follow_links,
            };
            (Box::new(Folder::open(&files)?), folder.options)
        }
        Ingest::Jsonl(jsonl) => {
            let files =
                JsonlFiles { file: jsonl.file, mapping: jsonl.mapping, images: jsonl.images, parts: jsonl.parts };
            (Box::new(Jsonl::open(&files)?), jsonl.options)
        }
    })
}
