//! SNLI-VE and its corrected versions e-SNLI-VE and e-SNLI-VE-2.0: does the image entail the sentence?
//!
//! The premise is the image. The caption that SNLI has in its place (`sentence1`, `premise`) is never read.

mod pairs;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use retort_schemas::manifest::AnswerVocabulary;
use retort_schemas::tables::samples::tasks::SNLI_VE;
use serde_json::{Value, json};

use self::pairs::{CLASSES, PairKey, header};
pub(crate) use self::pairs::{PAIR_ID, Pair};
use crate::folder::ImageFolder;
use crate::formats::delimited::{BadRow, Delimited, Header};
use crate::formats::name_list::{NameList, NameSet, bare};
use crate::formats::rows::{Row, RowFile, Rows};
use crate::grouped::RowsByImage;
use crate::images::content_id;
use crate::rejects::{Code, Reject};
use crate::source::{ImageBytes, Item, Items, Record, SourceImage};
use crate::{Error, Result, Source, Vocabulary};

const KIND: &str = "snli-ve";
/// A part that is a list of its own.
const LISTED: &str = "listed";

/// Images at the end of `train_val.lst` that are the development part.
const DEV_IMAGES: usize = 1_000;

/// One split of SNLI-VE as it was published.
#[derive(Debug, Clone)]
pub struct SnliVeFiles {
    /// Files of pairs, read end to end: jsonl or the JSON list of LAVIS, the CSV of e-SNLI-VE, the TSV of e-SNLI-VE-2.0
    /// whose training part is shipped in two files; plain or gzip.
    pub pairs: Vec<PathBuf>,
    /// Folder of the Flickr30k images, each named `<id>.jpg`.
    pub images: PathBuf,
    /// Which images belong to the split.
    pub part: SnliVePart,
    /// A table of two columns from Flickr30k ids to the file names of images that are named otherwise.
    pub id_map: Option<PathBuf>,
}

/// Which images belong to a split. Pairs about other images are no part of it, and no rejects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SnliVePart {
    /// All that the files name.
    #[default]
    All,
    /// Those of a list, such as `flickr30k_test.lst`.
    Listed(PathBuf),
    /// Those of `train_val.lst` but the last 1,000.
    Train(PathBuf),
    /// The last 1,000 of `train_val.lst`.
    Dev(PathBuf),
}

/// SNLI-VE, opened.
pub struct SnliVe {
    pairs: Vec<RowFile>,
    images: ImageFolder,
    chosen: Option<(NameSet, &'static str)>,
    id_map: Option<IdMap>,
    reads: Vec<PathBuf>,
}

impl SnliVe {
    /// Opens the files of pairs and reads the files beside them.
    ///
    /// # Errors
    /// [`Error::NoColumns`] or [`Error::UnknownLayout`] for a file of other content, [`Error::InvalidOption`],
    /// [`Error::NoImageFolder`], [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &SnliVeFiles) -> Result<Self> {
        let images = ImageFolder::open(&files.images)?;
        let pairs = open_pairs(&files.pairs)?;
        let chosen = match &files.part {
            SnliVePart::All => None,
            SnliVePart::Listed(path) => Some((NameList::read(path)?.into_set(), LISTED)),
            SnliVePart::Train(path) => Some((train_and_dev(path)?.0.into_set(), "train")),
            SnliVePart::Dev(path) => Some((train_and_dev(path)?.1.into_set(), "dev")),
        };
        let id_map = files.id_map.as_deref().map(IdMap::read).transpose()?;
        let list = match &files.part {
            SnliVePart::All => None,
            SnliVePart::Listed(list) | SnliVePart::Train(list) | SnliVePart::Dev(list) => Some(list),
        };
        let reads = files.pairs.iter().chain(list).chain(&files.id_map).chain([&files.images]).cloned().collect();
        Ok(Self { pairs, images, chosen, id_map, reads })
    }

    /// The image file of a Flickr30k id.
    fn image_name(&self, id: &str) -> String {
        let mapped = self.id_map.as_ref().and_then(|map| map.names.get(id));
        mapped.cloned().unwrap_or_else(|| format!("{id}.jpg"))
    }

    /// Reads every pair once: which are good, and the images they are about.
    fn scan(&self, rows: &Rows<'_>) -> Result<(RowsByImage, Vec<Reject>)> {
        let (mut by_image, mut rejects, mut seen) = (RowsByImage::default(), Vec::new(), HashSet::new());
        for row in 0..rows.len() {
            let named = |pair: Option<&String>| pair.map_or_else(|| rows.place(row), |pair| format!("pair {pair}"));
            let fields = match rows.read(row)? {
                Ok(fields) => fields,
                Err(bad) => {
                    rejects.push(Reject::annotation(named(None), bad.code, bad.message));
                    continue;
                }
            };
            let pair = fields.id(&[PAIR_ID]).ok().flatten();
            match self.check(&fields, &mut seen) {
                Ok(Some(image)) => by_image.add(image, row),
                Ok(None) => {}
                Err(bad) => rejects.push(Reject::annotation(named(pair.as_ref()), bad.code, bad.message)),
            }
        }
        Ok((by_image, rejects))
    }

    /// The image of a good pair; nothing where that is outside the part.
    fn check(&self, fields: &Row, seen: &mut HashSet<[u8; 16]>) -> Result<Option<String>, BadRow> {
        let key = PairKey::read(fields)?;
        if self.chosen.as_ref().is_some_and(|(chosen, _)| !chosen.contains(&key.image)) {
            return Ok(None);
        }
        Pair::read(fields)?;
        if let Some(pair) = &key.pair
            && !seen.insert(content_id(pair.as_bytes()))
        {
            let message = "an earlier record has the same pairID".to_owned();
            return Err(BadRow { code: Code::DuplicatePairId, message });
        }
        Ok(Some(self.image_name(&key.image)))
    }
}

