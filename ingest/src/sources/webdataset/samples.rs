//! Samples out of members: keys, runs, and what each member of a run is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use retort_schemas::tables::samples::tasks::CLASSIFICATION;
use serde_json::Value;

use super::{Named, WebDatasetFiles};
use crate::folder::stays_inside;
use crate::formats::tar::{Fault, Kind, Member, Members, OpenArchive, too_large};
use crate::images::LARGEST_FILE;
use crate::rejects::{Code, Reject, Stage};
use crate::sidecars::{self, LONGEST_JSON_BYTES, LONGEST_TEXT_BYTES, Problem, TextRule};
use crate::source::{ImageBytes, Item, LostImage, SourceImage};
use crate::{Result, Vocabulary};

/// Walks through the archives, one after the other.
pub(super) struct Samples<'a> {
    files: &'a WebDatasetFiles,
    store: &'a OpenArchive,
    vocabulary: Option<&'a Vocabulary>,
    left: std::slice::Iter<'a, Named>,
    current: Option<Current<'a>>,
    /// Found and not handed out.
    ready: VecDeque<Item<'a>>,
}

/// The archive being read.
struct Current<'a> {
    name: &'a str,
    path: Arc<Path>,
    members: Members,
    run: Option<Run<'a>>,
    /// How often each key began a run: hashes, for a key may be long and there may be millions.
    keys: HashMap<u64, u32>,
}

/// Adjacent members of one key.
struct Run<'a> {
    key: String,
    suffixes: HashSet<String>,
    image: Option<(String, ImageBytes<'a>)>,
    /// The text member that counts, and its place among the suffixes of texts.
    text: Option<(usize, String, Vec<u8>)>,
    label: Option<(String, Vec<u8>)>,
    json: Option<(String, Vec<u8>)>,
    /// What is wrong with a member that the sample needs.
    problem: Option<Problem>,
}

/// Where a member is.
struct Place<'n> {
    archive: &'n str,
    path: &'n Arc<Path>,
    name: &'n str,
    suffix: &'n str,
}

/// What a member is to its sample.
enum Role {
    Image,
    Text(usize),
    Label,
    Json,
    None,
}

impl<'a> Samples<'a> {
    pub(super) fn new(
        files: &'a WebDatasetFiles,
        archives: &'a [Named],
        store: &'a OpenArchive,
        vocabulary: Option<&'a Vocabulary>,
    ) -> Self {
        Self { files, store, vocabulary, left: archives.iter(), current: None, ready: VecDeque::new() }
    }

    /// Reads one member, or opens the next archive; false when there is none.
    fn step(&mut self) -> Result<bool> {
        let Some(mut current) = self.current.take() else {
            let Some(named) = self.left.next() else { return Ok(false) };
            self.current = Some(Current {
                name: &named.name,
                path: named.archive.path.as_path().into(),
                members: named.archive.members()?,
                run: None,
                keys: HashMap::new(),
            });
            return Ok(true);
        };
        let member = current.members.next().and_then(|member| match member {
            Some(member) => self.add(&mut current, &member).map(|()| true),
            None => Ok(false),
        });
        match member {
            Ok(true) => self.current = Some(current),
            Ok(false) => self.finish_run(&mut current),
            Err(Fault { code, offset, message }) => {
                self.finish_run(&mut current);
                let message = format!("at offset {offset}: {message}");
                self.reject(Reject { source: current.name.to_owned(), stage: Stage::Read, code, message });
            }
        }
        Ok(true)
    }

    fn reject(&mut self, reject: Reject) {
        self.ready.push_back(Item::Reject(reject));
    }

    /// Adds a member to the run of its key.
    fn add(&mut self, current: &mut Current<'a>, member: &Member) -> Result<(), Fault> {
        if member.kind == Kind::Folder {
            return Ok(());
        }
        let lossy = String::from_utf8_lossy(&member.name);
        let source = format!("{}/{lossy}", current.name);
        let name = match plain_name(&member.name) {
            Ok(name) => name,
            Err(message) => {
                self.reject(Reject::annotation(source, Code::BadName, message));
                return Ok(());
            }
        };
        let Some((key, suffix)) = split_name(name) else { return Ok(()) };
        if current.run.as_ref().is_none_or(|run| run.key != key) {
            self.finish_run(current);
            current.run = Some(Run::new(key));
        }
        let Some(run) = &mut current.run else { return Ok(()) };
        match member.kind {
            Kind::Other(kind) => {
                let message = format!("it is {kind}, expected a file");
                self.reject(Reject::annotation(source, Code::MemberNotAFile, message));
                return Ok(());
            }
            Kind::Sparse => {
                let message = "it is sparse, expected a file that is stored whole";
                self.reject(Reject::annotation(source, Code::MemberSparse, message));
                return Ok(());
            }
            Kind::File | Kind::Folder => {}
        }
        if !run.suffixes.insert(suffix.clone()) {
            let message = format!("its sample has a member with the suffix {suffix:?} before it, which is kept");
            self.reject(Reject::annotation(source, Code::DuplicateMember, message));
            return Ok(());
        }
        let place = Place { archive: current.name, path: &current.path, name, suffix: &suffix };
        let read = self.read(run, &place, &mut current.members, member);
        if read.is_err() {
            // A member that is cut is none: what remains of its sample does not depend on where that is noticed.
            run.suffixes.remove(&suffix);
            if run.suffixes.is_empty() {
                current.run = None;
            }
        }
        read
    }

