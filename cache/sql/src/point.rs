//! Points into a query: the line where something is wrong, and marks under the word.

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use crate::Error;
use crate::error::of_function;

/// Characters shown of a longer line.
const SHOWN: usize = 100;

/// What is looked for where DataFusion does not say a place.
enum Wanted<'a> {
    /// A table or column, by the last part of its name.
    Name(&'a str),
    /// A call of a function.
    Call(&'a str),
    /// A word in single quotes.
    Quoted(&'a str),
}

/// Where a word begins: line and column, in characters from 1.
type Start = (usize, usize);

impl Error {
    /// The same error with the line of the query that it is about, where that is known.
    pub(crate) fn pointing_into(self, query: &str) -> Self {
        if matches!(self, Self::Pointed { .. }) {
            return self;
        }
        match start_of(query, &self).and_then(|start| excerpt(query, start)) {
            Some(excerpt) => Self::Pointed { error: Box::new(self), excerpt },
            None => self,
        }
    }

    /// As [`Error::pointing_into`], where DataFusion's own place may differ from the name that is not known.
    pub(crate) fn pointing_at(self, query: &str, told: Option<Start>) -> Self {
        // DataFusion marks the alias of a file.
        let told = told.filter(|_| !matches!(self, Self::Outside { .. }));
        match told.and_then(|start| excerpt(query, start)) {
            Some(excerpt) => Self::Pointed { error: Box::new(self), excerpt },
            None => self.pointing_into(query),
        }
    }
}

/// Where DataFusion says that an error is.
pub(crate) fn told(query: &str, error: &DataFusionError) -> Option<Start> {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let number = |number: u64| usize::try_from(number).ok().filter(|number| *number > 0);
    if let Some(start) = span.and_then(|span| Some((number(span.start.line)?, number(span.start.column)?))) {
        return Some(start);
    }
    match error.find_root() {
        DataFusionError::SQL(error, _) => in_words(&error.to_string()).or_else(|| Some(behind(query))),
        _ => None,
    }
}

fn start_of(query: &str, error: &Error) -> Option<Start> {
    match error {
        Error::UnknownTable { table, .. } => find(query, &Wanted::Name(last_part(table))),
        Error::Outside { statement, .. } => statement.strip_prefix("FROM '").and_then(|path| {
            let path = path.strip_suffix('\'')?;
            find(query, &Wanted::Quoted(path))
        }),
        Error::UnknownFunction { function, .. } => find(query, &Wanted::Call(function)),
        Error::Query(error) => told(query, error).or_else(|| named(query, error)),
        _ => None,
    }
}

/// The place of what an error names.
fn named(query: &str, error: &DataFusionError) -> Option<Start> {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, .. } => find(query, &Wanted::Name(&field.name)),
            _ => None,
        },
        DataFusionError::External(error) => match error.downcast_ref()? {
            Error::UnknownTable { table, .. } => find(query, &Wanted::Quoted(table)),
            Error::NotEncoded { query: text, .. } => find(query, &Wanted::Quoted(text)),
            _ => None,
        },
        DataFusionError::Plan(words) | DataFusionError::Execution(words) => {
            // Ours begin with the function: `dot takes ...`; DataFusion's name it: `Invalid function 'cosin'`.
            let words = of_function(words).unwrap_or(words);
            let invalid = words.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next());
            let name = invalid.or_else(|| words.split(|c: char| c != '_' && !c.is_alphanumeric()).next())?;
            find(query, &Wanted::Call(name))
        }
        _ => None,
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"')
}

/// The place at the end of a parser's message: `... at Line: 1, Column: 8`. Tests hold these words.
fn in_words(words: &str) -> Option<Start> {
    let (_, place) = words.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(line)?, digits(column)?))
}

/// The parser's message without its place.
pub(crate) fn without_place(words: &str) -> &str {
    words.rsplit_once(" at Line: ").map_or(words, |(words, _)| words)
}

