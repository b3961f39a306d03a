//! Samples to calibrate on: a caller's, or made-up ones, one run's inputs after another.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::exec::sample;
use crate::exec::{Batches, Data, DataError, Executor, Feeds, Imaging, MadeUp, Notes, Origin, is_taken};
use crate::ir::{DType, Tensor};
use crate::model::Model;

/// One tensor per input.
pub type Feed = Vec<(String, Tensor)>;

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// From files: what the tensors hold is what they hold in use, as far as the samples are like what is used.
    Files(Data),
    /// Made up from a seed: ranges that follow from them are not real.
    Random(u64),
}

/// How many samples are made up where it is not said.
const MADE_UP: usize = 16;

/// The most samples that are taken from files where it is not said: the range of a tensor hardly moves beyond.
const MOST: usize = 512;

impl Source {
    /// The samples at a place: an `.npz` file with an array for each input, under its name; an `.npy` file for a model
    /// of one input; an image; a folder of any of these, images also in its folders; ONNX test data
    /// (`test_data_set_0/input_0.pb`, …).
    ///
    /// # Errors
    /// When there is nothing that is known, or it is said what to do with images and there are none.
    pub fn open(place: impl AsRef<Path>, imaging: Imaging) -> Result<Source, DataError> {
        let data = Data::open(place)?;
        if imaging != Imaging::default() && !data.is_images() {
            let reason = "these are no images: scale, mean, std, layout, size and order of channels are for images";
            return Err(DataError::Unknown { place: data.place().to_path_buf(), reason });
        }
        Ok(Source::Files(data.imaged(imaging)))
    }

    /// Whether ranges that follow from these samples are worth anything.
    pub fn is_real(&self) -> bool {
        matches!(self, Source::Files(_))
    }

    /// What goes into `model`, run by run: at most `most` samples, evenly from all. Batches are of the size that the
    /// model fixes, or of 1.
    ///
    /// # Errors
    /// For samples that do not fit the model, as far as headers of files tell, and for a model that nothing can be made
    /// up for: `engine` is asked what it runs on.
    pub fn samples(&self, model: &Model, engine: &dyn Executor, most: Option<usize>) -> Result<Samples, DataError> {
        let unknown = |reason| DataError::Model { reason };
        let data = match self {
            Source::Random(seed) => {
                let made = MadeUp::new(model, engine, *seed).map_err(unknown)?;
                let total = most.unwrap_or(MADE_UP).max(1);
                let notes = Notes::default();
                return Ok(Samples {
                    from: From::Random(made),
                    place: "random".into(),
                    total,
                    taken: total,
                    at: 0,
                    notes,
                });
            }
            Source::Files(data) => data,
        };
        let inputs = sample::inputs(model).map_err(unknown)?;
        let mut data = data.clone();
        let notes = data.notes();
        let most = most.unwrap_or(MOST).max(1);
        data.thin(most.max(sample::fixed_batch(&inputs)));
        let (total, batch) = data.total(&inputs, &notes)?;
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let feeds = data.feeds(&inputs, Batches::One, &notes)?;
        let taken = total.min((most / batch).max(1));
        if taken < total {
            notes.add(format!("{}: {taken} of {total} runs are made, evenly from all", data.place().display()));
        }
        Ok(Samples { from: From::Files(feeds), place: data.place().to_path_buf(), total, taken, at: 0, notes })
    }
}

/// The inputs of one run. No float among them is NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    feed: Feed,
    origin: Origin,
}

impl Sample {
    /// `feed`, which is from `origin`.
    ///
    /// # Errors
    /// When there is a NaN or an infinity in it.
    pub fn new(feed: Feed, origin: Origin) -> Result<Sample, DataError> {
        for (input, tensor) in &feed {
            let reason = match not_finite(tensor) {
                None => continue,
                Some(x) if x.is_nan() => "holds NaN",
                Some(_) => "holds infinity",
            };
            return Err(DataError::Sample { origin, input: input.clone(), reason: reason.into() });
        }
        Ok(Sample { feed, origin })
    }

    /// One tensor per input.
    pub fn feed(&self) -> &[(String, Tensor)] {
        &self.feed
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Bytes that its tensors take.
    pub fn bytes(&self) -> usize {
        self.feed.iter().map(|(_, tensor)| tensor.stored_bytes()).sum()
    }
}

impl Deref for Sample {
    type Target = [(String, Tensor)];

    fn deref(&self) -> &[(String, Tensor)] {
        &self.feed
    }
}

/// The first element that is no finite number.
fn not_finite(tensor: &Tensor) -> Option<f64> {
    match tensor.dtype() {
        DType::F32 => {
            let bytes = tensor.bytes()?;
            let mut elements = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
            elements.find(|x| !x.is_finite()).map(f64::from)
        }
        DType::F16 | DType::BF16 | DType::F64 => tensor.reals()?.into_iter().find(|x| !x.is_finite()),
        _ => None,
    }
}

/// Samples on their way from where they are. Files are read one step ahead and no further.
pub struct Samples {
    from: From,
    place: PathBuf,
    /// Runs that there is data for.
    total: usize,
    /// Runs of these that are made.
    taken: usize,
    /// Feeds that were read.
    at: usize,
    notes: Notes,
}

enum From {
    Files(Feeds),
    Random(MadeUp),
}

impl Samples {
    /// How many there are.
    pub fn total(&self) -> u64 {
        self.taken as u64
    }

