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

/// `61.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}\u{202f}%", share * 100.0)
}

/// A tick's label: as few digits as tell ticks `step` apart from each other.
pub(crate) fn tick(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if step >= 1000.0 {
        let thousands = value / 1000.0;
        return if thousands.fract() == 0.0 { format!("{thousands}k") } else { format!("{thousands:.1}k") };
    }
    let digits = (-step.log10()).ceil().max(0.0) as usize;
    if digits > 4 { format!("{value:.0e}") } else { format!("{value:.digits$}") }
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
        assert_eq!((tick(2000.0, 1000.0), tick(1500.0, 1000.0)), ("2k".to_owned(), "1.5k".to_owned()));
        assert_eq!((tick(0.5, 0.25), tick(20.0, 10.0), tick(1e-5, 1e-5)), ("0.5".into(), "20".into(), "1e-5".into()));
    }
}
