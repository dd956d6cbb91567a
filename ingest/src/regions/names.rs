//! Which detections belong to an image, by its name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::images::{ContentId, content_id};

/// Digits of a COCO id in a file name: `COCO_train2014_000000262148`.
const COCO_DIGITS: usize = 12;

/// Where detections lie: in which of the given files or folders, and which of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub part: u32,
    pub entry: u32,
}

/// Places by the names under which detections were stored.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By the hash of a key, so that it costs the same whatever the names: `None` where several entries have the key.
    places: HashMap<ContentId, Option<Place>>,
}

/// How a name is looked up, the surest way first.
#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    /// The whole name, with its folders.
    Path(&'a str),
    /// The last part of it.
    File(&'a str),
    /// The COCO id.
    Number(u64),
}

impl Key<'_> {
    fn hash(self) -> ContentId {
        match self {
            Self::Path(text) => content_id(format!("path {text}").as_bytes()),
            Self::File(text) => content_id(format!("file {text}").as_bytes()),
            Self::Number(number) => content_id(format!("number {number}").as_bytes()),
        }
    }
}

impl Names {
    /// Adds an entry: the name of an image, with its ending or without, or its COCO id. Of several with the same whole
    /// name the first stays: tables that were put together hold some images twice.
    pub(crate) fn add(&mut self, name: &str, place: Place) {
        match self.places.entry(Key::Path(name).hash()) {
            Entry::Vacant(vacant) => vacant.insert(Some(place)),
            Entry::Occupied(_) => return,
        };
        let file = file_name(name);
        for key in [Some(Key::File(file)), number(file).map(Key::Number)].into_iter().flatten() {
            self.places.entry(key.hash()).and_modify(|place| *place = None).or_insert(Some(place));
        }
    }

    /// The entry of an image: under its path, with or without its ending; under its file name or stem; or under its
    /// COCO id.
    pub(crate) fn find(&self, image: &str) -> Find {
        let file = file_name(image);
        let stem = without_ending(file);
        let keys = [
            Some(Key::Path(image)),
            Some(Key::Path(without_ending(image))),
            Some(Key::File(file)),
            Some(Key::File(stem)),
            number(stem).map(Key::Number),
        ];
        match keys.into_iter().flatten().find_map(|key| self.places.get(&key.hash())) {
            Some(Some(place)) => Find::One(*place),
            Some(None) => Find::Several,
            None => Find::None,
        }
    }
}

/// What is stored under an image's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Find {
    One(Place),
    /// Entries of several folders, and the image's own path tells none of them.
    Several,
    None,
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Without the ending of the file name: of `a.b/c@0.jpg`, `a.b/c@0`.
fn without_ending(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') && !stem.is_empty() && !stem.ends_with('/') => stem,
        _ => path,
    }
}

/// The COCO id: a name that is nothing but a number, or ends in one of twelve digits. Other digits at the end, such as
/// those of a movie's frame, are no ids.
fn number(stem: &str) -> Option<u64> {
    let digits = &stem[stem.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
    (digits.len() == stem.len() || digits.len() == COCO_DIGITS).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(entry: u32) -> Place {
        Place { part: 0, entry }
    }

    fn names(entries: &[&str]) -> Names {
        let mut names = Names::default();
        (0..).zip(entries).for_each(|(entry, name)| names.add(name, place(entry)));
        names
    }

    #[test]
    fn an_image_is_found_by_path_name_stem_and_number() {
        let image = "train2014/COCO_train2014_000000262148.jpg";
        for name in [
            image,
            "train2014/COCO_train2014_000000262148",
            "COCO_train2014_000000262148.jpg",
            "COCO_train2014_000000262148",
            "features/COCO_train2014_000000262148",
            "262148",
            "000000262148",
            "coco_train2014_000000262148",
        ] {
            assert_eq!(names(&["1", name]).find(image), Find::One(place(1)), "{name}");
        }
        for other in ["26214", "2621480", "COCO_train2014_000000262149", "262148.jpg", "x262148", ""] {
            assert_eq!(names(&[other]).find(image), Find::None, "{other}");
        }
        assert_eq!(names(&["COCO_val2014_000000000009"]).find("9.jpg"), Find::One(place(0)));
        assert_eq!(names(&["9"]).find("9"), Find::One(place(0)));
    }

    #[test]
    fn digits_at_the_end_of_other_names_are_no_ids() {
        let frame = "lsmdc_3015/3015_CHARLIE_ST_CLOUD_00.51.17.122@0.jpg";
        assert_eq!(names(&["0"]).find(frame), Find::None);
        assert_eq!(names(&["3015_CHARLIE_ST_CLOUD_00.51.17.122@0"]).find(frame), Find::One(place(0)));
        assert_eq!(names(&["99999999999999999999999"]).find("099999999999999999999999.jpg"), Find::None);
        assert_eq!(names(&["a"]).find(".jpg"), Find::None);
    }

    #[test]
    fn the_path_decides_between_folders_and_nothing_else_does() {
        let both = names(&["train/1", "val/1", "1"]);
        assert_eq!(both.find("val/1.jpg"), Find::One(place(1)));
        assert_eq!(both.find("1.jpg"), Find::One(place(2)));
        assert_eq!(both.find("test/1.jpg"), Find::Several);
        assert_eq!(names(&["9", "COCO_val2014_000000000009"]).find("000000000009.jpg"), Find::Several);
    }

    #[test]
    fn the_first_of_two_entries_with_one_name_stays() {
        assert_eq!(names(&["9", "9"]).find("9.jpg"), Find::One(place(0)));
    }
}
