//! Which archives are meant: braces as in a shell, and globs.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Most archives that one pattern may name.
const MOST_ARCHIVES: usize = 10_000_000;

/// The archives of these patterns, in the order given; those of one pattern in the order of its braces, those of a glob
/// by name, runs of digits as numbers.
pub(super) fn archives(patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for pattern in patterns {
        // A file may be named so.
        if Path::new(pattern).is_file() {
            found.push(PathBuf::from(pattern));
            continue;
        }
        for name in expand(pattern)? {
            let path = PathBuf::from(&name);
            let missing = |problem: &str| Error::NoArchive { archive: name.clone(), problem: problem.to_owned() };
            if path.is_file() {
                found.push(path);
            } else if path.is_dir() {
                return Err(missing("it is a folder, expected an archive"));
            } else if name.contains(['*', '?', '[']) {
                let matches =
                    glob::glob(&name).map_err(|error| missing(&format!("it is no pattern: {}", error.msg)))?;
                let mut matches: Vec<PathBuf> =
                    matches.filter_map(std::result::Result::ok).filter(|path| path.is_file()).collect();
                if matches.is_empty() {
                    return Err(missing("no file matches it"));
                }
                matches.sort_by(|a, b| numeric_order(&a.to_string_lossy(), &b.to_string_lossy()));
                found.append(&mut matches);
            } else {
                return Err(missing("there is no such file"));
            }
        }
    }
    Ok(found)
}

/// Orders `9` before `10`, and names of equal numbers by their characters.
fn numeric_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (word_a, number_a) = split_digits(&mut rest_a);
        let (word_b, number_b) = split_digits(&mut rest_b);
        let number = |digits: &str| {
            let digits = digits.trim_start_matches('0');
            (digits.len(), digits.to_owned())
        };
        let order = word_a.cmp(word_b).then_with(|| number(number_a).cmp(&number(number_b)));
        if order.is_ne() || (rest_a.is_empty() && rest_b.is_empty()) {
            return order.then_with(|| a.cmp(b));
        }
    }
}

/// Takes a run without digits and the digits behind it off the front.
fn split_digits<'a>(text: &mut &'a str) -> (&'a str, &'a str) {
    let digits = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let (word, rest) = text.split_at(digits);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    *text = rest;
    (word, number)
}

/// `{00000..00012}`, `{0..8..2}`, `{a..e}` and `{a,b}`, nested at will. What is neither, stays as it is.
fn expand(pattern: &str) -> Result<Vec<String>> {
    let mut expanded = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, inside, after)) = first_group(rest) {
        let alternatives = match range(inside)? {
            Some(range) => range,
            None => {
                let parts = split_list(inside);
                if parts.len() == 1 {
                    expand(inside)?.into_iter().map(|inside| format!("{{{inside}}}")).collect()
                } else {
                    let parts: Vec<Vec<String>> = parts.into_iter().map(expand).collect::<Result<_>>()?;
                    parts.concat()
                }
            }
        };
        check_count(pattern, expanded.len().saturating_mul(alternatives.len()))?;
        let with =
            |start: &String| alternatives.iter().map(|middle| format!("{start}{before}{middle}")).collect::<Vec<_>>();
        expanded = expanded.iter().flat_map(with).collect();
        rest = after;
    }
    expanded.iter_mut().for_each(|name| name.push_str(rest));
    Ok(expanded)
}

fn check_count(pattern: &str, count: usize) -> Result<()> {
    if count <= MOST_ARCHIVES {
        return Ok(());
    }
    let problem = format!("it names {count} archives, expected {MOST_ARCHIVES} at most");
    Err(Error::NoArchive { archive: pattern.to_owned(), problem })
}

/// Before, inside and after the first pair of braces.
fn first_group(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find('{')?;
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let close = open + at;
            return Some((&text[..open], &text[open + 1..close], &text[close + 1..]));
        }
    }
    None
}

