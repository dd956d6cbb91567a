//! What is known of the errors of the crates that compute.

use retort::failure::{Cause, Known, Light};
use retort_cache::Error::Interrupted;

/// These crates and the others.
pub struct Torch;

impl Known for Torch {
    fn hint(&self, cause: Cause<'_>) -> Option<String> {
        let own = [
            cause.downcast_ref::<retort_teachers::Error>().and_then(retort_teachers::Error::hint),
            cause.downcast_ref::<retort_teachers::nn::Error>().and_then(retort_teachers::nn::Error::hint),
            cause.downcast_ref::<retort_trainer::Error>().and_then(retort_trainer::Error::hint),
        ];
        own.into_iter().flatten().next().or_else(|| Light.hint(cause))
    }

    fn is_interrupt(&self, cause: Cause<'_>) -> bool {
        matches!(cause.downcast_ref(), Some(retort_teachers::Error::Cache(Interrupted)))
            || matches!(cause.downcast_ref(), Some(retort_trainer::Error::Cache(Interrupted)))
            || Light.is_interrupt(cause)
    }
}
