//! Ctrl-C, heard on a thread of its own: those that answer may all be busy.

use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::channel::oneshot::{self, Receiver, Sender};
use retort_sql::Error::Interrupted;
use retort_sql::{SessionContext, remove_spilled};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{self, Light};

/// Stops what is being answered: the first Ctrl-C asks for it, the second one ends the process. The first of a process hears it.
#[derive(Clone, Default)]
pub(super) struct Interrupts {
    /// How long what was asked to stop may go on, if nobody is there to press again.
    patience: Option<Duration>,
    running: Arc<Mutex<Running>>,
}

#[derive(Default)]
struct Running {
    answers: u64,
    now: Option<Answering>,
}

/// What is being answered.
struct Answering {
    /// Asks for the end, once.
    stop: Option<Sender<()>>,
    context: SessionContext,
}

impl Interrupts {
    /// Ends the process by itself if an answer has not ended so long after the first Ctrl-C.
    pub(super) fn with_patience(patience: Duration) -> Self {
        Self { patience: Some(patience), ..Self::default() }
    }

    /// Something is being answered, until what is returned is dropped; from the first time on Ctrl-C ends no longer the process.
    ///
    /// # Errors
    /// If it cannot be listened for.
    pub(super) fn answering(&self, context: &SessionContext) -> Result<Stop> {
        self.listen()?;
        let (stop, asked) = oneshot::channel();
        let mut running = self.lock();
        running.answers += 1;
        running.now = Some(Answering { stop: Some(stop), context: context.clone() });
        drop(running);
        Ok(Stop { interrupts: self.clone(), asked })
    }

    fn listen(&self) -> Result<()> {
        static LISTENING: Once = Once::new();
        if LISTENING.is_completed() {
            return Ok(());
        }
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot listen for Ctrl-C")?;
        let mut presses = {
            // From here on, before anything is answered.
            let _entered = runtime.enter();
            signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?
        };
        let interrupts = self.clone();
        LISTENING.call_once(|| {
            thread::spawn(move || {
                while runtime.block_on(presses.recv()).is_some() {
                    interrupts.press();
                }
            });
        });
        Ok(())
    }

    fn press(&self) {
        let mut running = self.lock();
        let answer = running.answers;
        let Some(now) = &mut running.now else { return };
        match (now.stop.take(), self.patience) {
            (Some(stop), patience) => {
                // Whoever has just been answered does not hear it, and is not to be stopped.
                let _ = stop.send(());
                if let Some(patience) = patience {
                    let interrupts = self.clone();
                    thread::spawn(move || {
                        thread::sleep(patience);
                        interrupts.end_if_still(answer);
                    });
                }
            }
            (None, _) => end(now),
        }
    }

    fn end_if_still(&self, answer: u64) {
        let running = self.lock();
        if let Some(now) = running.now.as_ref().filter(|_| running.answers == answer) {
            failure::report(&Interrupted.into(), &Light);
            end(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the process, and leaves nothing on disk.
#[expect(clippy::exit, reason = "what does not end by itself is to end all the same")]
fn end(now: &Answering) -> ! {
    remove_spilled(&now.context);
    std::process::exit(failure::INTERRUPTED.into())
}

/// Something that is being answered and can be asked to stop.
pub(super) struct Stop {
    interrupts: Interrupts,
    asked: Receiver<()>,
}

impl Stop {
    /// Comes when Ctrl-C does.
    pub(super) fn asked(&mut self) -> &mut Receiver<()> {
        &mut self.asked
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.interrupts.lock().now = None;
    }
}