impl Source for SnliVe {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn reads(&self) -> Vec<PathBuf> {
        self.reads.clone()
    }

    fn options(&self) -> Value {
        json!({
            "pairs": self.pairs.iter().map(RowFile::fingerprint).collect::<Vec<_>>(),
            "part": self.chosen.as_ref().map(|(list, part)| json!({ "part": part, "list": list.fingerprint })),
            "id_map": self.id_map.as_ref().map(|map| &map.fingerprint),
        })
    }

    fn vocabulary(&self, _: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        let classes = CLASSES.map(str::to_owned).to_vec();
        Ok(Some(Vocabulary::from_answers(KIND.to_owned(), classes).or_same(existing)))
    }

    fn items<'a>(&'a self, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let rows = Rows::of(&self.pairs)?;
        let (by_image, rejects) = self.scan(&rows)?;
        if let Some((list, part)) = &self.chosen
            && by_image.images() == 0
            && rejects.is_empty()
            && rows.len() > 0
        {
            let path = self.pairs.first().map(RowFile::path).cloned().unwrap_or_default();
            let part = match *part {
                LISTED => format!("about an image in {}", list.path.display()),
                part => format!("about an image of the {part} part of {}", list.path.display()),
            };
            return Err(Error::EmptyPart { path, records: rows.len() as u64, part });
        }
        let images = by_image.images();
        let records = images + by_image.rows() + rejects.len() as u64;
        let record = move |row: usize| -> Result<Record<'a>> {
            let fields = rows.read_again(row)?;
            let (Ok(key), Ok(pair)) = (PairKey::read(&fields), Pair::read(&fields)) else {
                return Err(rows.changed(row));
            };
            Ok(Record {
                id: key.pair.unwrap_or_else(|| row.to_string()).into(),
                task: SNLI_VE,
                texts: vec![crate::Text { text: pair.hypothesis.to_owned().into(), ..Default::default() }],
                label: pair.label.and_then(|label| vocabulary?.class_of_label(label)),
                label_text: pair.label.map(|label| label.to_owned().into()),
                ..Record::default()
            })
        };
        let rejects = rejects.into_iter().map(|reject| Ok(Item::Reject(reject)));
        let images_of = by_image.into_iter().map(move |(name, rows)| {
            let records = rows.into_iter().map(&record).collect::<Result<_>>()?;
            Ok(Item::Image(SourceImage { name, bytes: ImageBytes::Stored(&self.images), regions: None, records }))
        });
        Ok(Items {
            images: Some(images),
            records: Some(records),
            regions: false,
            items: Box::new(rejects.chain(images_of)),
        })
    }
}

/// Opens files of pairs, in any of the published shapes.
///
/// # Errors
/// [`Error::NoColumns`] or [`Error::UnknownLayout`] for a file of other content, [`Error::InvalidOption`] if there is no
/// file.
pub(crate) fn open_pairs(paths: &[PathBuf]) -> Result<Vec<RowFile>> {
    let mut pairs: Vec<RowFile> = Vec::new();
    for path in paths {
        // The second file of a part that is shipped in pieces has no header of its own.
        let before = pairs.iter().rev().find_map(|file| match file {
            RowFile::Table(table) => Some(table.columns.as_slice()),
            _ => None,
        });
        let file = RowFile::open(path, |first, delimiter| header(path, first, delimiter, before))?;
        pairs.push(file);
    }
    if pairs.is_empty() {
        let problem = "there is none".to_owned();
        return Err(Error::InvalidOption { option: "file of pairs", value: String::new(), problem });
    }
    Ok(pairs)
}

/// The official parts of `train_val.lst`.
fn train_and_dev(path: &Path) -> Result<(NameList, NameList)> {
    let mut train = NameList::read(path)?;
    let Some(first) = train.names.len().checked_sub(DEV_IMAGES).filter(|first| *first > 0) else {
        return Err(Error::InvalidOption {
            option: "list of training and development images",
            value: path.display().to_string(),
            problem: format!(
                "it has {} names, expected more than {DEV_IMAGES}: the last {DEV_IMAGES} are the development part",
                train.names.len()
            ),
        });
    };
    let names = train.names.split_off(first);
    let dev = NameList { path: train.path.clone(), fingerprint: train.fingerprint.clone(), names };
    Ok((train, dev))
}

/// File names of images by Flickr30k id.
struct IdMap {
    fingerprint: Value,
    names: HashMap<String, String>,
}

impl IdMap {
    fn read(path: &Path) -> Result<Self> {
        // Whether the first row names the columns does not matter: no image has such an id.
        let table = Delimited::open(path, None, |first, _| {
            if first.len() == 2 {
                return Ok(Header { columns: first, is_first_row: false });
            }
            let expected = "two columns: Flickr30k id and file name".to_owned();
            Err(Error::NoColumns { path: path.to_owned(), expected, found: first.join(", ") })
        })?;
        let mut names = HashMap::new();
        for row in 0..table.len() {
            let cells = table.read(row)?.map_err(|bad| Error::NoColumns {
                path: path.to_owned(),
                expected: format!("a Flickr30k id and a file name in line {}", table.line(row)),
                found: bad.message,
            })?;
            if let [id, name] = cells.as_slice() {
                names.insert(bare(id.trim()).to_owned(), name.trim().to_owned());
            }
        }
        Ok(Self { fingerprint: table.fingerprint.clone(), names })
    }
}
