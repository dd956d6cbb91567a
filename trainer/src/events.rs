//! TensorBoard's event file: length-framed, crc-guarded protocol buffers.
//!
//! ```text
//! record:  u64 length | u32 masked crc32c of length | bytes of an Event | u32 masked crc32c of bytes
//! ```
//! Framing and masking as in TensorFlow's `record_writer.cc`; of `event.proto` and `summary.proto` only what scalars
//! need.

use std::path::Path;

use prost::Message;

use crate::Result;
use crate::metrics::Metric;

/// TensorBoard finds event files by this part of their name; the rest is free.
const FILE: &str = "events.out.tfevents.0.retort";

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// Writes all metrics as one event file.
pub(crate) fn write(run: &Path, metrics: &[Metric]) -> Result<()> {
    let wall_time = metrics.first().map_or(0.0, |metric| metric.unix_secs);
    let version = Some("brain.Event:2".to_owned());
    let mut bytes = Vec::new();
    record(&mut bytes, &Event { wall_time, step: 0, file_version: version, summary: None });
    for metric in metrics {
        let values = vec![Scalar { tag: metric.tag.clone(), simple_value: metric.value as f32 }];
        let summary = Some(Summary { values });
        let (wall_time, step) = (metric.unix_secs, metric.step as i64);
        record(&mut bytes, &Event { wall_time, step, file_version: None, summary });
    }
    Ok(retort_cache::write_atomic(&run.join(FILE), &bytes)?)
}

fn record(out: &mut Vec<u8>, event: &Event) {
    let body = event.encode_to_vec();
    let length = (body.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc(&length).to_le_bytes());
    out.extend_from_slice(&body);
    out.extend_from_slice(&masked_crc(&body).to_le_bytes());
}

/// A crc of bytes that hold crcs is weak, so TensorFlow rotates and shifts it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_frames_it() {
        let mut bytes = Vec::new();
        record(&mut bytes, &Event { wall_time: 1.5, step: 3, file_version: None, summary: None });
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + 4 + length + 4);
        assert_eq!(Event::decode(&bytes[12..12 + length]).unwrap().step, 3);
        assert_eq!(bytes[8..12], masked_crc(&bytes[..8]).to_le_bytes());
        assert_eq!(masked_crc(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
