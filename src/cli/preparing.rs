//! What `--preprocess` and `--postprocess` say.

use crate::edit::{ImageSize, Postprocess, Preprocess, Step};
use crate::exec::Layout;
use crate::ir::DType;

/// `scale=1/255,mean=0.5,layout=nhwc`, behind the name of an input and a colon.
pub(super) fn before(text: &str) -> Result<Preprocess, String> {
    let (head, _) = text.split_once('=').ok_or("expected KEY=VALUE, such as layout=nhwc")?;
    let (input, rest) = match head.rsplit_once(':') {
        Some(("", _)) => return Err("expected the name of an input before the colon".into()),
        Some((input, _)) => (Some(input.to_string()), &text[input.len() + 1..]),
        None => (None, text),
    };
    let mut asked = Preprocess { input, ..Preprocess::default() };
    let mut pairs: Vec<(&str, Vec<&str>)> = Vec::new();
    for part in rest.split(',') {
        match (part.split_once('='), pairs.last_mut()) {
            (Some((key, value)), _) => {
                let key = key.trim();
                if pairs.iter().any(|(k, _)| *k == key) {
                    return Err(format!("{key} is given twice"));
                }
                pairs.push((key, vec![value.trim()]));
            }
            // What has no key of its own goes on with a list.
            (None, Some((_, values))) => values.push(part.trim()),
            (None, None) => return Err("expected KEY=VALUE, such as layout=nhwc".into()),
        }
    }
    let has_layout = pairs.iter().any(|(key, _)| *key == "layout");
    for (key, values) in pairs {
        let one = || match values[..] {
            [one] => Ok(one),
            _ => Err(format!("{key} takes one value")),
        };
        match key {
            "mean" => asked.mean = values.iter().map(|v| number(v)).collect::<Result<_, _>>()?,
            "std" => asked.std = values.iter().map(|v| number(v)).collect::<Result<_, _>>()?,
            "scale" => asked.scale = number(one()?)?,
            "input" => asked.dtype = Some(dtype(one()?)?),
            "layout" => asked.layout = layout(one()?)?,
            "model-layout" => asked.model_layout = layout(one()?)?,
            "channel-order" => asked.swapped = swapped(one()?)?,
            "resize" => asked.size = Some(size(one()?)?),
            _ => {
                let known = "mean, std, scale, input, layout, model-layout, channel-order or resize";
                return Err(format!("{key} is not {known}"));
            }
        }
    }
    if !has_layout {
        asked.layout = asked.model_layout;
    }
    Ok(asked)
}

/// `softmax`, behind the name of an output and a colon.
pub(super) fn after(text: &str) -> Result<Postprocess, String> {
    let (output, step) = match text.rsplit_once(':') {
        Some(("", _)) => return Err("expected the name of an output before the colon".into()),
        Some((output, step)) => (Some(output.to_string()), step),
        None => (None, text),
    };
    let what = match step.split_once('=') {
        None => match step {
            "softmax" => Step::Softmax,
            "argmax" => Step::ArgMax,
            "nhwc" => Step::Nhwc,
            _ => return Err(format!("{step} is not softmax, argmax, topk=K or nhwc")),
        },
        Some(("topk", k)) => match k.parse::<usize>() {
            Ok(k) if k > 0 && i64::try_from(k).is_ok() => Step::TopK(k),
            _ => return Err(format!("{k} is not a number of classes")),
        },
        Some(_) => return Err(format!("{step} is not softmax, argmax, topk=K or nhwc")),
    };
    Ok(Postprocess { output, what })
}

/// `0.5`, or `1/255`.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let plain = |text: &str| text.trim().parse::<f64>().ok();
    let number = match text.split_once('/') {
        Some((a, b)) => plain(a).zip(plain(b)).map(|(a, b)| a / b),
        None => plain(text),
    };
    number.filter(|x| x.is_finite()).ok_or_else(|| format!("\"{text}\" is not a number"))
}

fn dtype(text: &str) -> Result<DType, String> {
    match text {
        "float32" => Some(DType::F32),
        text => DType::from_name(text).filter(|t| t.is_float() || t.is_integer()),
    }
    .ok_or_else(|| format!("{text} is not a type of numbers, such as uint8"))
}

pub(super) fn layout(text: &str) -> Result<Layout, String> {
    match text {
        "nchw" => Ok(Layout::Nchw),
        "nhwc" => Ok(Layout::Nhwc),
        _ => Err(format!("{text} is not nchw or nhwc")),
    }
}

pub(super) fn swapped(text: &str) -> Result<bool, String> {
    match text {
        "bgr" => Ok(true),
        "rgb" => Ok(false),
        _ => Err(format!("{text} is not rgb or bgr")),
    }
}

fn size(text: &str) -> Result<ImageSize, String> {
    if text == "any" {
        return Ok(ImageSize::Any);
    }
    let part = |text: &str| text.parse::<usize>().ok().filter(|&n| n > 0 && i64::try_from(n).is_ok());
    let size = text.split_once('x').and_then(|(h, w)| part(h).zip(part(w)));
    size.map(|(h, w)| ImageSize::Fixed(h, w)).ok_or_else(|| format!("{text} is not HEIGHTxWIDTH or any"))
}

/// `480x640`.
pub(super) fn fixed_size(text: &str) -> Result<(usize, usize), String> {
    match size(text)? {
        ImageSize::Fixed(height, width) => Ok((height, width)),
        ImageSize::Any => Err("expected HEIGHTxWIDTH".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_go_on_until_the_next_key() {
        let asked = before("images:0:scale=1/255,mean=0.5,0.25,1,std=2,input=uint8,layout=nhwc,resize=4x6").unwrap();
        assert_eq!(asked.input.as_deref(), Some("images:0"));
        assert_eq!((asked.mean, asked.std, asked.scale), (vec![0.5, 0.25, 1.0], vec![2.0], 1.0 / 255.0));
        assert_eq!((asked.dtype, asked.layout), (Some(DType::U8), Layout::Nhwc));
        assert_eq!(asked.size, Some(ImageSize::Fixed(4, 6)));
        assert!(before("channel-order=bgr").unwrap().swapped);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "",
            "nhwc",
            ":scale=1",
            "scale=",
            "scale=1,2",
            "scale=1/0",
            "mean=a",
            "mean=",
            "layout=chw",
            "input=string",
            "resize=4",
            "resize=0x4",
            "resize=4x4x4",
            "speed=1",
            "mean=1,mean=2",
            "x:,mean=1",
            "channel-order=gbr",
        ] {
            assert!(before(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "soft", "topk", "topk=0", "topk=-1", "topk=x", ":softmax", "softmax=1"] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
        let topk = Postprocess { output: Some("y:0".into()), what: Step::TopK(5) };
        assert_eq!(after("y:0:topk=5"), Ok(topk));
    }
}
