//! How many rows make a batch, and how that is found.

use std::time::Instant;

use retort_nn::Encoded;
use retort_nn::pixels::Rgb;
use retort_schemas::manifest::BatchPlan;

use crate::{Result, Teacher};

/// A larger batch has to bring so many times the items a second.
const PAYS: f64 = 1.05;
/// Batches that the search begins with, and the largest that it tries: images of a shard, and tokens.
const IMAGES: [usize; 2] = [32, 1024];
const TOKENS: [usize; 2] = [4096, 1 << 18];
/// Tokens that a text has at least, on the mean of a batch, so that there are bounds to the texts of a batch of short ones.
const TOKENS_A_TEXT: usize = 8;
/// Batches that are timed together.
const TIMED: usize = 3;

/// Cuts texts, whose rows `order` has by length, into batches: `tokens` is how many one of a row takes. A batch is padded to
/// the longest of it, and that is what counts against the budget of the plan; one text is always allowed.
pub(super) fn text_batches(plan: BatchPlan, order: &[usize], tokens: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let budget = plan.tokens.unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    let mut rest = order;
    while !rest.is_empty() {
        let fits = |count: usize| count.saturating_mul(tokens(rest[count - 1])) <= budget;
        let most = plan.texts.clamp(1, rest.len());
        let (batch, others) = rest.split_at((2..=most).take_while(|count| fits(*count)).last().unwrap_or(1));
        batches.push(batch);
        rest = others;
    }
    batches
}

/// The batch that pays: begins with `start` and doubles it, to `most` at most, as long as that brings 5 % more items a
/// second; where memory does not suffice, halves it. `rate` tries a batch: items a second, or none where memory did not do.
///
/// # Errors
/// Those of a try.
fn find(start: usize, most: usize, mut rate: impl FnMut(usize) -> Result<Option<f64>>) -> Result<usize> {
    let mut batch = start.max(1);
    let mut best = rate(batch)?;
    if best.is_none() {
        while best.is_none() && batch > 1 {
            batch /= 2;
            best = rate(batch)?;
        }
        // Twice as many did not do. Nor may one, which the work itself will say.
        return Ok(batch);
    }
    while batch * 2 <= most {
        match (best, rate(batch * 2)?) {
            (Some(before), Some(after)) if after >= PAYS * before => best = Some(after),
            _ => break,
        }
        batch *= 2;
    }
    Ok(batch)
}

/// Finds the batches of a teacher on its device, by trying images and texts of the size that it takes, the longest it takes.
///
/// # Errors
/// Those of the teacher, but for memory that does not suffice.
pub(super) fn find_plan(teacher: &Teacher, patches: bool, tokens: bool) -> Result<BatchPlan> {
    find_plan_within(teacher, patches, tokens, IMAGES, TOKENS)
}

fn find_plan_within(
    teacher: &Teacher,
    patches: bool,
    tokens: bool,
    images: [usize; 2],
    budgets: [usize; 2],
) -> Result<BatchPlan> {
    let mut plan = BatchPlan { images: images[0], texts: budgets[0] / TOKENS_A_TEXT, tokens: Some(budgets[0]) };
    if let Some(side) = &teacher.image {
        // Any image: what it shows takes no time.
        let image = side.preprocess(&Rgb { width: 64, height: 64, data: vec![0; 64 * 64 * 3] })?;
        plan.images = find(images[0], images[1], |images| {
            let pixels = image.repeat(images);
            rate(images, || teacher.see_pixels(&pixels, images, patches).map(drop))
        })?;
    }
    if let Some(side) = &teacher.text {
        let longest = side.tokenizer.longest();
        // Of any token: what it says takes no time.
        let ids = side.tokenizer.encode("a")?.ids.into_iter().cycle().take(longest).collect();
        let text = Encoded { ids, spans: vec![(0, 1); longest], special: vec![false; longest], truncated: false };
        // Below that a batch is one text, and all are alike.
        let budget = find(budgets[0].max(longest), budgets[1], |budget| {
            let batch = vec![&text; (budget / longest.max(1)).max(1)];
            rate(batch.len(), || teacher.embed_texts(&batch, tokens).map(drop))
        })?;
        plan = BatchPlan { texts: (budget / TOKENS_A_TEXT).max(1), tokens: Some(budget), ..plan };
    }
    Ok(plan)
}

