//! Answers of queries, unless Ctrl-C comes first.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{Either, select};
use retort_sql::Error::Interrupted;
use retort_sql::{Format, Names, SessionContext};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::ctrl_c;

use crate::failure;

/// Longest that what cannot be stopped is waited for, once nobody wants its answer.
const LEAVING: Duration = Duration::from_secs(1);

/// The threads that answer. Nothing is kept that Ctrl-C could cost, so that it ends what is being answered; a
/// second one ends the process at once.
pub(super) struct Answers(Option<Runtime>);

impl Answers {
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build();
        Ok(Self(Some(runtime.context("cannot start the threads that answer queries")?)))
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
        let runtime = self.runtime()?;
        // It waits in vain for whoever does not read the answer.
        let at_once = runtime.spawn(async {
            for _ in 0..2 {
                let _ = ctrl_c().await;
            }
            std::process::exit(failure::INTERRUPTED.into())
        });
        let answered = runtime.block_on(async {
            // Asked for first: from then on Ctrl-C ends no longer the process.
            let stopped = pin!(ctrl_c());
            match select(stopped, pin!(retort_sql::run(context, queries, format, out))).await {
                Either::Left(_) => Err(Interrupted.into()),
                Either::Right((answered, _)) => Ok(answered?),
            }
        });
        at_once.abort();
        answered
    }

    pub(super) fn names(&self, context: &SessionContext) -> Result<Names> {
        Ok(self.runtime()?.block_on(Names::of(context))?)
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.0.as_ref().context("the threads that answer queries have ended")
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(LEAVING);
        }
    }
}
