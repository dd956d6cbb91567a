//! Answers of queries, unless Ctrl-C comes first.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{Either, select};
use retort_sql::Error::Interrupted;
use retort_sql::{Format, Names, SessionContext};
use tokio::runtime::{Builder, Runtime};

use super::interrupts::Interrupts;

/// Longest that what cannot be stopped is waited for, once nobody wants its answer.
const LEAVING: Duration = Duration::from_secs(1);

/// The threads that answer. Nothing is kept that Ctrl-C could cost, so that it ends what is being answered; a
/// second one ends the process at once.
pub(super) struct Answers {
    runtime: Option<Runtime>,
    interrupts: Interrupts,
}

impl Answers {
    /// For somebody who asks again and again.
    pub(super) fn new() -> Result<Self> {
        Self::of(Interrupts::default())
    }

    /// For one text of queries: what cannot be stopped ends with the process.
    pub(super) fn once() -> Result<Self> {
        Self::of(Interrupts::with_patience(LEAVING))
    }

    fn of(interrupts: Interrupts) -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build();
        Ok(Self { runtime: Some(runtime.context("cannot start the threads that answer queries")?), interrupts })
    }

    /// # Errors
    /// [`Interrupted`] if Ctrl-C came first; otherwise those of the queries.
    pub(super) fn write(
        &self,
        context: &SessionContext,
        queries: &str,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        let mut stop = self.interrupts.answering(context)?;
        self.runtime()?.block_on(async {
            match select(stop.asked(), pin!(retort_sql::run(context, queries, format, out))).await {
                Either::Left(_) => Err(Interrupted.into()),
                Either::Right((answered, _)) => Ok(answered?),
            }
        })
    }

    pub(super) fn names(&self, context: &SessionContext) -> Result<Names> {
        Ok(self.runtime()?.block_on(Names::of(context))?)
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("the threads that answer queries have ended")
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LEAVING);
        }
    }
}
