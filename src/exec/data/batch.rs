//! Samples put together to the batches that an input takes.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use super::Batches;
use crate::exec::sample::Input;
use crate::ir::{DType, Tensor};

/// Bytes that one sample of an input may take: a header, or a few compressed bytes, can claim any number.
pub(super) const LARGEST_SAMPLE: usize = 1 << 30;

/// Where a sample comes from. A batch comes from where its first sample does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a file, or a folder of ONNX test data.
    File {
        /// Which.
        file: PathBuf,
        /// Which sample of the file, from 0, where it may hold several.
        index: Option<usize>,
    },
    /// It was made up.
    MadeUp {
        /// Which, from 0.
        index: u64,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, index: None } => write!(f, "{}", file.display()),
            Origin::File { file, index: Some(index) } => write!(f, "{}, sample {index}", file.display()),
            Origin::MadeUp { index } => write!(f, "random sample {index}"),
        }
    }
}

/// What one input gets in a run.
pub(super) struct Fed {
    pub(super) tensor: Tensor,
    pub(super) origin: Origin,
}

/// Samples on their way to the batches of an input.
pub(super) struct Batcher {
    dtype: DType,
    /// How many make a batch; open without.
    batch: Option<usize>,
    batches: Batches,
    /// Batches so far.
    sent: usize,
    /// Samples of the batch that is being put together, and their sizes.
    waiting: Vec<Bytes>,
    inner: Vec<usize>,
    /// Where the first of them comes from.
    first: Option<Origin>,
}

/// What is left when there are no more samples.
pub(super) enum Rest {
    Nothing,
    /// So many samples that make no batch of so many.
    Dropped(usize, usize),
    /// The only batch, in which so many samples come again and again.
    Wrapped(Fed, usize, usize),
}

impl Batcher {
    pub(super) fn new(input: &Input, batches: Batches) -> Batcher {
        let batch = fixed(input);
        Batcher { dtype: input.dtype, batch, batches, sent: 0, waiting: Vec::new(), inner: Vec::new(), first: None }
    }

    /// Take one sample of these sizes; the batch, when it is complete.
    pub(super) fn take(&mut self, inner: &[usize], sample: Bytes, origin: Origin) -> Result<Option<Fed>, String> {
        if self.waiting.is_empty() {
            self.inner = inner.to_vec();
            self.first = Some(origin);
        } else if self.inner != inner {
            return Err(format!("has sizes {inner:?}, the one before {:?}, which are no batch", self.inner));
        }
        let wanted = match (self.batch, self.batches) {
            (Some(n), _) => n,
            (None, Batches::One) => 1,
            (None, Batches::OneAndTwo) => 1 + self.sent % 2,
        };
        if sample.len().checked_mul(wanted).is_none_or(|bytes| bytes > LARGEST_SAMPLE) {
            return Err(format!("takes {} bytes, and {wanted} of them, which make a batch, too many", sample.len()));
        }
        self.waiting.push(sample);
        if self.waiting.len() < wanted { Ok(None) } else { self.batch(wanted) }
    }

    /// What is to be done with samples that make no batch: those behind a whole batch are left out, others fill one.
    pub(super) fn rest(&mut self) -> Result<Rest, String> {
        let Some(batch) = self.batch.filter(|_| !self.waiting.is_empty()) else { return Ok(Rest::Nothing) };
        let samples = self.waiting.len();
        if self.sent > 0 {
            return Ok(Rest::Dropped(samples, batch));
        }
        for i in 0..batch.saturating_sub(samples) {
            self.waiting.push(self.waiting[i % samples].clone());
        }
        Ok(self.batch(batch)?.map_or(Rest::Nothing, |fed| Rest::Wrapped(fed, samples, batch)))
    }

    fn batch(&mut self, size: usize) -> Result<Option<Fed>, String> {
        let bytes = match &self.waiting[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        self.waiting.clear();
        self.sent += 1;
        let tensor = Tensor::raw(self.dtype, &[&[size], &self.inner[..]].concat(), bytes).map_err(|e| e.to_string())?;
        Ok(self.first.take().map(|origin| Fed { tensor, origin }))
    }
}

/// The size of the batches that `input` takes, where it is fixed.
pub(super) fn fixed(input: &Input) -> Option<usize> {
    input.dims.first().and_then(|d| d.known()).and_then(|n| usize::try_from(n).ok()).map(|n| n.max(1))
}
