//! What a detected object is called in a text.

use std::collections::{BTreeMap, BTreeSet};

/// The rule by which persons are named, as the manifest keeps it.
///
/// The names are the fourteen distinct ones of the list that the authors of VCR used (theirs holds Peyton twice). Person
/// `i` of annotation `a` prefers the name at place `(h + i) mod 14`, where `h` is the first eight bytes of the blake3
/// hash of `a`, as a little-endian number, modulo 14. Among the persons that the question and all eight choices of the
/// annotation mention, masked or not, those of lower index are served first; those whose preferred name is given away
/// then take, again by index, the next one behind it that nobody has. Only when all fourteen are given away does a
/// person share its preferred name. So a person has one name in the question and in every choice, different persons
/// have different names, and neither the order of mention nor the other annotations matter.
///
/// Every other object is called by its class, spelt in words: `pottedplant` is "potted plant".
pub(super) const NAMES_RULE: &str = "retort-names/1";

/// A tag of this index or more is a masked one.
pub(super) const MASKED_FROM: i64 = 10_000;

/// What stands for a masked tag; masked words are written so in the source.
pub(super) const MASK: &str = "[MASK]";

const NAMES: [&str; 14] = [
    "Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall", "Skyler", "Frankie",
    "Pat", "Quinn",
];

const PERSON: &str = "person";

/// Classes of COCO that VCR writes without their space.
const IN_WORDS: [(&str, &str); 15] = [
    ("trafficlight", "traffic light"),
    ("firehydrant", "fire hydrant"),
    ("stopsign", "stop sign"),
    ("parkingmeter", "parking meter"),
    ("sportsball", "sports ball"),
    ("baseballbat", "baseball bat"),
    ("baseballglove", "baseball glove"),
    ("tennisracket", "tennis racket"),
    ("wineglass", "wine glass"),
    ("hotdog", "hot dog"),
    ("pottedplant", "potted plant"),
    ("diningtable", "dining table"),
    ("cellphone", "cell phone"),
    ("teddybear", "teddy bear"),
    ("hairdrier", "hair drier"),
];

/// What each object of an annotation is called.
#[derive(Debug)]
pub(super) struct Names<'a> {
    objects: &'a [String],
    persons: BTreeMap<usize, &'static str>,
}

impl<'a> Names<'a> {
    /// Names for the objects of an annotation, where these are mentioned.
    pub(super) fn new(annot_id: &str, objects: &'a [String], mentioned: &BTreeSet<usize>) -> Self {
        let is_person = |object: &usize| objects.get(*object).is_some_and(|class| class == PERSON);
        let first = first_place(annot_id);
        let preferred = |object: usize| (first + object % NAMES.len()) % NAMES.len();
        let mut given = [false; NAMES.len()];
        let mut persons = BTreeMap::new();
        let mut late = Vec::new();
        for object in mentioned.iter().copied().filter(is_person) {
            let place = preferred(object);
            if given[place] {
                late.push(object);
            } else {
                given[place] = true;
                persons.insert(object, NAMES[place]);
            }
        }
        for object in late {
            let places = (0..NAMES.len()).map(|step| (preferred(object) + step) % NAMES.len());
            let place = places.into_iter().find(|place| !given[*place]).unwrap_or(preferred(object));
            given[place] = true;
            persons.insert(object, NAMES[place]);
        }
        Self { objects, persons }
    }

    /// The name of an object; `None` if the annotation has no object of this index.
    pub(super) fn of(&self, object: usize) -> Option<&str> {
        let class = self.objects.get(object)?;
        Some(self.persons.get(&object).copied().unwrap_or_else(|| in_words(class)))
    }
}

fn first_place(annot_id: &str) -> usize {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(annot_id.as_bytes()).as_bytes()[..8]);
    (u64::from_le_bytes(first) % NAMES.len() as u64) as usize
}

/// A class name as one reads it.
pub(super) fn in_words(class: &str) -> &str {
    IN_WORDS.iter().find(|(written, _)| *written == class).map_or(class, |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(count: usize) -> Vec<String> {
        vec![PERSON.to_owned(); count]
    }

    fn names(annot_id: &str, objects: &[String], mentioned: &[usize]) -> Vec<String> {
        let names = Names::new(annot_id, objects, &mentioned.iter().copied().collect());
        mentioned.iter().map(|object| names.of(*object).unwrap().to_owned()).collect()
    }

    /// Written texts hold these names: another rule has another version.
    #[test]
    fn never_change_what_a_person_is_called() {
        assert_eq!(NAMES_RULE, "retort-names/1");
        assert_eq!(names("train-0", &people(4), &[0, 1, 2, 3]), ["Riley", "Jessie", "Jackie", "Avery"]);
        assert_eq!(names("val-1", &people(4), &[0, 1, 2, 3]), ["Kerry", "Jody", "Kendall", "Skyler"]);
    }

    #[test]
    fn a_name_depends_on_the_annotation_and_the_index_alone() {
        let objects = people(14);
        let all = names("val-7", &objects, &(0..14).collect::<Vec<_>>());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 14);
        for (object, name) in all.iter().enumerate() {
            assert_eq!(names("val-7", &objects, &[object]), [name.as_str()]);
        }
        // All annotations together begin at every place of the list.
        let firsts: BTreeSet<usize> = (0..200).map(|number| first_place(&format!("val-{number}"))).collect();
        assert_eq!(firsts.len(), 14);
    }

    #[test]
    fn persons_share_a_name_only_when_there_are_no_more() {
        let objects = people(40);
        // 14 prefers the name of 0, 15 that of 1; 1 is not mentioned, so 15 keeps it and 14 takes the next.
        let named = names("val-7", &objects, &[0, 14, 15]);
        let usual = names("val-7", &objects, &[0, 1, 2]);
        assert_eq!(named, [usual[0].clone(), usual[2].clone(), usual[1].clone()]);

        let distinct = |count: usize| {
            let mentioned: Vec<usize> = (0..count).map(|person| person * 40 / count).collect();
            names("val-7", &objects, &mentioned).into_iter().collect::<BTreeSet<_>>().len()
        };
        for count in 1..=14 {
            assert_eq!(distinct(count), count);
        }
        assert_eq!(distinct(40), 14);
    }

    #[test]
    fn other_objects_are_called_by_their_class_in_words() {
        let objects = ["person", "pottedplant", "tv", "cellphone"].map(str::to_owned);
        assert_eq!(names("val-7", &objects, &[1, 2, 3]), ["potted plant", "tv", "cell phone"]);
        let names = Names::new("val-7", &objects, &BTreeSet::from([0]));
        assert!(NAMES.contains(&names.of(0).unwrap()));
        assert_eq!(names.of(4), None);
        assert!(NAMES.iter().collect::<BTreeSet<_>>().len() == NAMES.len());
    }
}
