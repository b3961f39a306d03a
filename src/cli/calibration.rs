//! Where ranges come from, as the command line says it: samples to run the model on, or statistics that were saved.

#![allow(dead_code, reason = "the verbs that quantize flatten it")]

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::calibrate::{Fingerprint, Gathered, HeldOut, Saved, Source, Split, Wanted, gather};
use crate::cli::preparing;
use crate::cli::progress::Progress;
use crate::edit::Layout;
use crate::exec::{Executor, Imaging};
use crate::model::Model;

/// Under this the help lists these options.
const CALIBRATION: &str = "Calibration";

/// What `--calib` says for samples that are made up.
const RANDOM: &str = "random";

/// What made-up samples are made from.
const SEED: u64 = 0;

/// Samples to calibrate on, and statistics of them.
#[derive(Debug, Args)]
pub(super) struct Calibration {
    /// Samples of what the model will see: an .npz file with an array for each input, under its name, an .npy file or an
    /// image for the only input, a folder of such files, or ONNX test data. `random` makes samples up: the ranges that
    /// follow from them are not real
    #[arg(help_heading = CALIBRATION, long, value_name = "PLACE")]
    pub calib: Option<PathBuf>,
    /// Take at most this many samples, evenly from all [default: 512; 16 made-up ones]
    #[arg(help_heading = CALIBRATION, long, value_name = "N", value_parser = count)]
    pub samples: Option<usize>,
    /// Save what the tensors held, to calibrate again without running the model
    #[arg(help_heading = CALIBRATION, long, value_name = "FILE")]
    pub save_stats: Option<PathBuf>,
    /// Take what the tensors held from these files, instead of running the model on samples; several are added up. With
    /// --calib too, samples of it are what quality is measured on
    #[arg(help_heading = CALIBRATION, long, value_name = "FILE", num_args = 1..)]
    pub stats: Vec<PathBuf>,
    /// Multiply each byte of an image by this first: 1/255
    #[arg(help_heading = CALIBRATION, long, value_name = "X", value_parser = preparing::number)]
    pub scale: Option<f64>,
    /// Subtract this from each channel of an image then: 0.485,0.456,0.406
    #[arg(help_heading = CALIBRATION, long, value_name = "X,X…", value_delimiter = ',', value_parser = preparing::number)]
    #[arg(allow_hyphen_values = true)]
    pub mean: Vec<f64>,
    /// Divide each channel of an image by this last: 0.229,0.224,0.225
    #[arg(help_heading = CALIBRATION, long, value_name = "X,X…", value_delimiter = ',', value_parser = preparing::number)]
    pub std: Vec<f64>,
    /// Where the model's input has the channels of an image: nchw or nhwc [default: the axis of size 1 or 3]
    #[arg(help_heading = CALIBRATION, long, value_name = "LAYOUT", value_parser = preparing::layout)]
    pub layout: Option<Layout>,
    /// Bring images to this size [default: the input's]
    #[arg(help_heading = CALIBRATION, long, value_name = "HxW", value_parser = preparing::fixed_size)]
    pub resize: Option<(usize, usize)>,
    /// The order in which the model takes the channels of an image: rgb or bgr
    #[arg(help_heading = CALIBRATION, id = "calib_channel_order", long = "channel-order", value_name = "ORDER")]
    #[arg(action = clap::ArgAction::Set, value_parser = preparing::swapped, default_value = "rgb")]
    pub swapped: bool,
}

/// What is known of a model's tensors, and what to measure on.
pub(super) struct Calibrated {
    /// What the tensors held. [`Gathered::made_up`] tells whether samples were, so that a report can say loudly that
    /// ranges are not real.
    pub gathered: Gathered,
    /// Samples to measure on; none with statistics from files alone.
    pub held_out: Option<HeldOut>,
}

impl Calibration {
    /// Whether there is anything to calibrate from.
    pub(super) fn is_given(&self) -> bool {
        self.calib.is_some() || !self.stats.is_empty()
    }

    /// Where samples come from, if from anywhere.
    ///
    /// # Errors
    /// When there is nothing that is known.
    pub(super) fn source(&self) -> anyhow::Result<Option<Source>> {
        let Some(place) = &self.calib else { return Ok(None) };
        if place.as_os_str() == RANDOM {
            return Ok(Some(Source::Random(SEED)));
        }
        Ok(Some(Source::open(place, self.imaging())?))
    }

    fn imaging(&self) -> Imaging {
        Imaging {
            scale: self.scale.unwrap_or(1.0),
            mean: self.mean.clone(),
            std: self.std.clone(),
            layout: self.layout,
            swapped: self.swapped,
            size: self.resize,
        }
    }

