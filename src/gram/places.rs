//! Where the patches that a layer reads lie in its operand, and what they make in its result.

use smallvec::SmallVec;

use crate::ops::CallView;
use crate::ops::pool::{CEIL_MODE, kernel_shape};
use crate::ops::window::{AUTO_PAD, Padding, Windows};

/// How the windows of a convolution slide.
#[derive(Clone, Debug)]
pub struct Sliding {
    windows: Windows,
    /// Each element of the operand is spread over a window of the result.
    pub(super) is_transposed: bool,
    /// The odd element of padding comes first, where padding follows from sizes.
    odd_first: bool,
    /// Places at the end of a transposed convolution's result beyond those that windows end at.
    extra: SmallVec<[i64; 8]>,
}

impl Sliding {
    /// The windows of `call` on `n` spatial axes.
    ///
    /// # Errors
    /// Why they are not told.
    pub(super) fn of(call: &CallView<'_>, n: usize, is_transposed: bool) -> Result<Sliding, &'static str> {
        let windows = Windows::of(call, n).ok_or("its windows are malformed")?;
        let extra = call.per_axis("output_padding", n, 0).ok_or("its windows are malformed")?;
        if is_transposed && (windows.padding != Padding::Explicit || call.node().attr("output_shape").is_some()) {
            return Err("its padding follows from its size");
        }
        if windows.pads.iter().chain(&extra).any(|&p| p < 0) {
            return Err("its padding is negative");
        }
        let odd_first = AUTO_PAD.of(call.node()) == "SAME_LOWER";
        Ok(Sliding { windows, is_transposed, odd_first, extra })
    }

    /// Windows of one element, at every element.
    pub(super) fn of_single_elements(&self) -> Sliding {
        let n = self.windows.strides.len();
        let windows = Windows {
            padding: Padding::Valid,
            strides: SmallVec::from_elem(1, n),
            dilations: SmallVec::from_elem(1, n),
            pads: SmallVec::from_elem(0, 2 * n),
        };
        Sliding { windows, is_transposed: false, odd_first: false, extra: SmallVec::from_elem(0, n) }
    }

    /// The elements along `axis` of `size` that a kernel of `taps` elements reads at each place, one after another.
    fn axis(&self, axis: usize, size: usize, taps: usize) -> Option<Axis> {
        let [size, kernel] = [size, taps].map(|n| i64::try_from(n).ok());
        let (size, kernel) = (size?, kernel?);
        let (stride, dilation) = (self.windows.strides[axis], self.windows.dilations[axis]);
        let span = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
        let (explicit, after) = self.windows.pads(axis)?;
        let (before, places) = if self.is_transposed {
            let whole = (size - 1).checked_mul(stride)?.checked_add(span)?.checked_add(self.extra[axis])?;
            (explicit, whole.checked_sub(explicit)?.checked_sub(after)?)
        } else if self.windows.padding == Padding::Same {
            let places = (size - 1) / stride + 1;
            let total = ((places - 1).checked_mul(stride)?.checked_add(span)? - size).max(0);
            (if self.odd_first { total - total / 2 } else { total / 2 }, places)
        } else {
            let slack = size.checked_add(explicit)?.checked_add(after)?.checked_sub(span)?;
            (explicit, if slack < 0 { 0 } else { slack / stride + 1 })
        };
        let places = usize::try_from(places).ok().filter(|&n| n > 0 && n.saturating_mul(taps) <= MOST_READ)?;
        let mut sources = Vec::with_capacity(places.checked_mul(taps)?);
        for place in 0..places as i64 {
            for tap in 0..kernel {
                let source = if self.is_transposed {
                    let from = place + before - tap * dilation;
                    (from % stride == 0).then_some(from / stride)
                } else {
                    (place * stride + tap * dilation).checked_sub(before)
                };
                let inside = source.filter(|s| (0..size).contains(s));
                sources.push(inside.and_then(|s| usize::try_from(s).ok()).unwrap_or(NOWHERE));
            }
        }
        Some(Axis { sources, taps, places })
    }
}

/// Axes along which windows read more elements than this are not looked at.
const MOST_READ: usize = 1 << 26;

/// What reads padding.
pub const NOWHERE: usize = usize::MAX;

#[derive(Clone, Debug)]
struct Axis {
    /// For each place and each element of the kernel, the element that is read.
    sources: Vec<usize>,
    taps: usize,
    places: usize,
}

/// The rows of patches of one operand, and where their results are.
#[derive(Clone, Debug)]
pub struct Places {
    /// How many rows there are.
    pub rows: usize,
    /// What each element is multiplied with.
    pub factor: f32,
    /// From one channel of the operand to the next.
    channel_stride: usize,
    /// From one output of the result to the next.
    pub output_stride: usize,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    /// A row begins at so many elements behind the one before; results lie one after another.
    Rows { stride: usize },
    /// Windows; `batch` elements and `positions` places belong to each sample of a batch.
    Windows { axes: Vec<Axis>, strides: Vec<usize>, batch: usize, positions: usize },
}

impl Places {
    pub(super) fn of_rows(rows: usize, stride: usize, channel_stride: usize, factor: f32) -> Places {
        Places { rows, factor, channel_stride, output_stride: 1, at: At::Rows { stride } }
    }

