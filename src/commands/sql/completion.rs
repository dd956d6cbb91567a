//! Completion in the shell: keywords, tables, columns and functions; of `table.`, its columns.

use retort_sql::Names;
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

    /// Where the word before the cursor begins, and what it may become.
    fn complete(&self, before: &str) -> (usize, Vec<String>) {
        let part_of_word = |c: char| c.is_alphanumeric() || "_.@\"\\".contains(c);
        let start = before
            .rfind(|c| !part_of_word(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let mut found = self.columns_of(word);
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

    /// Of `clip.images.emb`, the columns of that table, with the table before them.
    fn columns_of(&self, word: &str) -> Vec<String> {
        let Some((table, _)) = word.rsplit_once('.') else { return Vec::new() };
        let named = self.names.tables.iter().filter(|known| known.name.eq_ignore_ascii_case(table));
        let columns = named.flat_map(|known| known.columns.iter().map(|column| format!("{}.{column}", known.name)));
        starting(word, columns).collect()
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
        Ok(Self::complete(self, &line[..at]))
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
    use retort_sql::TableNames;

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
        ] {
            let found = typing.complete(before);
            assert_eq!(found, (start, expected.iter().map(|word| (*word).to_owned()).collect()), "{before}");
        }
    }
}