    /// Find out what the tensors of `model` hold: from files of statistics, or by running it on samples. `given` is of
    /// the model as it was read.
    ///
    /// # Errors
    /// For files that are not what they should be, and for an engine that cannot run the model.
    pub(super) fn calibrate(
        &self,
        given: &Fingerprint,
        model: &Model,
        wanted: &Wanted,
        engine: &dyn Executor,
        progress: &Progress,
    ) -> anyhow::Result<Calibrated> {
        let samples = self.source()?.map(|source| source.samples(model, engine, self.samples)).transpose()?;
        let mut split = samples.map(Split::new);
        let gathered = match (&self.stats[..], &mut split) {
            ([], Some(split)) => {
                let total = split.total();
                gather(model, wanted, split, engine, &progress.samples(total))?
            }
            ([], None) => {
                anyhow::bail!("there is nothing to calibrate from: --calib names samples, --stats statistics")
            }
            (files, _) => self::merged(files, given)?,
        };
        if let Some(file) = &self.save_stats {
            Saved::new(given, gathered.clone()).write(file).context("statistics cannot be saved")?;
        }
        Ok(Calibrated { gathered, held_out: split.map(Split::finish).transpose()? })
    }
}

/// What files of statistics hold together.
fn merged(files: &[PathBuf], given: &Fingerprint) -> anyhow::Result<Gathered> {
    let mut gathered = Gathered::default();
    for file in files {
        gathered.merge(&Saved::read(file, given)?);
    }
    Ok(gathered)
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("\"{text}\" is not a number of samples"))
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::cli::args::Noise;
    use crate::exec::tract::Tract;
    use crate::text::parse;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        calibration: Calibration,
    }

    fn said(words: &[&str]) -> Result<Calibration, String> {
        let line = Line::try_parse_from([&["verb"], words].concat());
        line.map(|l| l.calibration).map_err(|e| e.to_string())
    }

    fn model() -> Model {
        parse(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,4,4] x) => (float[n,3,4,4] y) { y = Relu(x) }"#)
            .unwrap()
    }

    fn calibrated(words: &[&str]) -> anyhow::Result<Calibrated> {
        let (model, noise) = (model(), Noise { verbose: 0, quiet: true });
        let progress = Progress::new(1, noise);
        said(words).unwrap().calibrate(&Fingerprint::of(&model), &model, &Wanted::all(), &Tract, &progress)
    }

    #[test]
    fn images_are_prepared_as_is_said() {
        let words = ["--calib", "images", "--mean", "-0.5,0.25,1", "--std", "2", "--scale", "1/255"];
        let all = [&words[..], &["--layout", "nhwc", "--resize", "4x6", "--channel-order", "bgr"]].concat();
        let imaging = said(&all).unwrap().imaging();
        assert_eq!((imaging.mean, imaging.std, imaging.scale), (vec![-0.5, 0.25, 1.0], vec![2.0], 1.0 / 255.0));
        assert_eq!((imaging.layout, imaging.size, imaging.swapped), (Some(Layout::Nhwc), Some((4, 6)), true));
        let plain = said(&[]).unwrap();
        assert!(!plain.is_given() && plain.imaging() == Imaging::default());
        for wrong in [["--samples", "0"], ["--resize", "any"], ["--layout", "chw"], ["--channel-order", "gbr"]] {
            assert!(said(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn made_up_samples_are_told_from_real_ones() {
        let c = calibrated(&["--calib", "random", "--samples", "9"]).unwrap();
        assert!(c.gathered.made_up && !said(&["--calib", "random"]).unwrap().source().unwrap().unwrap().is_real());
        let held_out = c.held_out.unwrap();
        assert_eq!((c.gathered.runs, held_out.samples.len(), held_out.is_shared), (8, 1, false));
        assert!(c.gathered.of("y").unwrap().max > 1.0);
    }

    #[test]
    fn statistics_are_saved_and_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (a, sum) = (file("a.json"), file("sum.json"));
        let once = calibrated(&["--calib", "random", "--samples", "4", "--save-stats", &a]).unwrap().gathered;
        let twice = calibrated(&["--stats", &a, &a, "--save-stats", &sum]).unwrap();
        assert!(twice.held_out.is_none() && twice.gathered.made_up);
        assert_eq!((twice.gathered.runs, twice.gathered.tensors["x"].samples), (2 * once.runs, 8));
        assert_eq!(twice.gathered.tensors["x"].max, once.tensors["x"].max);
        let measured = calibrated(&["--stats", &sum, "--calib", "random", "--samples", "2"]).unwrap();
        assert_eq!((measured.gathered.runs, measured.held_out.unwrap().samples.len()), (8, 2));
        let refused = |words: &[&str]| calibrated(words).err().unwrap().to_string();
        assert!(refused(&[]).contains("nothing to calibrate from"));
        assert!(refused(&["--stats", &file("none.json")]).contains("none.json"));
        assert!(refused(&["--calib", &file("none.npz")]).contains("none.npz"));
    }
}