    pub(super) fn of_windows(sliding: &Sliding, input: &[usize], weight: &[usize]) -> Option<Places> {
        let spatial = input.get(2..).filter(|spatial| spatial.len() + 2 == weight.len())?;
        let axes = (0..spatial.len()).map(|axis| sliding.axis(axis, spatial[axis], weight[axis + 2]));
        let axes: Vec<Axis> = axes.collect::<Option<_>>()?;
        let strides = (0..spatial.len()).map(|axis| spatial[axis + 1..].iter().product()).collect();
        let positions = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.places))?;
        let channel_stride: usize = spatial.iter().product();
        let batch = input[1].checked_mul(channel_stride)?;
        let rows = input[0].checked_mul(positions)?;
        let at = At::Windows { axes, strides, batch, positions };
        Some(Places { rows, factor: 1.0, channel_stride, output_stride: positions, at })
    }

    /// Where the first output of `row` is in a result of so many outputs.
    pub fn result(&self, row: usize, outputs: usize) -> usize {
        match &self.at {
            At::Rows { .. } => row * outputs,
            At::Windows { positions, .. } => row / positions * outputs * positions + row % positions,
        }
    }

    /// The windows of a pool over an operand of these sizes, each over one channel, and how many elements they have.
    /// `None` where windows hang over the end.
    pub fn of_pool(call: &CallView<'_>, input: &[usize]) -> Option<(Places, usize)> {
        let n = input.len().checked_sub(2).filter(|&n| n > 0)?;
        if CEIL_MODE.of(call.node()) || input.contains(&0) {
            return None;
        }
        let kernel = kernel_shape(call, n)?;
        let kernel = kernel.iter().map(|&k| usize::try_from(k).ok()).collect::<Option<Vec<_>>>()?;
        let weight = [&[1, 1], &kernel[..]].concat();
        let sliding = Sliding::of(call, n, false).ok()?;
        let taps = kernel.iter().try_fold(1usize, |taps, &k| taps.checked_mul(k))?;
        Some((Places::of_windows(&sliding, input, &weight)?, taps))
    }

    /// From one channel of the operand to the next.
    pub fn channel_stride(&self) -> usize {
        self.channel_stride
    }

    /// For each of `taps` elements of the kernel, and for each row, which element of the first channel it reads;
    /// [`NOWHERE`] for padding.
    pub fn reads(&self, taps: usize) -> Vec<usize> {
        let mut reads = vec![NOWHERE; taps * self.rows];
        let mut offsets = Vec::with_capacity(taps);
        for row in 0..self.rows {
            self.offsets(row, &mut offsets);
            for (tap, &offset) in offsets.iter().enumerate().take(taps) {
                reads[tap * self.rows + row] = offset;
            }
        }
        reads
    }

    /// Write the patch of `row` that begins at channel `first` to `patch`, channel by channel; `get` gives elements of
    /// the operand. `offsets` is room that is used again.
    pub fn patch(
        &self,
        row: usize,
        first: usize,
        get: impl Fn(usize) -> f32,
        offsets: &mut Vec<usize>,
        patch: &mut [f32],
    ) {
        self.offsets(row, offsets);
        for (channel, elements) in patch.chunks_mut(offsets.len()).enumerate() {
            let base = (first + channel) * self.channel_stride;
            for (element, &offset) in elements.iter_mut().zip(&*offsets) {
                *element = if offset == NOWHERE { 0.0 } else { self.factor * get(base + offset) };
            }
        }
    }

    /// Which elements of the first channel `row` reads.
    fn offsets(&self, row: usize, offsets: &mut Vec<usize>) {
        offsets.clear();
        match &self.at {
            At::Rows { stride, .. } => offsets.push(row * stride),
            At::Windows { axes, strides, batch, positions, .. } => {
                offsets.push(row / positions * batch);
                let mut rest = row % positions;
                let mut below = *positions;
                for (axis, stride) in axes.iter().zip(strides) {
                    below /= axis.places;
                    let place = rest / below;
                    rest %= below;
                    let sources = &axis.sources[place * axis.taps..(place + 1) * axis.taps];
                    let outer = offsets.len();
                    for i in 0..outer {
                        for &source in sources {
                            let at = if source == NOWHERE || offsets[i] == NOWHERE {
                                NOWHERE
                            } else {
                                offsets[i] + source * stride
                            };
                            offsets.push(at);
                        }
                    }
                    offsets.drain(..outer);
                }
            }
        }
    }
}