    /// Takes what the sample needs of a member.
    fn read(&self, run: &mut Run<'a>, place: &Place<'_>, members: &mut Members, member: &Member) -> Result<(), Fault> {
        let name = place.name;
        match self.role(place.suffix) {
            Role::Image if run.image.is_none() => {
                let bytes = self.image(place.path, members, member)?;
                run.image = Some((format!("{}/{name}", place.archive), bytes));
            }
            Role::Text(rank) if run.text.as_ref().is_none_or(|(held, ..)| rank < *held) => {
                let limit = (LONGEST_TEXT_BYTES, Code::TextInvalid);
                run.text = run.small(members, member, name, limit)?.map(|bytes| (rank, name.to_owned(), bytes));
            }
            Role::Label => {
                let limit = (LONGEST_TEXT_BYTES, Code::UnknownLabel);
                run.label = run.small(members, member, name, limit)?.map(|bytes| (name.to_owned(), bytes));
            }
            Role::Json => {
                let limit = (LONGEST_JSON_BYTES, Code::BadRecord);
                run.json = run.small(members, member, name, limit)?.map(|bytes| (name.to_owned(), bytes));
            }
            _ => {}
        }
        Ok(())
    }

    fn role(&self, suffix: &str) -> Role {
        let files = self.files;
        let needs_json = !files.json_texts.is_empty() || files.json_label.is_some();
        if files.image_suffixes.iter().any(|image| image == suffix) {
            return Role::Image;
        }
        if suffix == files.label_suffix && files.json_label.is_none() {
            return Role::Label;
        }
        if suffix == files.json_suffix && needs_json {
            return Role::Json;
        }
        let reads_texts = files.json_texts.is_empty() && files.texts != TextRule::Ignored;
        match files.text_suffixes.iter().position(|text| text == suffix) {
            Some(place) if reads_texts => Role::Text(place),
            _ => Role::None,
        }
    }

