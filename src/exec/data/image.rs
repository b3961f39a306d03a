//! Images as a model takes them: decoded, brought to size, and `(x · scale − mean) / std` of every byte.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use bytes::Bytes;
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};

use super::batch::LARGEST_SAMPLE;
use crate::exec::exact::rounded;
use crate::exec::sample::Input;
use crate::ir::DType;

/// Where an image has its channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[N, C, H, W]`.
    #[default]
    Nchw,
    /// `[N, H, W, C]`.
    Nhwc,
}

impl Layout {
    /// The axis of the channels.
    pub fn channels(self) -> usize {
        match self {
            Layout::Nchw => 1,
            Layout::Nhwc => 3,
        }
    }

    /// The axis of the rows; that of the columns is next.
    pub fn height(self) -> usize {
        match self {
            Layout::Nchw => 2,
            Layout::Nhwc => 1,
        }
    }
}

/// What is done with images before they are an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Imaging {
    /// What a byte is multiplied by first.
    pub scale: f64,
    /// Subtracted then: one for each channel or one for all; empty for 0.
    pub mean: Vec<f64>,
    /// What the difference is divided by: one for each channel or one for all; empty for 1.
    pub std: Vec<f64>,
    /// Where the input has its channels; without, the axis of size 1 or 3.
    pub layout: Option<Layout>,
    /// Whether the input has the channels in the opposite order: BGR.
    pub swapped: bool,
    /// Height and width; without, the input's, and the image's own where that leaves them open.
    pub size: Option<(usize, usize)>,
}

impl Default for Imaging {
    fn default() -> Imaging {
        Imaging { scale: 1.0, mean: Vec::new(), std: Vec::new(), layout: None, swapped: false, size: None }
    }
}

impl Imaging {
    /// Whether bytes are inputs as they are.
    pub fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.mean.iter().all(|m| *m == 0.0) && self.std.iter().all(|s| *s == 1.0)
    }
}

/// How images become one input.
#[derive(Clone)]
pub(super) struct Frame {
    dtype: DType,
    layout: Layout,
    is_gray: bool,
    swapped: bool,
    /// The input has no axis for the batch.
    pub(super) is_whole: bool,
    height: Option<usize>,
    width: Option<usize>,
    /// What a byte becomes, by channel.
    values: Vec<[f64; 256]>,
}

/// The largest image that is decoded, in bytes.
const LARGEST_IMAGE: u64 = 256 << 20;

/// The ends of names that images have. Not all of them are read, but none is passed over.
const ENDINGS: [&str; 14] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "heic", "avif"];

/// Whether a file of this name is taken for an image.
pub(super) fn is_named_so(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&&*e))
}

impl Frame {
    /// How images become `input`; an error says why they do not.
    pub(super) fn of(imaging: &Imaging, input: &Input) -> Result<Frame, String> {
        let dims: Vec<Option<usize>> =
            input.dims.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect();
        let said = || input.dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (is_whole, image) = match dims.len() {
            4 => (false, &dims[1..]),
            3 => (true, &dims[..]),
            n => return Err(format!("is an image, which an input of {n} axes does not take")),
        };
        let colours = |d: Option<usize>| matches!(d, Some(1 | 3));
        let layout = match (imaging.layout, colours(image[0]), colours(image[2])) {
            (Some(layout), ..) => layout,
            (None, true, false) => Layout::Nchw,
            (None, false, true) => Layout::Nhwc,
            (None, ..) => {
                return Err(format!(
                    "is an image, and the input [{}] does not tell its channels; say --layout",
                    said()
                ));
            }
        };
        // There is no axis for the batch here.
        let [channels, height, width] = [layout.channels(), layout.height(), layout.height() + 1].map(|a| image[a - 1]);
        let channels = channels.unwrap_or(3);
        if channels != 1 && channels != 3 {
            return Err(format!("is an image of 1 or 3 channels, the input [{}] has {channels}", said()));
        }
        for (what, own, asked) in
            [("high", height, imaging.size.map(|s| s.0)), ("wide", width, imaging.size.map(|s| s.1))]
        {
            if let (Some(own), Some(asked)) = (own, asked)
                && own != asked
            {
                return Err(format!("is resized to {asked} pixels, the input is {own} {what}"));
            }
        }
        for (what, list) in [("mean", &imaging.mean), ("std", &imaging.std)] {
            if list.len() > 1 && list.len() != channels {
                return Err(format!("has {channels} channels, --{what} {} values", list.len()));
            }
        }
        let numbers = imaging.mean.iter().chain(&imaging.std).chain([&imaging.scale]);
        if numbers.into_iter().any(|x| !x.is_finite()) || imaging.std.contains(&0.0) {
            return Err("is an image; mean, std and scale are to be finite, and std not 0".into());
        }
        let is_float = matches!(input.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::F64);
        if !is_float && (input.dtype != DType::U8 || !imaging.is_plain()) {
            return Err(format!("is an image, which an input of {} does not take so", input.dtype));
        }
        let of = |list: &[f64], channel: usize, otherwise: f64| {
            list.get(channel).or(list.first()).copied().unwrap_or(otherwise)
        };
        let values = (0..channels).map(|channel| {
            let (mean, std) = (of(&imaging.mean, channel, 0.0), of(&imaging.std, channel, 1.0));
            std::array::from_fn(|byte| (byte as f64 * imaging.scale - mean) / std)
        });
        Ok(Frame {
            dtype: input.dtype,
            layout,
            is_gray: channels == 1,
            swapped: imaging.swapped,
            is_whole,
            height: imaging.size.map_or(height, |s| Some(s.0)),
            width: imaging.size.map_or(width, |s| Some(s.1)),
            values: values.collect(),
        })
    }

