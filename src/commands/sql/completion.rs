//! Completion in the shell: keywords, tables, columns and functions; of `table.` and `alias.`, its columns.

use retort_sql::{Names, TableNames};
use rustyline::completion::Completer;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Highlighter, Hinter};

use super::input::is_whole;

/// Keywords of queries; the rest of SQL is not answered.
const KEYWORDS: [&str; 46] = [
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CROSS",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INTERSECT",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SHOW",
    "THEN",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];

/// What the line editor asks while somebody types.
#[derive(Helper, Highlighter, Hinter)]
pub(super) struct Typing {
    names: Names,
}

impl Typing {
    pub(super) fn new(names: Names) -> Self {
        Self { names }
    }

    /// Where the word before a place in the text begins, and what it may become.
    fn complete(&self, text: &str, at: usize) -> (usize, Vec<String>) {
        let before = &text[..at];
        let part_of_word = |c: char| c.is_alphanumeric() || "_.@\"\\".contains(c);
        let start = before
            .rfind(|c| !part_of_word(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let mut found = self.columns_of(word, text);
        let tables = self.names.tables.iter().map(|table| table.name.clone());
        found.extend(starting(word, tables));
        if !word.contains('.') {
            let columns = self.names.tables.iter().flat_map(|table| table.columns.iter().cloned());
            found.extend(starting(word, columns));
            found.extend(starting(word, self.names.functions.iter().map(|function| format!("{function}("))));
            found.extend(starting(word, KEYWORDS.iter().map(|keyword| (*keyword).to_owned())));
        }
        found.sort();
        found.dedup();
        (start, found)
    }

    /// Of `clip.images.emb`, the columns of that table, with the table before them; of `i.emb`, those of the table that the text
    /// calls `i`, or of all tables if it does not say yet.
    fn columns_of(&self, word: &str, text: &str) -> Vec<String> {
        let Some((table, _)) = word.rsplit_once('.') else { return Vec::new() };
        let tables = || self.names.tables.iter();
        let within = |known: &str| known.split_once('.').is_some_and(|(schema, _)| schema.eq_ignore_ascii_case(table));
        let named: Vec<&TableNames> = match tables().find(|known| known.name.eq_ignore_ascii_case(table)) {
            Some(known) => vec![known],
            None if tables().any(|known| within(&known.name)) => Vec::new(),
            None => self.aliased(table, text).map_or_else(|| tables().collect(), |known| vec![known]),
        };
        let columns = named.into_iter().flat_map(|known| known.columns.iter());
        starting(word, columns.map(|column| format!("{table}.{column}"))).collect()
    }

    /// The table behind whose name an alias stands.
    fn aliased(&self, alias: &str, text: &str) -> Option<&TableNames> {
        let words = text.split(|c: char| c.is_whitespace() || ",;()".contains(c));
        let words: Vec<&str> = words.filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case("as")).collect();
        let table = words.windows(2).find(|pair| pair[1].eq_ignore_ascii_case(alias))?[0];
        self.names.tables.iter().find(|known| known.name.eq_ignore_ascii_case(table))
    }
}

/// Those that begin with a word, in whatever case it is typed.
fn starting(word: &str, names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let word = word.to_lowercase();
    names.filter(move |name| name.to_lowercase().starts_with(&word))
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(Self::complete(self, line, at))
    }
}

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let whole = is_whole(context.input());
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_tables_columns_functions_and_keywords() {
        let table = |name: &str, columns: &[&str]| TableNames {
            name: name.into(),
            columns: columns.iter().map(|column| (*column).into()).collect(),
        };
        let tables = vec![table("samples", &["sample_id", "label"]), table("clip.images", &["embedding", "split"])];
        let typing = Typing::new(Names { tables, functions: vec!["sin".into(), "cosine_similarity".into()] });
        for (before, start, expected) in [
            ("SELECT sam", 7, &["sample_id", "samples"][..]),
            ("SELECT SI", 7, &["sin("]),
            ("SELECT é, cos", 11, &["cosine_similarity("]),
            ("SELECT * FROM clip.", 14, &["clip.images"]),
            ("SELECT clip.images.e", 7, &["clip.images.embedding"]),
            ("sel", 0, &["SELECT"]),
            ("SELECT ", 7, &[]),
            ("SELECT i.e| FROM samples s, clip.images AS i", 7, &["i.embedding"]),
            ("SELECT 1 FROM samples s WHERE S.l", 30, &["S.label"]),
            // Not said yet.
            ("SELECT x.s", 7, &["x.sample_id", "x.split"]),
        ] {
            let (text, at) = (before.replace('|', ""), before.find('|').unwrap_or(before.len()));
            let found = typing.complete(&text, at);
            assert_eq!(found, (start, expected.iter().map(|word| (*word).to_owned()).collect()), "{before}");
        }
    }
}