    /// By offset where the archive allows it, so that threads read in parallel and a run that continues reads nothing.
    fn image(&self, path: &Arc<Path>, members: &mut Members, member: &Member) -> Result<ImageBytes<'a>, Fault> {
        let (store, path, start, bytes) = (self.store, path.clone(), member.start, member.bytes);
        if members.is_plain() {
            return Ok(ImageBytes::Later(Box::new(move || store.read(&path, start, bytes))));
        }
        if bytes > LARGEST_FILE {
            let message = too_large(bytes);
            return Ok(ImageBytes::Lost(LostImage { stage: Stage::Read, code: Code::ImageUnreadable, message }));
        }
        Ok(ImageBytes::Here(members.content()?))
    }

    /// The sample of a run that is over.
    fn finish_run(&mut self, current: &mut Current<'a>) {
        let Some(run) = current.run.take() else { return };
        let key = current.numbered(&run.key);
        let id = format!("{}/{key}", current.name);
        let item = match self.sample(&id, run) {
            Ok(image) => Item::Image(image),
            Err(problem) => Item::Reject(problem.into_reject(format!("sample {id}"))),
        };
        self.ready.push_back(item);
    }

    fn sample(&self, id: &str, run: Run<'a>) -> Result<SourceImage<'a>, Problem> {
        let Some((name, bytes)) = run.image else {
            let mut found: Vec<&str> = run.suffixes.iter().map(String::as_str).take(8).collect();
            found.sort_unstable();
            let expected = self.files.image_suffixes.join(", ");
            let message = format!("expected an image with the suffix {expected}, found [{}]", found.join(", "));
            return Err(Problem::new(Code::ImageMissing, message));
        };
        if let Some(problem) = run.problem {
            return Err(problem);
        }
        let json = match &run.json {
            Some((name, bytes)) => Some((name.as_str(), sidecars::object(name, bytes)?)),
            None => None,
        };
        let texts = match (&json, &run.text) {
            _ if self.files.texts == TextRule::Ignored => Vec::new(),
            (Some((name, object)), _) if !self.files.json_texts.is_empty() => {
                sidecars::of_fields(name, object, &self.files.json_texts)?
            }
            (_, Some((_, name, bytes))) => sidecars::of_file(name, bytes, self.files.text_lines)?,
            _ => Vec::new(),
        };
        let label = match (&json, &self.files.json_label, &run.label) {
            (Some((name, object)), Some(field), _) => match object.get(field) {
                None | Some(Value::Null) => None,
                Some(Value::String(word)) => Some(self.label(&format!("field {field} of {name}"), word)?),
                Some(value) => Some(self.label(&format!("field {field} of {name}"), &sidecars::excerpt(value))?),
            },
            (_, None, Some((name, bytes))) => {
                let word = String::from_utf8_lossy(bytes);
                Some(self.label(name, word.trim())?)
            }
            _ => None,
        };
        if texts.is_empty() && label.is_none() && self.files.texts == TextRule::Required {
            let expected = match &self.files.json_texts[..] {
                [] => format!("a member with the suffix {}", self.files.text_suffixes.join(" or ")),
                fields => format!("a .{} member with the field {}", self.files.json_suffix, fields.join(" or ")),
            };
            return Err(Problem::new(Code::TextMissing, format!("expected {expected}, found none or an empty one")));
        }
        let mut records = sidecars::samples(id, texts);
        if records.is_empty() {
            records.push(sidecars::without_text(id.to_owned()));
        }
        if let Some((class, word)) = label {
            for record in &mut records {
                record.task = CLASSIFICATION;
                record.label = Some(class);
                record.label_text = Some(word.clone().into());
            }
        }
        Ok(SourceImage { name, bytes, regions: None, records })
    }

    /// The class of a label, which is a number or, where classes have names, one of them; and its name.
    fn label(&self, source: &str, word: &str) -> Result<(u32, String), Problem> {
        let class = match (word.parse::<u32>(), self.vocabulary) {
            (Ok(class), None) => Some((class, word.to_owned())),
            (Ok(class), Some(classes)) => classes.stored.answers.get(class as usize).map(|name| (class, name.clone())),
            (Err(_), Some(classes)) => classes.class_of_name(word).map(|class| (class, word.to_owned())),
            (Err(_), None) => None,
        };
        class.ok_or_else(|| {
            let expected = match self.vocabulary.map(|classes| classes.stored.answers.len()) {
                Some(classes) => format!("a class from 0 to {} or its name", classes.saturating_sub(1)),
                None => "a whole number".to_owned(),
            };
            let found: String = word.chars().take(60).collect();
            Problem::new(Code::UnknownLabel, format!("{source} is {found:?}, expected {expected}"))
        })
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Item<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.left = [].iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Current<'_> {
    /// The key, and from its second run on which of its runs this is.
    fn numbered(&mut self, key: &str) -> String {
        let mut name = key.to_owned();
        loop {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            let runs = self.keys.entry(hasher.finish()).or_insert(0);
            *runs += 1;
            if *runs == 1 {
                return name;
            }
            // A later key may be named so, too.
            name = format!("{name}~{runs}");
        }
    }
}

impl Run<'_> {
    fn new(key: String) -> Self {
        let (image, text, label, json, problem) = (None, None, None, None, None);
        Self { key, suffixes: HashSet::new(), image, text, label, json, problem }
    }

    /// Reads a member that is small if it is what its suffix says.
    fn small(
        &mut self,
        members: &mut Members,
        member: &Member,
        name: &str,
        (longest, code): (u64, Code),
    ) -> Result<Option<Vec<u8>>, Fault> {
        if let Err(problem) = sidecars::check_length(name, member.bytes, longest, code) {
            self.problem = Some(problem);
            return Ok(None);
        }
        members.content().map(Some)
    }
}

/// A name that may be told and looked up: UTF-8 without control characters, and inside the archive.
fn plain_name(name: &[u8]) -> Result<&str, String> {
    let name = std::str::from_utf8(name).map_err(|_| "its name is no UTF-8".to_owned())?;
    if name.chars().any(char::is_control) {
        return Err("its name has control characters".to_owned());
    }
    let mut inside = name;
    while let Some(rest) = inside.strip_prefix("./") {
        inside = rest.trim_start_matches('/');
    }
    if stays_inside(inside) { Ok(inside) } else { Err("its name leads out of the archive".to_owned()) }
}

/// Key and suffix, in lower case: they meet at the first dot of the base name, and the folder belongs to the key. Names
/// without a dot belong to no sample, nor do hidden files and the metadata of the archive, `__name__`.
pub(super) fn split_name(name: &str) -> Option<(String, String)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    let is_metadata = |part: &str| part.len() > 4 && part.starts_with("__") && part.ends_with("__");
    if dot == base || name.split('/').any(is_metadata) {
        return None;
    }
    Some((name[..dot].to_owned(), name[dot + 1..].to_lowercase()))
}
