//! Which recipe for which model: a table of what was found out about models, runtimes and machines, and what it says of
//! one model.
//!
//! [`ROWS`] are tried in order. A row that holds decides its key, where no row before it did; what no row decides stays
//! as `optimize` does it. Each row says why, and where that is known from.

mod table;
mod traits;

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};

pub use table::{ROWS, Row, Says, When, markdown};
pub use traits::Traits;

use crate::recipe::{KEYS, Recipe, Value};

/// What a model is to be good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// One run takes little time.
    Latency,
    /// The file is small.
    Size,
    /// A run takes little work and memory: many of them share a machine, or a battery.
    Cost,
}

/// What runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A graphics processor.
    Gpu,
    /// The processor of a server or of a desk's computer.
    Cpu,
    /// A phone or a small board.
    Edge,
    /// An accelerator for networks.
    Npu,
}

/// A row that decided something, or had something to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// The row.
    pub row: &'static str,
    /// What it decided, as a recipe says it; nothing for a remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decides: Option<String>,
    /// Why.
    pub why: &'static str,
    /// Where that is known from.
    pub source: &'static str,
}

/// A recipe for a model, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// What the model is to be good at.
    pub goal: Goal,
    /// What runs it.
    pub device: Device,
    /// What was seen of the model.
    pub traits: Traits,
    /// What to do with it.
    #[serde(serialize_with = "as_text")]
    pub recipe: Recipe,
    /// Why, in the order of the table.
    pub reasons: Vec<Reason>,
}

fn as_text<S: Serializer>(recipe: &Recipe, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(recipe)
}

/// What the table says of a model that is so, with samples at `place` if anywhere.
pub fn advise(traits: Traits, goal: Goal, device: Device, place: Option<&str>) -> Advice {
    let mut recipe = Recipe::default();
    let mut decided: Vec<&str> = Vec::new();
    let mut reasons = Vec::new();
    for row in ROWS.iter().filter(|row| row.holds(&traits, goal, device)) {
        let decides = match row.says {
            Says::Remark => None,
            Says::Set(key, _) | Says::Keep(key) if decided.contains(&key) => continue,
            Says::Set(key, word) => {
                decided.push(key);
                recipe = recipe.with(key, word);
                Some(format!("{key} = {word}"))
            }
            Says::Keep(key) => {
                decided.push(key);
                Some(format!("no {key}"))
            }
        };
        reasons.push(Reason { row: row.name, decides, why: row.why, source: row.source });
    }
    let uses = |table: &str| recipe.entries().iter().any(|entry| entry.key.table == table);
    if let Some(place) = place.filter(|_| uses("precision") || uses("pruning"))
        && let Some(key) = KEYS.iter().find(|key| key.path() == "calibration.place")
    {
        recipe.set(key, Value::Word(place.into()));
    }
    Advice { goal, device, traits, recipe, reasons }
}

impl Advice {
    /// The recipe, with what was seen and the reasons in remarks: a file that is read as the recipe.
    pub fn commented(&self) -> String {
        let mut lines = vec![format!("for {}, on {}: {}", self.goal, self.device, self.traits)];
        for reason in &self.reasons {
            let decides = reason.decides.as_ref().map_or_else(String::new, |decides| format!("{decides}: "));
            lines.push(format!("{} {decides}{} ({})", reason.row, reason.why, reason.source));
        }
        let mut text: String = lines.iter().flat_map(|line| wrapped(line)).collect();
        text.push_str(&format!("\n{}", self.recipe));
        text
    }
}

/// Columns of a line of remarks.
const WIDTH: usize = 100;

/// A remark as lines; all but the first are set in.
fn wrapped(remark: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // What a model calls its inputs ends no line.
    let remark: String = remark.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for word in remark.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("#   {word}")),
            None => lines.push(format!("# {word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

impl Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goal::Latency => "latency",
            Goal::Size => "size",
            Goal::Cost => "cost",
        })
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Gpu => "gpu",
            Device::Cpu => "cpu",
            Device::Edge => "edge",
            Device::Npu => "npu",
        })
    }
}

#[cfg(test)]
mod tests;
