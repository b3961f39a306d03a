//! How errors and figures look to people.

use std::io::{self, IsTerminal, Write};

use crate::cli::guard;
use crate::error::Error;
use crate::onnx::WriteError;

/// Lines below an error's first, at most: one screen.
const MAX_DETAILS: usize = 16;

/// Characters of a line, at most.
const MAX_LINE: usize = 180;

/// Whether text that goes to `stream` may have colours.
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Whether the reader of our output went away.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_gone = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    if let Some(Error::Write(WriteError::Io { file, error })) = error.downcast_ref::<Error>() {
        return file.as_os_str() == "-" && is_gone(error);
    }
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(is_gone))
}

/// Print on stderr. Where nothing can be said any more, the exit code still tells.
pub(super) fn say(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Say on stderr what is wrong, where, and what to try. `model` is the file that was being worked on.
pub(super) fn error(error: &anyhow::Error, model: Option<&str>) {
    let (bold, plain) = if colours(&io::stderr()) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    say(&format!("{bold}error:{plain} {}", message(error, model)));
}

/// The text of an error, without the word itself.
pub(super) fn message(error: &anyhow::Error, model: Option<&str>) -> String {
    let mut first = error.to_string();
    // What went wrong with a file is said behind its name.
    if let Some(inner) = error.downcast_ref::<Error>().map(ToString::to_string).filter(|inner| *inner != first) {
        first = format!("{first}: {inner}");
    }
    let mut lines = Vec::new();
    match model {
        Some(model) if !first.starts_with(&format!("{model}:")) => lines.push(format!("{model}: {first}")),
        _ => lines.push(first),
    }
    let mut details: Vec<String> = Vec::new();
    let mut hint = None;
    if let Some(error) = error.downcast_ref::<Error>() {
        details = error.details();
        hint = error.hint();
    } else if let Some(defect) = error.downcast_ref::<guard::Defect>() {
        details.extend(defect.place.iter().map(|place| format!("at {place}")));
        hint = Some("please report it, with the model if it can be shared; nothing was written".into());
    } else {
        details.extend(error.chain().skip(1).map(ToString::to_string));
    }
    // What has to be mended in one go is told in one go.
    let most = match error.downcast_ref::<Error>() {
        Some(Error::Unsupported { .. }) => usize::MAX,
        _ => MAX_DETAILS,
    };
    let more = details.len().saturating_sub(most);
    lines.extend(details.into_iter().take(most).map(|d| format!("  {d}")));
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.extend(hint.map(|hint| format!("hint: {hint}")));
    lines.iter().map(|line| fit(line) + "\n").collect()
}

/// Lines that each fit a screen.
pub(super) fn fitted(text: &str) -> String {
    text.lines().map(|line| fit(line) + "\n").collect()
}

/// A line that fits a screen: what a file's names hold is shown, not obeyed, and the middle of a long one is left out.
fn fit(line: &str) -> String {
    let mut shown: Vec<char> = Vec::new();
    for c in line.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    let Some(excess) = shown.len().checked_sub(MAX_LINE).filter(|&n| n > 0) else { return shown.into_iter().collect() };
    let tail = MAX_LINE / 3;
    let head = MAX_LINE - tail;
    shown.splice(head..head + excess, ['…']).for_each(drop);
    shown.into_iter().collect()
}

/// A number of bytes, in three digits or a little more.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1000 => format!("{n} B"),
        _ => format!("{}B", scaled(n)),
    }
}

/// A count, in three digits or a little more.
pub(super) fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        _ => scaled(n).trim_end().to_string(),
    }
}

fn scaled(n: u64) -> String {
    let mut scale = 1u64;
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P"] {
        // The largest unit that leaves at least one, rounding considered.
        if n / scale < 1000 {
            break;
        }
        scale *= 1000;
        unit = next;
    }
    let tenths = u128::from(n) * 100 / u128::from(scale);
    let (whole, part) = (tenths / 100, tenths % 100);
    match whole {
        100.. => format!("{whole} {unit}"),
        10.. => format!("{whole}.{} {unit}", part / 10),
        _ => format!("{whole}.{part:02} {unit}"),
    }
}

/// A length of time.
pub(super) fn seconds(s: f64) -> String {
    if s < 0.0095 {
        format!("{:.1} ms", s * 1e3)
    } else if s < 0.95 {
        format!("{:.0} ms", s * 1e3)
    } else {
        format!("{s:.1} s")
    }
}

/// Columns side by side, two spaces apart: the first from the left, the others from the right.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            if i == 0 {
                line.push_str(&format!("  {cell:width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0, 999, 1000, 12_345, 999_999, 1_000_000, 1_573_000_000].map(bytes),
            ["0 B", "999 B", "1.00 kB", "12.3 kB", "999 kB", "1.00 MB", "1.57 GB"]
        );
        assert_eq!([9999, 10_000, 123_456_789].map(count), ["9999", "10.0 k", "123 M"]);
        assert_eq!([0.0021, 0.25, 61.0].map(seconds), ["2.1 ms", "250 ms", "61.0 s"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "1", "22"], ["bbb", "333", ""]].map(|r| r.map(String::from));
        assert_eq!(columns(&rows), "  a      1  22\n  bbb  333\n");
    }

    #[test]
    fn an_error_fits_one_screen() {
        let differences = (0..100).map(|i| format!("output {i}")).collect();
        let error = anyhow::Error::from(Error::Different { guilty: None, differences });
        let text = message(&error, Some("m.onnx"));
        assert!(text.starts_with("m.onnx: the result computes something else than the original\n  output 0\n"));
        assert!(text.contains("  and 84 more\nhint: "));
        assert!(text.lines().count() < 24);
    }

    #[test]
    fn the_file_is_named_once() {
        let error = anyhow::anyhow!("m.onnx: the file is empty");
        assert_eq!(message(&error, Some("m.onnx")), "m.onnx: the file is empty\n");
    }
}
