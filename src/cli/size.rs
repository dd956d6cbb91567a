//! Sizes on the command line.

/// Bytes of a size such as `512MiB`, `1.5 GB` or `4096`.
///
/// # Errors
/// If it is no number of bytes of at least 1, or its unit is another one; in words for clap.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
    ];
    let expected = || format!("expected a size such as 512MiB, 2GiB or 1.5GB, found {text:?}");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_lowercase();
    let (_, each) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    let bytes = number.parse::<f64>().map_err(|_| expected())? * *each as f64;
    // Up to 2^53 a float counts every byte.
    if (1.0..9e15).contains(&bytes) { Ok(bytes as usize) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in
            [("512MiB", 512 << 20), ("2 gib", 2 << 30), ("1.5GB", 1_500_000_000), ("4096", 4096), ("1kB", 1000)]
        {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "MiB", "-1MiB", "12 parsecs", "1.2.3MiB", "1e3", "99999999999GiB"] {
            let refused = bytes(text).err().unwrap_or_default();
            assert!(refused.starts_with("expected a size such as 512MiB"), "{text}: {refused}");
        }
    }
}
