//! Words and numbers as they stand on the page.

/// Text that cannot be mistaken for markup, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The same, with code between each pair of backticks.
pub(crate) fn with_code(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some((before, (code, after))) =
        rest.split_once('`').and_then(|(before, after)| Some((before, after.split_once('`')?)))
    {
        html += &format!("{}<code>{}</code>", escape(before), escape(code));
        rest = after;
    }
    html + &escape(rest)
}

/// `1 234 567`, with narrow spaces that do not break.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 image`, `2 images`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `1st`, `2nd`.
pub(crate) fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100 / 10) {
        (_, 1) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// `a, b and c`.
pub(crate) fn listed(words: &[String]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// `61.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}\u{202f}%", share * 100.0)
}

/// A value on an axis, in three digits or so: `0.25`, `1.5k`, `2e-5`.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size < 1e-12 {
        return "0".to_owned();
    }
    if size >= 1000.0 {
        return format!("{}k", short(value / 1000.0));
    }
    if size < 1e-3 {
        return format!("{value:.0e}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 4) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A difference of two shares in points: `+1.2`.
pub(crate) fn points(difference: f64) -> String {
    format!("{:+.1}", difference * 100.0)
}

/// A text of at most so many characters; what is longer ends in an ellipsis.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['\u{2026}']).collect(),
        None => text.to_owned(),
    }
}

/// A number of bytes with a unit, three digits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || size >= 99.95 { 0 } else { 1 };
    format!("{size:.digits$}\u{202f}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<b a='1'>&\"</b>"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(100), "100");
        assert_eq!(percent(0.6154), "61.5\u{202f}%");
        let places = [1, 2, 3, 4, 11, 12, 21, 112].map(ordinal);
        assert_eq!(places, ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th"]);
        let lists =
            [vec![], vec!["a"], vec!["a", "b", "c"]].map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(lists.map(|all| listed(&all)), ["", "a", "a, b and c"]);
        let all = [2000.0, 1500.0, 0.25, 20.0, 1e-5, 0.0, -0.3, 300.0].map(short);
        assert_eq!(all, ["2k", "1.5k", "0.25", "20", "1e-5", "0", "-0.3", "300"]);
        assert_eq!((points(0.012), points(-0.2)), ("+1.2".to_owned(), "-20.0".to_owned()));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("\u{e9}t\u{e9}", 3), "\u{e9}t\u{e9}");
        assert_eq!(cut("\u{e9}t\u{e9}s", 3), "\u{e9}t\u{2026}");
        assert_eq!([999, 15_549, 2_200_000_000].map(bytes), ["999\u{202f}B", "15.5\u{202f}kB", "2.2\u{202f}GB"]);
    }
}
