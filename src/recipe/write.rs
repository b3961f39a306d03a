//! Writes a recipe.

use std::fmt::{self, Display, Write as _};
use std::path::{Component, Path, PathBuf};

use crate::recipe::{Recipe, Value};

impl Display for Recipe {
    /// As a file that [`Recipe::parse`] reads as the same recipe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        // Tables of pairs come behind the keys of the table around them, as a table ends where another begins.
        let mut tables: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if !tables.contains(&entry.key.table) {
                tables.push(entry.key.table);
            }
        }
        for table in tables {
            let entries = || self.entries.iter().filter(move |entry| entry.key.table == table);
            let keys = entries().filter(|entry| !matches!(entry.value, Value::Pairs(_)));
            if keys.clone().next().is_some() && !table.is_empty() {
                let _ = writeln!(text, "\n[{table}]");
            }
            for entry in keys {
                let value = match &entry.value {
                    Value::Flag(is) => is.to_string(),
                    Value::Word(word) => spelled(word),
                    Value::Words(words) => listed(words),
                    Value::Pairs(_) => continue,
                };
                let _ = writeln!(text, "{} = {value}", entry.key.name);
            }
            for entry in entries() {
                let Value::Pairs(pairs) = &entry.value else { continue };
                let _ = writeln!(text, "\n[{}]", entry.key.path());
                for (name, values) in pairs {
                    let value = match &values[..] {
                        [one] => spelled(one),
                        values => listed(values),
                    };
                    let _ = writeln!(text, "{} = {value}", quoted(name));
                }
            }
        }
        f.write_str(text.trim_start_matches('\n'))
    }
}

fn listed(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| spelled(word)).collect::<Vec<_>>().join(", "))
}

/// A number where the word is spelled as numbers are, and a string otherwise.
fn spelled(word: &str) -> String {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let is_integer = digits == "0" || digits.starts_with(|c: char| ('1'..='9').contains(&c));
    let is_integer = is_integer && digits.len() < 18 && digits.bytes().all(|b| b.is_ascii_digit());
    let is_fraction = digits.split_once('.').is_some_and(|(whole, part)| {
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        are_digits(whole) && are_digits(part) && (whole == "0" || !whole.starts_with('0')) && digits.len() < 18
    });
    // What would be read back as another word is no number: -0.
    if (is_integer && word != "-0") || is_fraction { word.to_string() } else { quoted(word) }
}

/// A string on one line.
fn quoted(text: &str) -> String {
    let mut said = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => said.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(said, "\\u{:04X}", u32::from(c));
            }
            c => said.push(c),
        }
    }
    said.push('"');
    said
}

/// `path`, which is read from the current folder, as it is called where it is read from `folder`.
pub(super) fn relative(path: &Path, folder: &Path) -> PathBuf {
    if path.is_absolute() {
        return path.into();
    }
    let parts = |path: &Path| -> Option<Vec<std::ffi::OsString>> {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts.map(|part| matches!(part, Component::Normal(_)).then(|| part.as_os_str().to_os_string())).collect()
    };
    // Where a folder lies that is named by `..`, names do not tell.
    let (Some(to), Some(from)) = (parts(path), parts(folder)) else {
        return std::path::absolute(path).unwrap_or_else(|_| path.into());
    };
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".into(), from.len() - common);
    up.chain(to[common..].iter().cloned()).collect()
}
