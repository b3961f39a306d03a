//! What is done to a model, as a small file: target, edits, passes, pruning, precision, calibration.
//!
//! ```toml
//! target = "tensorrt"
//!
//! [pruning]
//! budget = "macs=0.5"
//!
//! [pruning.layers]
//! "/head/*" = 0.1
//!
//! [precision]
//! default = "int8"
//!
//! [calibration]
//! place = "samples.npz"
//! ```
//!
//! A recipe says nothing that the command line could not: [`KEYS`] has a row for each key, with the option that it stands
//! for, and the option is what says which values there are. Where both say something, the command line counts. Paths are
//! relative to the recipe's folder.

mod keys;
mod read;
mod write;

use std::path::{Path, PathBuf};

pub use keys::{Form, KEYS, Key};
pub use read::RecipeError;

/// What is done to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    entries: Vec<Entry>,
}

/// What a recipe says to one key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: &'static Key,
    /// What it says.
    pub value: Value,
    /// The line of the file, from 1; 0 where there is no file.
    pub line: usize,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        std::ptr::eq(self.key, other.key) && self.value == other.value
    }
}

/// A value, with words and numbers as the command line spells them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Whether it is so.
    Flag(bool),
    /// One word or number.
    Word(String),
    /// Several, in order.
    Words(Vec<String>),
    /// Names with a word or several, in order.
    Pairs(Vec<(String, Vec<String>)>),
}

impl Recipe {
    /// What it says, in the order of [`KEYS`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Say this, too; what was said to `key` before is forgotten.
    pub fn set(&mut self, key: &'static Key, value: Value) {
        self.put(Entry { key, value, line: 0 });
    }

    /// Say `word` to the key at this place, such as `precision.default`; `true` or `false` to a flag. Places that do not
    /// exist say nothing.
    #[must_use]
    pub fn with(mut self, path: &str, word: &str) -> Recipe {
        if let Some(key) = KEYS.iter().find(|key| key.path() == path) {
            let is_flag = matches!(key.form, Form::Flag | Form::Not);
            self.set(key, if is_flag { Value::Flag(word == "true") } else { Value::Word(word.into()) });
        }
        self
    }

    fn put(&mut self, entry: Entry) {
        let place = |entry: &Entry| KEYS.iter().position(|key| std::ptr::eq(key, entry.key));
        self.entries.retain(|other| !std::ptr::eq(other.key, entry.key));
        self.entries.push(entry);
        self.entries.sort_by_key(place);
    }
}

impl Entry {
    /// The command line's words for it; none for what is so without a word.
    ///
    /// Each is one word with its option before it, so that no value is taken for an option.
    pub fn words(&self) -> Vec<String> {
        let Key { option, form, .. } = self.key;
        let word = |value: &str| format!("--{option}={value}");
        match (&self.value, form) {
            (Value::Flag(is), Form::Flag) if *is => vec![format!("--{option}")],
            (Value::Flag(is), Form::Not) if !*is => vec![format!("--{option}")],
            (Value::Flag(_), _) => Vec::new(),
            (Value::Word(value), _) => vec![word(value)],
            (Value::Words(values), Form::Joined) if values.is_empty() => Vec::new(),
            (Value::Words(values), Form::Joined) => vec![word(&values.join(","))],
            (Value::Words(values), _) => values.iter().map(|value| word(value)).collect(),
            (Value::Pairs(pairs), Form::Pairs(between)) => {
                pairs.iter().map(|(name, values)| word(&format!("{name}{between}{}", values.join(",")))).collect()
            }
            (Value::Pairs(_), _) => Vec::new(),
        }
    }
}

impl Recipe {
    /// With every path that is relative read from `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Recipe {
        self.each_path(|path| if path.is_absolute() { path.into() } else { folder.join(path) });
        self
    }

    /// With every path that is relative turned round, so that it is right where it is read from `folder`.
    #[must_use]
    pub fn seen_from(mut self, folder: &Path) -> Recipe {
        self.each_path(|path| write::relative(path, folder));
        self
    }

    fn each_path(&mut self, change: impl Fn(&Path) -> PathBuf) {
        let change = |key: &Key, text: &mut String| {
            if key.is_path(text) {
                // What was text stays text: only text is joined to it.
                *text = change(Path::new(&*text)).to_string_lossy().into_owned();
            }
        };
        for Entry { key, value, .. } in &mut self.entries {
            match value {
                Value::Word(word) => change(key, word),
                Value::Words(words) => words.iter_mut().for_each(|word| change(key, word)),
                Value::Flag(_) | Value::Pairs(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