/// Items a second; none where memory does not suffice.
fn rate(items: usize, compute: impl Fn() -> Result<()>) -> Result<Option<f64>> {
    let timed = || -> Result<f64> {
        // The first of a size chooses kernels and takes memory.
        compute()?;
        let began = Instant::now();
        (0..TIMED).try_for_each(|_| compute())?;
        Ok((items * TIMED) as f64 / began.elapsed().as_secs_f64().max(1e-9))
    };
    match timed() {
        Ok(rate) => Ok(Some(rate)),
        Err(error) if error.is_out_of_memory() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use retort_schemas::Dtype;
    use tch::{Device, TchError};

    use super::*;
    use crate::Error;

    /// Sizes of the batches of texts of these lengths.
    fn sizes(plan: BatchPlan, lengths: &[usize]) -> Vec<usize> {
        let order: Vec<usize> = (0..lengths.len()).collect();
        let batches = text_batches(plan, &order, |row| lengths[row]);
        assert_eq!(batches.concat(), order);
        batches.into_iter().map(<[usize]>::len).collect()
    }

    #[test]
    fn a_count_of_texts_is_kept_whatever_their_length() {
        assert_eq!(sizes(BatchPlan::of_rows(1, 2), &[1, 5, 9, 900, 900]), [2, 2, 1]);
        assert_eq!(sizes(BatchPlan::of_rows(1, 0), &[1, 1]), [1, 1]);
        assert!(sizes(BatchPlan::of_rows(1, 2), &[]).is_empty());
    }

    #[test]
    fn a_budget_of_tokens_counts_padding() {
        let plan = BatchPlan { images: 1, texts: 4, tokens: Some(12) };
        // Of six texts of 2 tokens four are the most; with 5 tokens three texts would take 15.
        assert_eq!(sizes(plan, &[2, 2, 2, 2, 2, 2, 5, 6, 12, 13, 50]), [4, 2, 2, 1, 1, 1]);
        assert_eq!(sizes(plan, &[3, 3, 3, 4]), [3, 1]);
    }

    /// Finds a batch where `rates` are those of the batches 1, 2, 4 ..., none standing for no memory; tells what was tried.
    fn found(start: usize, most: usize, rates: &[Option<f64>]) -> (usize, Vec<usize>) {
        let mut tried = Vec::new();
        let batch = find(start, most, |batch| {
            tried.push(batch);
            Ok(rates[batch.ilog2() as usize])
        });
        (batch.unwrap(), tried)
    }

    #[test]
    fn a_batch_grows_while_that_pays_5_percent() {
        let rates = [10.0, 20.0, 30.0, 31.5, 33.0, 99.0].map(Some);
        assert_eq!(found(2, 32, &rates), (8, vec![2, 4, 8, 16]));
        assert_eq!(found(2, 4, &rates), (4, vec![2, 4]));
        assert_eq!(found(0, 1, &rates), (1, vec![1]));
    }

    #[test]
    fn a_batch_is_halved_where_memory_does_not_suffice() {
        let rates = [Some(10.0), Some(20.0), Some(40.0), None, None];
        assert_eq!(found(2, 16, &rates), (4, vec![2, 4, 8]));
        assert_eq!(found(16, 16, &rates), (4, vec![16, 8, 4]));
        assert_eq!(found(4, 16, &[None; 3]), (1, vec![4, 2, 1]));
    }

    #[test]
    fn only_a_want_of_memory_is_taken_for_one() {
        let torch = |words: &str| Error::from(TchError::Torch(words.to_owned()));
        for words in ["CUDA out of memory. Tried to allocate 2.00 GiB.\nstack", "CUDA error: out of memory"] {
            assert_eq!(rate(1, || Err(torch(words))).unwrap(), None);
            assert!(torch(words).hint().is_some_and(|hint| hint.contains("--batch")));
        }
        assert!(rate(1, || Err(torch("CUDA error: an illegal memory access was encountered"))).is_err());
        assert!(rate(1, || Ok(())).unwrap().is_some_and(|rate| rate > 0.0));
    }

    #[test]
    fn batches_are_found_by_what_the_teacher_takes() -> Result<()> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden");
        let plan = |name: &str| {
            let teacher = Teacher::open(&golden.join(name), Device::Cpu, Dtype::F32)?;
            find_plan_within(&teacher, name != "siglip2-naflex", true, [1, 2], [64, 128])
        };
        for name in ["clip", "bert", "dinov2", "siglip2-naflex"] {
            let BatchPlan { images, texts, tokens } = plan(name)?;
            assert!(
                [1, 2].contains(&images) && [Some(64), Some(128)].contains(&tokens),
                "{name}: {images}, {tokens:?}"
            );
            assert_eq!(Some(texts * TOKENS_A_TEXT), tokens, "{name}");
        }
        Ok(())
    }
}
