//! What runs now, on stderr, where somebody watches and it takes a while.

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::shared::Noise;

/// Nothing is shown of what takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line that says what runs now. It goes when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Dropped to end the wait, and the thread that waits.
    waiter: Option<(Sender<()>, JoinHandle<()>)>,
    /// When runs on samples began.
    sampling: Mutex<Option<Instant>>,
}

impl Progress {
    /// For `total` models.
    pub(super) fn new(total: usize, noise: Noise) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        // Lines of the log would be torn by it.
        if noise.quiet || noise.verbose > 0 || !io::stderr().is_terminal() {
            return Progress { bar, waiter: None, sampling: Mutex::default() };
        }
        let template = if total > 1 { "{spinner} {pos}/{len} models, {elapsed}" } else { "{spinner} {msg}, {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let (sender, receiver) = mpsc::channel::<()>();
        let shown = bar.clone();
        let thread = std::thread::spawn(move || {
            if receiver.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_millis(100));
            }
        });
        Progress { bar, waiter: Some((sender, thread)), sampling: Mutex::default() }
    }

    /// This step runs now.
    pub(super) fn step(&self, name: &'static str) {
        self.bar.set_message(name);
    }

    /// So many of `total` runs on samples are done; how fast they come is counted from none.
    pub(super) fn samples(&self, done: u64, total: u64) {
        let now = Instant::now();
        let start = match self.sampling.lock() {
            Ok(mut start) if done == 0 => *start.insert(now),
            Ok(start) => start.unwrap_or(now),
            Err(_) => now,
        };
        self.bar.set_message(pace(done, total, start.elapsed()));
    }

    /// One model is done.
    pub(super) fn model_done(&self) {
        self.bar.inc(1);
    }

    /// Print without tearing the line.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

fn pace(done: u64, total: u64, elapsed: Duration) -> String {
    match done {
        0 => format!("calibrate on {total} samples"),
        _ => {
            let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
            format!("calibrate {done}/{total}, {rate:.*} samples/s", if rate < 10.0 { 1 } else { 0 })
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.waiter.take() {
            drop(sender);
            // It only waits and draws.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_by_the_second() {
        assert_eq!(pace(0, 64, Duration::ZERO), "calibrate on 64 samples");
        assert_eq!(pace(12, 64, Duration::from_secs(8)), "calibrate 12/64, 1.5 samples/s");
        assert_eq!(pace(64, 64, Duration::from_millis(500)), "calibrate 64/64, 128 samples/s");
    }
}
