//! What is typed into the shell: queries, and commands of the shell itself.

/// What the shell is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// To answer queries.
    Queries(String),
    /// `\d`: to list the tables.
    Tables,
    /// `\d TABLE`: to list the columns of one.
    Columns(String),
    /// `\timing`, `\timing on`, `\timing off`: whether the time is told; the other way round without a word.
    Timing(Option<bool>),
    /// `.format WORD`: how answers are written.
    Format(String),
    /// `\?`
    Help,
    /// `\q`
    Quit,
    /// Nothing.
    Empty,
    /// A command that is none.
    Unknown(String),
}

/// What [`Input::Help`] prints.
pub(super) const HELP: &str = "\
A query ends with ; and may take several lines. Tab completes tables, columns and functions.

  \\d              the tables
  \\d TABLE        the columns of a table
  \\timing         tell how long an answer took, or no longer
  .format WORD    table, csv, json or ndjson
  \\q              leave, as Ctrl-D; Ctrl-C stops an answer
";

impl Input {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if !is_command(text) {
            return match text.trim_end_matches(';').trim().to_lowercase().as_str() {
                "" => Self::Empty,
                "exit" | "quit" => Self::Quit,
                "help" => Self::Help,
                _ => Self::Queries(text.to_owned()),
            };
        }
        let mut words = text.trim_end_matches(';').split_whitespace();
        let command = words.next().unwrap_or_default();
        // Both signs are known from elsewhere: psql's backslash, SQLite's dot.
        match (&command[1..], words.next(), words.next()) {
            ("d" | "tables", None, _) => Self::Tables,
            ("d" | "schema", Some(table), None) => Self::Columns(table.to_owned()),
            ("timing" | "timer", None, _) => Self::Timing(None),
            ("timing" | "timer", Some("on"), None) => Self::Timing(Some(true)),
            ("timing" | "timer", Some("off"), None) => Self::Timing(Some(false)),
            ("format" | "mode", Some(word), None) => Self::Format(word.to_owned()),
            ("?" | "help" | "h", None, _) => Self::Help,
            ("q" | "quit" | "exit", None, _) => Self::Quit,
            _ => Self::Unknown(text.to_owned()),
        }
    }
}

fn is_command(text: &str) -> bool {
    text.starts_with(['\\', '.'])
}

/// Whether all of it is typed: a command is at the end of its line, a query at a `;` that is in no string, quoted name or
/// comment.
pub(super) fn is_whole(text: &str) -> bool {
    let text = text.trim();
    let word = text.to_lowercase();
    text.is_empty() || is_command(text) || ["exit", "quit", "help"].contains(&word.as_str()) || ends(text)
}

fn ends(text: &str) -> bool {
    let (mut inside, mut ended) = (None, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (inside, c, rest.peek()) {
            (Some('-'), '\n', _) => inside = None,
            (Some('*'), '*', Some('/')) => {
                rest.next();
                inside = None;
            }
            (Some(quote @ ('\'' | '"')), c, _) if c == quote => inside = None,
            (Some(_), ..) => {}
            (None, '-', Some('-')) => inside = Some('-'),
            (None, '/', Some('*')) => inside = Some('*'),
            (None, quote @ ('\'' | '"'), _) => (inside, ended) = (Some(quote), false),
            (None, ';', _) => ended = true,
            (None, c, _) => ended &= c.is_whitespace(),
        }
    }
    ended && matches!(inside, None | Some('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ends_at_a_semicolon_that_is_no_part_of_a_word() {
        for whole in
            ["SELECT 1;", "select ';' ; ", "SELECT 1; -- so", "", "\\d", ".format csv", "quit", "/* ; */ SELECT 1;"]
        {
            assert!(is_whole(whole), "{whole}");
        }
        for part in [
            "SELECT 1",
            "SELECT ';",
            "SELECT \"a;",
            "SELECT 1; SELECT",
            "SELECT 1 -- ;",
            "/* SELECT 1;",
            "SELECT 'it''s;",
        ] {
            assert!(!is_whole(part), "{part}");
        }
    }

    #[test]
    fn commands_are_told_from_queries() {
        for (text, input) in [
            ("\\d", Input::Tables),
            (".tables", Input::Tables),
            ("\\d clip.images;", Input::Columns("clip.images".into())),
            ("\\timing", Input::Timing(None)),
            ("\\timing off", Input::Timing(Some(false))),
            (".format csv", Input::Format("csv".into())),
            (" \\? ", Input::Help),
            ("EXIT;", Input::Quit),
            (";", Input::Empty),
            ("\\dance", Input::Unknown("\\dance".into())),
            ("\\d a b", Input::Unknown("\\d a b".into())),
            ("SELECT 1;", Input::Queries("SELECT 1;".into())),
        ] {
            assert_eq!(Input::parse(text), input, "{text}");
        }
    }
}
