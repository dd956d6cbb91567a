//! The integration tests, as one binary: what the crates are to each other, and what they give together.

mod architecture;
mod asking;
mod commands;
#[cfg(feature = "torch")]
mod encoding;
#[cfg(feature = "torch")]
mod evaluation;
#[cfg(feature = "torch")]
mod golden;
#[cfg(feature = "torch")]
mod gone;
#[cfg(feature = "torch")]
mod hub;
#[cfg(feature = "torch")]
mod joining;
#[cfg(feature = "torch")]
mod models;
#[cfg(feature = "torch")]
mod overrides;
#[cfg(feature = "torch")]
mod pipeline;
#[cfg(feature = "torch")]
mod protocol;
mod shell;
mod shifts;
#[cfg(feature = "torch")]
mod stand_ins;
mod support;
#[cfg(feature = "torch")]
mod tasks;
#[cfg(feature = "torch")]
mod teaching;
#[cfg(feature = "torch")]
mod word_scores;
#[cfg(feature = "torch")]
mod zero_shot;
