//! What there is to do: the tables that each teacher lacks of each shard, and what is known of the teachers without their
//! tensors.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Interrupt, TeacherWriter, column};
use retort_nn::TextTokenizer;
use retort_nn::pixels::Preprocessing;
use retort_schemas::manifest::BatchPlan;
use retort_schemas::words::words;
use retort_schemas::{Store, features, tables};

use super::Options;
use super::tally::Tally;
use crate::{Result, Teacher};

/// Tables of a shard that a teacher lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) images: bool,
    pub(super) patches: bool,
    pub(super) texts: bool,
    pub(super) tokens: bool,
    pub(super) words: bool,
}

impl Wants {
    pub(super) fn any(self) -> bool {
        self.sees() || self.reads() || self.words
    }

    /// Whether this table is one of them.
    fn has(self, table: &str) -> bool {
        match table {
            features::images::NAME => self.images,
            features::patches::NAME => self.patches,
            features::texts::NAME => self.texts,
            features::tokens::NAME => self.tokens,
            features::words::NAME => self.words,
            _ => false,
        }
    }

    /// Whether it takes the shard's images.
    pub(super) fn sees(self) -> bool {
        self.images || self.patches
    }

    /// Whether it takes the shard's texts.
    pub(super) fn reads(self) -> bool {
        self.texts || self.tokens
    }
}

/// A shard of which some teacher lacks a table.
#[derive(Debug)]
pub(super) struct Work {
    /// Name of the shard of the data set.
    pub(super) shard: String,
    /// What each teacher lacks.
    pub(super) wants: Vec<Wants>,
    /// Rows of its images and texts.
    rows: [u64; 2],
}

/// How a teacher takes images.
pub(super) struct Seeing<'a> {
    pub(super) preprocessing: &'a Preprocessing,
    /// `[height, width]` of its input.
    pub(super) input: [u32; 2],
    /// Dimensions of an embedding.
    pub(super) width: usize,
    /// Patches of an image, and the width of each.
    pub(super) grid: [usize; 2],
}

/// How a teacher takes texts.
pub(super) struct Reading<'a> {
    pub(super) tokenizer: &'a TextTokenizer,
    /// Least tokens that every text is padded to.
    pub(super) least: usize,
    /// Dimensions of an embedding.
    pub(super) width: usize,
    /// Dimensions of a token's feature.
    pub(super) token_width: usize,
}

/// All that is to be known of one teacher of a call where its tensors may not go.
pub(super) struct Course<'a> {
    pub(super) name: &'a str,
    pub(super) store: Store,
    /// Whether it computes in a narrower type than f32.
    pub(super) narrow: bool,
    pub(super) plan: BatchPlan,
    pub(super) seeing: Option<Seeing<'a>>,
    pub(super) reading: Option<Reading<'a>>,
}

impl<'a> Course<'a> {
    pub(super) fn of(name: &'a str, teacher: &'a Teacher, store: Store, plan: BatchPlan) -> Self {
        let seeing = teacher.image.as_ref().map(|side| Seeing {
            preprocessing: &side.preprocessing,
            input: side.input_size(),
            width: side.width,
            grid: side.grid_size(),
        });
        let reading = teacher.text.as_ref().map(|side| Reading {
            tokenizer: &side.tokenizer,
            least: side.padding.least,
            width: side.width,
            token_width: side.token_width,
        });
        Self { name, store, narrow: teacher.is_narrow(), plan, seeing, reading }
    }

    /// Tables that it is to give of every shard.
    pub(super) fn wanted(&self, options: &Options) -> Wants {
        let (sees, reads) = (self.seeing.is_some(), self.reading.is_some());
        Wants {
            images: sees,
            patches: sees && options.patches,
            texts: reads,
            tokens: reads && options.tokens,
            words: reads && options.words,
        }
    }
}

