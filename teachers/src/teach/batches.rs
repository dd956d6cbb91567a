//! How many rows make a batch.

use retort_schemas::manifest::BatchPlan;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