/// Behind the last character that is not blank.
fn behind(query: &str) -> Start {
    let query = query.trim_end();
    (query.split('\n').count(), query.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// Where the only word of this kind is; of names the first.
fn find(query: &str, wanted: &Wanted) -> Option<Start> {
    let tokens = Tokenizer::new(&GenericDialect, query).tokenize_with_location().ok()?;
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let same = |word: &Word, name: &str| match word.quote_style {
        Some(_) => word.value == name,
        None => word.value.eq_ignore_ascii_case(name),
    };
    let found = tokens.iter().enumerate().filter(|(at, token)| match (wanted, &token.token) {
        (Wanted::Name(name), Token::Word(word)) => same(word, name) && word.keyword != Keyword::AS,
        (Wanted::Call(name), Token::Word(word)) => {
            same(word, name) && tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen)
        }
        (Wanted::Quoted(text), Token::SingleQuotedString(found)) => text == found,
        _ => false,
    });
    let found: Vec<Start> = found
        .filter_map(|(_, token)| {
            let start = token.span.start;
            Some((usize::try_from(start.line).ok()?, usize::try_from(start.column).ok()?))
        })
        .collect();
    match (wanted, found.as_slice()) {
        (_, [only]) => Some(*only),
        (Wanted::Name(_), [first, ..]) => Some(*first),
        _ => None,
    }
}

/// The line of a place, with marks under the word that begins there.
fn excerpt(query: &str, (line, column): Start) -> Option<String> {
    if query.trim().is_empty() {
        return None;
    }
    let text: Vec<char> = query.split('\n').nth(line.checked_sub(1)?)?.trim_end().chars().collect();
    let from = column.checked_sub(1)?.min(text.len());
    let marks = word_at(&text[from..]).max(1);
    // A long line is cut on both sides of the word.
    let first = if text.len() > SHOWN { from.saturating_sub(SHOWN / 4) } else { 0 };
    let last = text.len().min(first + SHOWN).max(first);
    let cut = |there: bool| if there { "..." } else { "" };
    let shown: String = text[first..last].iter().map(|c| if c.is_whitespace() { ' ' } else { *c }).collect();
    let (before, after) = (cut(first > 0), cut(last < text.len()));
    let (number, blank) = (line.to_string(), " ".repeat(line.to_string().len()));
    let indent = " ".repeat(before.len() + from - first);
    let marks = "^".repeat(marks.min(SHOWN - SHOWN / 4));
    Some(format!("  {number} | {before}{shown}{after}\n  {blank} | {indent}{marks}"))
}

/// Characters of the word, the name of several parts, or the string that a text begins with.
fn word_at(text: &[char]) -> usize {
    let part = |text: &[char]| match text.first() {
        Some(quote @ ('\'' | '"')) => text.iter().skip(1).position(|c| c == quote).map_or(text.len(), |end| end + 2),
        _ => text.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count(),
    };
    let mut length = part(text);
    while length > 0 && text.get(length) == Some(&'.') {
        match part(&text[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_under_the_word() {
        for (query, start, expected) in [
            ("SELECT a", (1, 8), "  1 | SELECT a\n    |        ^"),
            ("SELECT\n  \"a b\".c, d", (2, 3), "  2 |   \"a b\".c, d\n    |   ^^^^^^^"),
            ("SELECT é.ö1 +", (1, 8), "  1 | SELECT é.ö1 +\n    |        ^^^^"),
            ("SELECT\t'x", (1, 8), "  1 | SELECT 'x\n    |        ^^"),
            // Where something is missing at the end.
            ("SELECT ", (1, 7), "  1 | SELECT\n    |       ^"),
            ("SELECT +", (1, 99), "  1 | SELECT +\n    |         ^"),
        ] {
            assert_eq!(excerpt(query, start).as_deref(), Some(expected), "{query}");
        }
        assert_eq!(excerpt("SELECT a", (2, 1)), None);
    }

    #[test]
    fn long_lines_are_cut_around_the_word() {
        let query = format!("{} wrong {}", "x".repeat(200), "y".repeat(200));
        let shown = excerpt(&query, (1, 202)).unwrap_or_default();
        let (line, marks) = shown.split_once('\n').unwrap_or_default();
        let at = marks.find('^').unwrap_or_default();
        assert_eq!(&line[at..at + 5], "wrong");
        assert!(line.len() < 120 && line.contains("...x") && line.ends_with("y..."), "{shown}");
    }

    #[test]
    fn calls_are_found_where_there_is_one() {
        let call = |query| find(query, &Wanted::Call("dot"));
        assert_eq!(call("SELECT dot,\n DOT (a, b)"), Some((2, 2)));
        assert_eq!(call("SELECT dot(a, b), dot(c, d)"), None);
        assert_eq!(call("SELECT 'dot(' -- dot(a, b)"), None);
        assert_eq!(find("SELECT a FROM t, a", &Wanted::Name("a")), Some((1, 8)));
    }
}