    /// What there is to say of the data. More may come while they are read.
    pub fn notes(&self) -> Vec<String> {
        self.notes.said()
    }

    fn read(&mut self) -> Option<Result<(Feed, Origin), DataError>> {
        match &mut self.from {
            From::Files(feeds) => feeds.next(),
            From::Random(made) => {
                if self.at >= self.total {
                    return None;
                }
                let index = self.at as u64;
                let too_large = || DataError::Model { reason: "made-up inputs of these sizes are too large".into() };
                Some(made.feed(index).map(|feed| (feed, Origin::MadeUp { index })).ok_or_else(too_large))
            }
        }
    }
}

impl Iterator for Samples {
    type Item = Result<Sample, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(read) = self.read() else {
                let is_empty = self.at == 0;
                self.at = self.at.max(1);
                return is_empty.then(|| Err(DataError::Empty { place: self.place.clone() }));
            };
            let index = self.at;
            self.at += 1;
            let (feed, origin) = match read {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            if is_taken(index, self.taken, self.total) {
                return Some(Sample::new(feed, origin));
            }
        }
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::text::parse;
    use npyz::WriterBuilder;

    fn model(inputs: &str) -> Model {
        parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float[] y) {{ y = Relu(x) }}"#))
            .unwrap()
    }

    /// `x` and `z`, of so many samples of one element: 0, 1, 2, …
    fn place(x: u32, z: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut file = npyz::npz::NpzWriter::create(folder.path().join("s.npz")).unwrap();
        for (name, n) in [("x", x), ("z", z), ("labels", 1)] {
            let array = file.array(name, Default::default()).unwrap().default_dtype().shape(&[n.into(), 1]);
            let mut array = array.begin_nd().unwrap();
            array.extend((0..n).map(|i| if i == 40 { f32::NAN } else { i as f32 })).unwrap();
            array.finish().unwrap();
        }
        folder
    }

    fn samples(place: &tempfile::TempDir, inputs: &str, most: Option<usize>) -> Result<Samples, DataError> {
        Source::open(place.path(), Imaging::default())?.samples(&model(inputs), &Tract, most)
    }

    fn firsts(samples: Samples) -> Vec<f64> {
        samples.map(|s| s.unwrap().feed()[0].1.real(0).unwrap()).collect()
    }

    #[test]
    fn at_most_so_many_are_taken_from_all() {
        let place = place(12, 12);
        let of = |inputs, most| samples(&place, inputs, most).unwrap();
        assert_eq!(firsts(of("float[n,1] x", Some(4))), [2.0, 5.0, 8.0, 11.0]);
        assert_eq!((of("float[n,1] x", Some(4)).total(), of("float[n,1] x", None).total()), (4, 12));
        assert!(of("float[n,1] x", Some(4)).notes()[0].contains("4 of 12 runs"));
        // Samples are counted, not runs.
        assert_eq!((of("float[3,1] x", Some(6)).total(), firsts(of("float[3,1] x", Some(6)))), (2, vec![3.0, 9.0]));
        assert_eq!(of("float[3,1] x", Some(1)).total(), 1);
    }

    #[test]
    fn the_input_with_the_fewest_samples_counts() {
        let place = place(12, 5);
        let s = samples(&place, "float[n,1] x, float[n,1] z", None).unwrap();
        assert_eq!(s.total(), 5);
        assert!(s.notes()[0].contains("12 samples for input \"x\" and 5 for \"z\""), "{:?}", s.notes());
        assert_eq!(s.count(), 5);
    }

    #[test]
    fn what_is_no_number_names_its_place() {
        let place = place(50, 1);
        let found: Result<Vec<Sample>, DataError> = samples(&place, "float[n,1] x", None).unwrap().collect();
        let said = found.unwrap_err().to_string();
        assert!(said.ends_with("s.npz, sample 40 for input \"x\" holds NaN"), "{said}");
    }

    #[test]
    fn what_is_for_images_is_said_of_images() {
        let scaled = Imaging { scale: 0.5, ..Imaging::default() };
        let refused = Source::open(place(1, 1).path(), scaled).unwrap_err().to_string();
        assert!(refused.contains("these are no images"), "{refused}");
    }

    #[test]
    fn an_empty_set_is_an_error() {
        let place = place(0, 1);
        let mut none = samples(&place, "float[n,1] x", None).unwrap();
        assert!(matches!(none.next(), Some(Err(DataError::Empty { .. }))));
        assert!(none.next().is_none());
    }

    #[test]
    fn made_up_samples_are_as_many_as_asked_for() {
        let model = model("float[n,1] x");
        let of =
            |most| Source::Random(1).samples(&model, &Tract, most).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!((of(None).len(), of(Some(3)).len()), (16, 3));
        assert_eq!(of(Some(3)), of(Some(3)));
        assert_eq!(of(Some(3))[2].origin().to_string(), "random sample 2");
    }
}