/// The parts between the commas that are in no braces of their own.
fn split_list(inside: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts
}

/// A range of numbers, filled up with zeros to the longer of its ends if one of them is, or of letters.
fn range(inside: &str) -> Result<Option<Vec<String>>> {
    let parts: Vec<&str> = inside.split("..").collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, 1),
        [first, last, step] => match step.parse() {
            Ok(step @ 1..) => (first, last, step),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(first) && is_number(last) {
        let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Ok(None) };
        let filled = [first, last].iter().any(|word| word.len() > 1 && word.starts_with('0'));
        let width = if filled { first.len().max(last.len()) } else { 0 };
        let count = (from.abs_diff(to) / step).saturating_add(1);
        check_count(inside, usize::try_from(count).unwrap_or(usize::MAX))?;
        let number = |at: u64| if from <= to { from + at * step } else { from - at * step };
        return Ok(Some((0..count).map(|at| format!("{:0width$}", number(at))).collect()));
    }
    if let (&[from], &[to]) = (first.as_bytes(), last.as_bytes())
        && from.is_ascii_alphabetic()
        && to.is_ascii_alphabetic()
    {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let letters: Vec<u8> = if from <= to { (from..=to).collect() } else { (to..=from).rev().collect() };
        return Ok(Some(letters.into_iter().step_by(step).map(|letter| char::from(letter).to_string()).collect()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_expand_as_in_a_shell() -> Result<()> {
        for (pattern, expected) in [
            ("a.tar", vec!["a.tar"]),
            ("{08..11}.tar", vec!["08.tar", "09.tar", "10.tar", "11.tar"]),
            ("{8..11}", vec!["8", "9", "10", "11"]),
            ("{3..1}", vec!["3", "2", "1"]),
            ("{0..7..3}", vec!["0", "3", "6"]),
            ("{a..c}x{1,2}", vec!["ax1", "ax2", "bx1", "bx2", "cx1", "cx2"]),
            ("{train,val-{0..1}}/x", vec!["train/x", "val-0/x", "val-1/x"]),
            ("{one}", vec!["{one}"]),
            ("{1..2..0}", vec!["{1..2..0}"]),
            ("open{", vec!["open{"]),
            ("{,x}", vec!["", "x"]),
        ] {
            assert_eq!(expand(pattern)?, expected, "{pattern}");
        }
        for huge in ["{0..99999999999}", "{0..9999}{0..9999}", "{0..18446744073709551615}"] {
            let error = expand(huge).unwrap_err();
            assert!(matches!(error, Error::NoArchive { .. }) && error.to_string().contains("at most"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn digits_order_as_numbers() {
        let mut names = ["a10", "a9", "a09", "b1", "a9b", "a", "10", "9"];
        names.sort_by(|a, b| numeric_order(a, b));
        assert_eq!(names, ["9", "10", "a", "a09", "a9", "a9b", "a10", "b1"]);
    }

    #[test]
    fn a_missing_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.tar", "9.tar", "{0..1}.tar"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let inside = |name: &str| format!("{}/{name}", folder.path().display());
        let names = |patterns: &[&str]| -> Result<Vec<String>> {
            let found = archives(&patterns.iter().map(|pattern| inside(pattern)).collect::<Vec<_>>())?;
            Ok(found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
        };
        assert_eq!(names(&["10.tar", "[0-9]*.tar"]).unwrap(), ["10.tar", "9.tar", "10.tar"]);
        assert_eq!(names(&["{0..1}.tar"]).unwrap(), ["{0..1}.tar"]);
        for (pattern, found) in [
            ("{8..10}.tar", "8.tar\": there is no such file"),
            ("x*.tar", "x*.tar\": no file matches it"),
            ("", "it is a folder"),
            ("[.tar", "it is no pattern"),
        ] {
            let error = names(&[pattern]).unwrap_err();
            assert!(error.to_string().contains(found), "{pattern}: {error}");
        }
    }
}