    /// The image in `file` as one sample: its sizes and elements. The error says what is wrong with it.
    pub(super) fn read(&self, file: &Path) -> Result<(Vec<usize>, Bytes), String> {
        let image = decoded(file).map_err(|e| {
            let said = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            format!("is no image that can be read: {said}")
        })?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (height, width) = (self.height.unwrap_or(height), self.width.unwrap_or(width));
        let channels = self.values.len();
        let elements = [height, width].iter().try_fold(channels, |n, d| n.checked_mul(*d));
        // Numbers pass through f64.
        let elements = elements.filter(|n| *n > 0 && n.checked_mul(8).is_some_and(|bytes| bytes <= LARGEST_SAMPLE));
        let (Some(elements), Ok(w), Ok(h)) = (elements, u32::try_from(width), u32::try_from(height)) else {
            return Err(format!("has {height}x{width} pixels, which are none or too many"));
        };
        let pixels = match self.is_gray {
            true => {
                DynamicImage::from(image.into_luma8()).resize_exact(w, h, FilterType::Triangle).into_luma8().into_raw()
            }
            false => {
                DynamicImage::from(image.into_rgb8()).resize_exact(w, h, FilterType::Triangle).into_rgb8().into_raw()
            }
        };
        let mut made = vec![0.0; elements];
        for channel in 0..channels {
            let from = if self.swapped { channels - 1 - channel } else { channel };
            let values = &self.values[channel];
            for (pixel, bytes) in pixels.chunks_exact(channels).enumerate() {
                let place = match self.layout {
                    Layout::Nchw => channel * height * width + pixel,
                    Layout::Nhwc => pixel * channels + channel,
                };
                made[place] = values[usize::from(bytes[from])];
            }
        }
        let sizes = match self.layout {
            Layout::Nchw => vec![channels, height, width],
            Layout::Nhwc => vec![height, width, channels],
        };
        let elements = rounded(self.dtype, &made).ok_or_else(|| format!("is no {}", self.dtype))?;
        Ok((sizes, elements))
    }
}

