//! Where ranges come from, as the command line says it: samples to run the model on, or statistics that were saved.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::calibrate::{self, Source};
use crate::cli::preparing;
use crate::exec::{Imaging, Layout};

/// Under this the help lists these options.
const CALIBRATION: &str = "Calibration";

/// What `--calib` says for samples that are made up.
const RANDOM: &str = "random";

/// What made-up samples are made from.
const SEED: u64 = 0;

/// When samples are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Settled {
    /// Where all of them together take more than 100 G multiply-accumulates
    #[default]
    Auto,
    /// However little they take
    Always,
    /// All are run
    Never,
}

impl From<Settled> for calibrate::Settles {
    fn from(settled: Settled) -> calibrate::Settles {
        match settled {
            Settled::Auto => calibrate::Settles::Auto,
            Settled::Always => calibrate::Settles::Always,
            Settled::Never => calibrate::Settles::Never,
        }
    }
}

/// Samples to calibrate on, and statistics of them.
#[derive(Debug, Default, Args)]
pub(super) struct Calibration {
    /// Samples of what the model will see: an .npz file with an array for each input, under its name, an .npy file or an
    /// image for the only input, a folder of such files, or ONNX test data. `random` makes samples up: the ranges that
    /// follow from them are not real
    #[arg(help_heading = CALIBRATION, long, value_name = "PLACE")]
    pub calib: Option<PathBuf>,
    /// Take at most this many samples, evenly from all [default: 512; 16 made-up ones]
    #[arg(help_heading = CALIBRATION, long, value_name = "N", value_parser = count)]
    pub samples: Option<usize>,
    /// Calibrate on no more samples than it takes for ranges and means to settle
    #[arg(help_heading = CALIBRATION, long, value_enum, value_name = "WHEN", default_value_t)]
    pub until_settled: Settled,
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

impl Calibration {
    /// Whether there is anything to calibrate from.
    pub(super) fn is_given(&self) -> bool {
        self.calib.is_some() || !self.stats.is_empty()
    }

    /// As the library has it.
    ///
    /// # Errors
    /// When there is nothing that is known where samples should be.
    pub(super) fn calibration(&self) -> anyhow::Result<calibrate::Calibration> {
        Ok(calibrate::Calibration {
            source: self.source()?,
            samples: self.samples,
            stats: self.stats.clone(),
            save: self.save_stats.clone(),
            verifies: false,
            settles: self.until_settled.into(),
            pool: None,
        })
    }

    /// Where samples come from, if from anywhere.
    fn source(&self) -> anyhow::Result<Option<Source>> {
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
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("\"{text}\" is not a number of samples"))
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn made_up_samples_are_asked_for_by_name() {
        let source = |place: &str| said(&["--calib", place]).unwrap().calibration().map(|c| c.source.unwrap());
        assert!(!source("random").unwrap().is_real());
        assert!(source("none.npz").unwrap_err().to_string().contains("none.npz"));
    }
}
