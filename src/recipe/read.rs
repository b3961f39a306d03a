//! Reads a recipe, and says where it is wrong.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::recipe::{Entry, Form, KEYS, Key, Recipe, Value};
use crate::similar::similar;

/// Why a file is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {what}", if *.line == 0 { String::new() } else { format!(":{line}") })]
pub struct RecipeError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 where no line in particular is wrong.
    pub line: usize,
    /// What is wrong, and what may be meant.
    pub what: String,
}

/// The most bytes that a file may have.
const MOST_BYTES: u64 = 1 << 20;

/// The most characters of a value that messages repeat.
const MOST_SAID: usize = 40;

impl Recipe {
    /// The recipe in a file. Paths are as they stand there.
    ///
    /// # Errors
    /// When the file cannot be read, or says something that is not known.
    pub fn read(path: &Path) -> Result<Recipe, RecipeError> {
        let file = path.display().to_string();
        let fault = |what: String| RecipeError { file: file.clone(), line: 0, what };
        if !fs::metadata(path).map_err(|e| fault(e.to_string()))?.is_file() {
            return Err(fault("this is no file".into()));
        }
        let mut text = String::new();
        let opened = File::open(path).map_err(|e| fault(e.to_string()))?;
        opened.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|e| fault(e.to_string()))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(fault("this is too large for a recipe".into()));
        }
        Recipe::parse(&file, &text)
    }

    /// The recipe in `text`, which is from `file`.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn parse(file: &str, text: &str) -> Result<Recipe, RecipeError> {
        let source = Source { file, text };
        let root = DeTable::parse(text).map_err(|error| {
            source.fault(error.span().unwrap_or_default(), error.message().lines().next().unwrap_or_default())
        })?;
        let mut recipe = Recipe::default();
        source.table("", root.get_ref(), &mut recipe)?;
        Ok(recipe)
    }
}

struct Source<'t> {
    file: &'t str,
    text: &'t str,
}

impl Source<'_> {
    fn fault(&self, span: Range<usize>, what: impl Into<String>) -> RecipeError {
        RecipeError {
            file: self.file.into(),
            line: if span.end == 0 { 0 } else { self.line(&span) },
            what: what.into(),
        }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Read the keys of the table that is called `name`.
    fn table(&self, name: &str, table: &DeTable<'_>, recipe: &mut Recipe) -> Result<(), RecipeError> {
        for (key, value) in in_order(table) {
            let known = || KEYS.iter().filter(|known| known.table == name);
            if let Some(found) = known().find(|known| known.name == *key.get_ref()) {
                let entry = Entry { key: found, value: self.value(found, value)?, line: self.line(&key.span()) };
                recipe.put(entry);
                continue;
            }
            let is_table = name.is_empty() && KEYS.iter().any(|known| known.table == *key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if is_table => self.table(key.get_ref(), inner, recipe)?,
                _ if is_table => {
                    let what = format!("{} is a table: [{}]", key.get_ref(), key.get_ref());
                    return Err(self.fault(key.span(), what));
                }
                _ => return Err(self.fault(key.span(), unknown(name, key.get_ref()))),
            }
        }
        Ok(())
    }

    fn value(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Value, RecipeError> {
        let wrong = |expected: &str| {
            let what = format!("{} is {expected}, not {}", key.path(), a(value.get_ref().type_str()));
            Err(self.fault(value.span(), what))
        };
        Ok(match (key.form, value.get_ref()) {
            (Form::Flag | Form::Not, DeValue::Boolean(is)) => Value::Flag(*is),
            (Form::Flag | Form::Not, _) => return wrong("true or false"),
            (Form::Word, _) => match self.word(value)? {
                Some(word) => Value::Word(word),
                None => return wrong("a string or a number"),
            },
            (Form::Words | Form::Joined, DeValue::Array(values)) => {
                let mut words = Vec::with_capacity(values.len());
                for value in values {
                    match self.word(value)? {
                        Some(word) => words.push(word),
                        None => {
                            return Err(self.fault(value.span(), format!("{} lists strings or numbers", key.path())));
                        }
                    }
                }
                Value::Words(words)
            }
            // A list of one may be said without brackets.
            (Form::Words | Form::Joined, _) => match self.word(value)? {
                Some(word) => Value::Words(vec![word]),
                None => return wrong("a list"),
            },
            (Form::Pairs(_), DeValue::Table(table)) => {
                let mut pairs = Vec::with_capacity(table.len());
                for (name, value) in in_order(table) {
                    let list = Key { form: Form::Joined, ..Key { ..*key } };
                    let Value::Words(words) = self.value(&list, value)? else { return wrong("a table") };
                    if name.get_ref().is_empty() {
                        return Err(self.fault(name.span(), format!("a name is missing in {}", key.path())));
                    }
                    pairs.push((name.get_ref().to_string(), words));
                }
                Value::Pairs(pairs)
            }
            (Form::Pairs(_), _) => return wrong("a table"),
        })
    }

    /// A string, or a number as it is spelled.
    fn word(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<String>, RecipeError> {
        let said = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string(),
                Err(_) => return Err(self.fault(value.span(), format!("{} is too large", cut(number.as_str())))),
            },
            DeValue::Float(number) => number.as_str().to_string(),
            _ => return Ok(None),
        };
        if said.contains('\0') {
            return Err(self.fault(value.span(), "a NUL is in no word of a command line"));
        }
        Ok(Some(said))
    }
}

/// The entries of a table in the order in which the file has them.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// What there is to say of a key that does not exist in the table called `table`.
fn unknown(table: &str, key: &str) -> String {
    let here = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
    let mut known: Vec<&str> = KEYS.iter().filter(|known| known.table == table).map(|known| known.name).collect();
    if table.is_empty() {
        known.extend(KEYS.iter().map(|known| known.table).filter(|table| !table.is_empty()));
        known.dedup();
    }
    let close = similar(key, known.iter().copied());
    // A key under the wrong table is more likely than a slip.
    let elsewhere = KEYS.iter().find(|known| known.name == key || known.option.replace('-', "_") == key);
    let hint = match (&close[..], elsewhere) {
        (_, Some(known)) if known.form == Form::Pairs(":") || known.table != table || known.name != key => {
            format!("did you mean {}?", known.path())
        }
        ([], _) => format!("{} are", known.join(", ")),
        (close, _) => format!("did you mean {}?", close.join(" or ")),
    };
    format!("there is no key \"{}\"{here}: {hint}", cut(key))
}

fn cut(text: &str) -> String {
    let said: String = text.chars().take(MOST_SAID).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST_SAID).is_some() { format!("{said}…") } else { said }
}

/// A kind of value with its article.
fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}