fn decoded(file: &Path) -> io::Result<DynamicImage> {
    let invalid = |e: image::ImageError| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
    // By what it holds: many a .jpg is a PNG.
    let mut reader = ImageReader::new(BufReader::new(File::open(file)?)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST_IMAGE);
    reader.limits(limits);
    reader.decode().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::data::{Batches, Data, DataError, Notes};
    use crate::exec::sample::inputs;
    use crate::ir::Tensor;
    use crate::text::parse;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use std::fs;

    fn fed(data: &Data, ty: &str) -> Result<Vec<Tensor>, DataError> {
        let text = format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({ty} x) => (float[] y) {{ y = Relu(x) }}"#);
        let inputs = inputs(&parse(&text).unwrap()).unwrap();
        let feeds = data.feeds(&inputs, Batches::One, &Notes::default())?;
        feeds.map(|feed| Ok(feed?.0[0].1.clone())).collect()
    }

    /// Two rows of two pixels: (0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11).
    fn saved(name: &str) -> (tempfile::TempDir, Data) {
        let folder = tempfile::tempdir().unwrap();
        let pixel = |x: u32, y: u32| Rgb([0, 1, 2].map(|c| u8::try_from(c + 3 * x + 6 * y).unwrap()));
        RgbImage::from_fn(2, 2, pixel).save(folder.path().join(name)).unwrap();
        let data = Data::open(folder.path()).unwrap();
        (folder, data)
    }

    #[test]
    fn channels_go_where_the_input_has_them() {
        let (_folder, data) = saved("a.png");
        let of = |imaging: Imaging, ty: &str| {
            let found = fed(&data.clone().imaged(imaging), ty).unwrap();
            (found[0].dims().to_vec(), found[0].reals().unwrap())
        };
        let planes = vec![0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0];
        assert_eq!(of(Imaging::default(), "float[n,3,2,2]"), (vec![1, 3, 2, 2], planes.clone()));
        assert_eq!(of(Imaging::default(), "float[3,h,w]"), (vec![3, 2, 2], planes));
        let pixels: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(of(Imaging::default(), "uint8[1,h,w,3]"), (vec![1, 2, 2, 3], pixels));
        let bgr = Imaging { swapped: true, layout: Some(Layout::Nhwc), ..Imaging::default() };
        assert_eq!(of(bgr, "float16[n,h,w,c]").1[..6], [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        let normal = Imaging { scale: 0.5, mean: vec![0.5, 1.0, 0.0], std: vec![2.0], ..Imaging::default() };
        assert_eq!(of(normal, "float[n,3,2,2]").1[..5], [-0.25, 0.5, 1.25, 2.0, -0.25]);
        // What is gray is the weighted mean of the colours, as bytes.
        let (dims, gray) = of(Imaging::default(), "float[n,1,2,2]");
        assert_eq!(dims, [1, 1, 2, 2]);
        assert!((0..4).all(|i| (gray[i] - (i as f64 * 3.0 + 1.0)).abs() <= 1.0), "{gray:?}");
    }

    #[test]
    fn images_are_brought_to_size() {
        let folder = tempfile::tempdir().unwrap();
        GrayImage::from_fn(8, 4, |x, _| Luma([if x < 4 { 0 } else { 200 }])).save(folder.path().join("a.png")).unwrap();
        let data = Data::open(folder.path()).unwrap();
        let found = fed(&data, "float[n,1,2,4]").unwrap();
        assert_eq!(found[0].dims(), [1, 1, 2, 4]);
        let row = &found[0].reals().unwrap()[..4];
        assert!(row[0] == 0.0 && row[3] == 200.0 && row.is_sorted(), "{row:?}");
        let asked = Imaging { size: Some((6, 3)), ..Imaging::default() };
        assert_eq!(fed(&data.clone().imaged(asked.clone()), "float[n,1,h,w]").unwrap()[0].dims(), [1, 1, 6, 3]);
        let refused = fed(&data.imaged(asked), "float[n,1,6,5]").unwrap_err().to_string();
        assert!(refused.contains("is resized to 3 pixels, the input is 5 wide"), "{refused}");
    }

    #[test]
    fn images_may_lie_in_a_folder_for_each_class() {
        let (folder, _) = saved("a.PNG");
        let inner = folder.path().join("cats");
        fs::create_dir(&inner).unwrap();
        fs::rename(folder.path().join("a.PNG"), inner.join("a.PNG")).unwrap();
        fs::write(folder.path().join("labels.txt"), "cat").unwrap();
        let data = Data::open(folder.path()).unwrap();
        assert_eq!(fed(&data, "float[n,3,2,2]").unwrap().len(), 1);
        assert!(
            data.notes().said()[0].ends_with("1 files are no samples and are passed over"),
            "{:?}",
            data.notes().said()
        );
    }

    #[test]
    fn what_is_no_image_is_named() {
        let (folder, data) = saved("a.png");
        for (name, content) in
            [("b.jpg", &b"no image"[..]), ("b.jpeg", b"\xff\xd8\xff00"), ("c.png", b""), ("d.bmp", b"BM")]
        {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let refused = fed(&Data::open(folder.path()).unwrap(), "float[n,3,2,2]").unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("no image that can be read"), "{refused}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
            fs::remove_file(&path).unwrap();
        }
        let whole = fs::read(folder.path().join("a.png")).unwrap();
        fs::write(folder.path().join("a.png"), &whole[..whole.len() - 20]).unwrap();
        assert!(fed(&data, "float[n,3,2,2]").is_err(), "it is cut off");
        fs::write(folder.path().join("e.npy"), b"").unwrap();
        assert!(matches!(Data::open(folder.path()), Err(DataError::Unknown { .. })), "images and arrays");
    }

    #[test]
    fn an_input_that_takes_no_image_says_so() {
        let (_folder, data) = saved("a.png");
        let with = |imaging: Imaging, ty: &str| fed(&data.clone().imaged(imaging), ty).unwrap_err().to_string();
        for (ty, why) in [
            ("float[n,10]", "an input of 2 axes"),
            ("float[n,c,h,w]", "say --layout"),
            ("float[n,3,8,3]", "say --layout"),
            ("float[n,4,8,8]", "say --layout"),
            ("int64[n,3,2,2]", "does not take so"),
        ] {
            let refused = with(Imaging::default(), ty);
            assert!(refused.contains(why) && refused.contains("a.png"), "{refused}");
        }
        let layout = Imaging { layout: Some(Layout::Nchw), ..Imaging::default() };
        assert!(with(layout, "float[n,4,8,8]").contains("has 4"));
        let mean = Imaging { mean: vec![1.0, 2.0], ..Imaging::default() };
        assert!(with(mean, "float[n,3,2,2]").contains("--mean 2 values"));
        let scaled = Imaging { scale: 0.5, ..Imaging::default() };
        assert!(with(scaled, "uint8[n,3,2,2]").contains("does not take so"));
        let zero = Imaging { std: vec![0.0], ..Imaging::default() };
        assert!(with(zero, "float[n,3,2,2]").contains("std not 0"));
        let vast = Imaging { size: Some((1 << 20, 1 << 20)), ..Imaging::default() };
        assert!(with(vast, "float[n,3,h,w]").contains("too many"));
    }
}