/// What all threads of a call share.
pub(super) struct Run<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) courses: Vec<Course<'a>>,
    /// In the order of the data set.
    pub(super) works: Vec<Work>,
    /// Words that first appear in a shard, by its name.
    pub(super) words: HashMap<String, Vec<String>>,
    pub(super) tally: Tally<'a>,
    interrupt: &'a Interrupt,
    /// Of the works, the next that nobody has begun.
    next: AtomicUsize,
    failed: AtomicBool,
    cores: Mutex<()>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        dataset: &'a Dataset,
        courses: Vec<Course<'a>>,
        works: Vec<Work>,
        words: HashMap<String, Vec<String>>,
        tally: Tally<'a>,
        interrupt: &'a Interrupt,
    ) -> Self {
        let (next, failed, cores) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(()));
        Self { dataset, courses, works, words, tally, interrupt, next, failed, cores }
    }

    /// The next shard; none where there is no other, or no other is to be begun.
    pub(super) fn claim(&self) -> Option<&Work> {
        if self.is_stopping() {
            return None;
        }
        self.works.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether no further shard is to be begun: a stop was asked for, or a worker failed.
    pub(super) fn is_stopping(&self) -> bool {
        self.interrupt.requested() || self.failed.load(Ordering::Relaxed)
    }

    /// Lets the other workers stop where their shards end.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Waits for the cores, where `wanted`.
    ///
    /// On a CPU, decoders and libtorch each have a thread a core. Were both at it at once, threads of libtorch, which
    /// wait for one another after every layer, would wait for one whose core a decoder has. So they take turns, and
    /// either has all cores.
    pub(super) fn cores(&self, wanted: bool) -> Option<MutexGuard<'_, ()>> {
        wanted.then(|| self.cores.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shards of which a teacher lacked something.
    pub(super) fn shards_of(&self, teacher: usize) -> usize {
        self.works.iter().filter(|work| work.wants[teacher].any()).count()
    }

    /// Words that first appear in this shard.
    pub(super) fn words_of(&self, work: &Work) -> &[String] {
        words_in(&self.words, work)
    }
}

fn words_in<'w>(words: &'w HashMap<String, Vec<String>>, work: &Work) -> &'w [String] {
    words.get(&work.shard).map_or(&[], Vec::as_slice)
}

/// Items that a teacher has to do: images, texts, and words twice.
pub(super) fn items(works: &[Work], words: &HashMap<String, Vec<String>>, teacher: usize) -> u64 {
    let of = |work: &Work| {
        let (wants, [images, texts]) = (work.wants[teacher], work.rows);
        let words = if wants.words { 2 * words_in(words, work).len() as u64 } else { 0 };
        words + if wants.sees() { images } else { 0 } + if wants.reads() { texts } else { 0 }
    };
    works.iter().map(of).sum()
}

/// Files that a teacher's manifest names and that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Of tables that it is to have.
    pub(super) again: usize,
    /// Of others, by table.
    pub(super) others: BTreeMap<String, usize>,
}

/// Shards with what teachers lack of them, where `wanted` is what each of them is to have, and what is gone of each teacher. A table
/// whose file is gone is lacking: the manifest says that it was there, and not that it is.
pub(super) fn missing(
    dataset: &Dataset,
    wanted: &[Wants],
    writers: &[TeacherWriter],
) -> Result<(Vec<Work>, Vec<Gone>)> {
    let mut works = Vec::new();
    let mut gone = vec![Gone::default(); writers.len()];
    for shard in dataset.shards() {
        let shard = shard?;
        let mut wants = Vec::with_capacity(wanted.len());
        for ((wanted, writer), gone) in wanted.iter().zip(writers).zip(&mut gone) {
            let mine = writer.tables(&shard.name)?;
            for (table, _) in mine.iter().filter(|(_, is_there)| !**is_there) {
                if wanted.has(table) {
                    gone.again += 1;
                } else {
                    *gone.others.entry(table.clone()).or_default() += 1;
                }
            }
            let lacks = |table| !mine.get(table).copied().unwrap_or(false);
            wants.push(Wants {
                images: wanted.images && lacks(features::images::NAME),
                patches: wanted.patches && lacks(features::patches::NAME),
                texts: wanted.texts && lacks(features::texts::NAME),
                tokens: wanted.tokens && lacks(features::tokens::NAME),
                words: wanted.words && lacks(features::words::NAME),
            });
        }
        if wants.iter().any(|wants| wants.any()) {
            let rows = [tables::images::NAME, tables::texts::NAME].map(|table| shard.rows(table));
            works.push(Work { shard: shard.name, wants, rows });
        }
    }
    Ok((works, gone))
}

/// The distinct words of a data set, each with the shard that it first appears in, in order of appearance.
pub(super) fn words_by_shard(dataset: &Dataset, interrupt: &Interrupt) -> Result<HashMap<String, Vec<String>>> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut by_shard = HashMap::new();
    for shard in dataset.shards() {
        interrupt.check()?;
        let shard = shard?;
        let table = dataset.read(&shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
        let mut new = Vec::new();
        for text in column::<StringArray>(&table, tables::texts::TEXT)?.iter().flatten() {
            new.extend(words(text).into_iter().map(|word| word.lower).filter(|word| seen.insert(word.clone())));
        }
        by_shard.insert(shard.name, new);
    }
    Ok(by_shard)
}
