//! Each subcommand's arguments as the source that they mean.

use anyhow::Result;
use retort_ingest::{
    AnswerPlan, CaptionFiles, Captions, Jsonl, JsonlFiles, SnliVe, SnliVeFiles, SnliVePart, Source, Vcr, VcrFiles,
    VcrTasks, Vqa, VqaFiles,
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
        Ingest::Jsonl(jsonl) => {
            let files =
                JsonlFiles { file: jsonl.file, mapping: jsonl.mapping, images: jsonl.images, parts: jsonl.parts };
            (Box::new(Jsonl::open(&files)?), jsonl.options)
        }
    })
}
