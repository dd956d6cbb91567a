//! What `retort sql` and the `retort-torch encode` that it starts say to each other: lines of JSON.
//!
//! ```text
//! retort sql                                      retort-torch encode
//!   {"teacher":"clip@1a2b3c4d","model":...}  -->  opens the model once, encodes
//!   {"vector":[0.1,...],"note":null}         <--  or {"refused":...,"hint":...}
//!   the next request                         -->
//! ```
//!
//! Every request has one answer, in their order. A request that cannot be met is an answer too; stdin's end ends it.

use std::io::{BufRead, Write};

use retort_schemas::{Dtype, Store};
use serde::{Deserialize, Serialize};

/// A text or an image to encode, and the cache whose vectors it will be compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The cache of the teacher, `name@fingerprint8`.
    pub teacher: String,
    /// The model's folder, or its id on the hub.
    pub model: String,
    /// What `retort teach --set` said of it, keys and values.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// Type that the cache was computed in.
    pub compute: Dtype,
    /// How the cache stores vectors.
    pub store: Store,
    /// Fingerprint of the cache, 32 hex digits.
    pub fingerprint: String,
    /// The table of the teacher that is searched: `images` or `texts`.
    pub table: String,
    /// The path of an image, or else a text.
    pub query: String,
}

/// What becomes of a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// The query in the space of the table.
    Encoded {
        /// As wide as the table's vectors.
        vector: Vec<f32>,
        /// How the query was taken, where that may not be what was meant.
        note: Option<String>,
    },
    /// There is no vector of it.
    Refused {
        /// Why not.
        refused: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl Answer {
    /// A refusal without a hint.
    pub fn refused(problem: impl ToString) -> Self {
        Self::Refused { refused: problem.to_string(), hint: None }
    }
}

/// Answers requests, a line each, until there are no more.
///
/// # Errors
/// If a line cannot be read or written. What is no request is refused and not an error.
pub fn serve(
    input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(&Request) -> Answer,
) -> std::io::Result<()> {
    for line in input.split(b'\n') {
        let said = match serde_json::from_slice(&line?) {
            Ok(request) => answer(&request),
            Err(error) => Answer::refused(format!("expected a request to encode, as JSON on one line: {error}")),
        };
        send(&mut output, &said)?;
    }
    Ok(())
}

/// Writes a message as one line, at once.
///
/// # Errors
/// If nobody reads it.
pub fn send(output: &mut impl Write, message: &impl Serialize) -> std::io::Result<()> {
    // JSON has line ends within strings escaped.
    let line = serde_json::to_string(message)? + "\n";
    output.write_all(line.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request {
        Request {
            teacher: "clip@1a2b3c4d".to_owned(),
            model: "models/clip".into(),
            settings: vec![("max_length".to_owned(), "20".to_owned())],
            compute: Dtype::F32,
            store: Store::F16,
            fingerprint: "1a2b3c4d".repeat(4),
            table: "images".to_owned(),
            query: query.to_owned(),
        }
    }

    #[test]
    fn every_line_has_one_answer_and_bad_ones_are_refused() -> std::io::Result<()> {
        let mut lines = Vec::new();
        send(&mut lines, &request("two\nlines \"quoted\" ü"))?;
        lines.extend_from_slice(b"no JSON\n\xff\xfe\n{\"teacher\": 7}\n\n");
        send(&mut lines, &request("too far"))?;
        send(&mut lines, &request("the last"))?;
        let (mut seen, mut out) = (Vec::new(), Vec::new());
        serve(&lines[..], &mut out, |request| {
            seen.push(request.clone());
            match request.query.as_str() {
                "too far" => Answer::Refused { refused: "it is".to_owned(), hint: Some("come\nnearer".to_owned()) },
                query => Answer::Encoded { vector: vec![0.1, query.len() as f32], note: None },
            }
        })?;
        assert_eq!(seen, ["two\nlines \"quoted\" ü", "too far", "the last"].map(request));
        let answers: Vec<Answer> =
            String::from_utf8(out).unwrap().lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        assert_eq!(answers.len(), 7);
        assert_eq!(answers[0], Answer::Encoded { vector: vec![0.1, 21.0], note: None });
        for bad in &answers[1..5] {
            let Answer::Refused { refused, hint: None } = bad else { panic!("{bad:?}") };
            assert!(refused.starts_with("expected a request to encode"), "{refused}");
        }
        assert_eq!(answers[5], Answer::Refused { refused: "it is".to_owned(), hint: Some("come\nnearer".to_owned()) });
        assert_eq!(answers[6], Answer::Encoded { vector: vec![0.1, 8.0], note: None });
        Ok(())
    }

    #[test]
    fn numbers_come_back_to_the_bit() -> std::io::Result<()> {
        let vector = vec![f32::MIN_POSITIVE, 1.0 / 3.0, -16_777_217.0, f32::MAX, -0.0];
        let mut line = Vec::new();
        send(&mut line, &Answer::Encoded { vector: vector.clone(), note: None })?;
        let Answer::Encoded { vector: back, .. } = serde_json::from_slice(&line)? else { panic!("refused") };
        assert_eq!(
            back.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        Ok(())
    }
}
