//! A rule: a pattern, a pure function from match to replacement, and a name.

use std::fmt;

use crate::rewrite::{Match, Pat, Replacement};

/// How close the rewritten model's outputs stay to the original's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// The same bits.
    #[default]
    Bitwise,
    /// Equal up to the rounding of reordered arithmetic.
    Rounding,
    /// A different function, close on ordinary inputs.
    Approximate,
}

/// Why a rule left a match alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Skip {
    /// The match is not one after all; nothing worth telling.
    #[error("not applicable")]
    NotThis,
    /// A result on the way is also read elsewhere, so replacing would compute it twice.
    #[error("an inner result is also read elsewhere")]
    InnerResultShared,
    /// The result needs a newer opset than the one that the model is written in.
    #[error("needs opset {0}")]
    NeedsOpset(u32),
    /// The target does without an operator of the result.
    #[error("the target does better without {0}")]
    Avoided(&'static str),
    /// The rule applies but may not fire here, for a reason that the user can act on.
    #[error("{0}")]
    Unsuitable(&'static str),
}

/// Leave the match alone, silently, unless `holds`: this is not what the rule is about.
pub fn applies(holds: bool) -> Result<(), Skip> {
    if holds { Ok(()) } else { Err(Skip::NotThis) }
}

/// Decline the match with `why` unless `holds`.
pub fn require(holds: bool, why: &'static str) -> Result<(), Skip> {
    if holds { Ok(()) } else { Err(Skip::Unsuitable(why)) }
}

type Build = dyn Fn(&Match<'_>) -> Result<Replacement, Skip> + Send + Sync;

/// One rewrite.
pub struct Rule {
    name: &'static str,
    exactness: Exactness,
    pattern: Pat,
    build: Box<Build>,
    shares_inner: bool,
    contrib: Option<&'static str>,
}

impl Rule {
    /// A rule called `name` (kebab-case, verb first: what `--disable` and the report call it).
    pub fn new<R: Into<Replacement>>(
        name: &'static str,
        exactness: Exactness,
        pattern: Pat,
        build: impl Fn(&Match<'_>) -> Result<R, Skip> + Send + Sync + 'static,
    ) -> Rule {
        let build = Box::new(move |m: &Match<'_>| build(m).map(Into::into));
        Rule { name, exactness, pattern, build, shares_inner: false, contrib: None }
    }

    /// The replacement does not repeat what inner calls compute, so it is worth making even when their results are
    /// also read elsewhere.
    #[must_use]
    pub fn even_if_shared(mut self) -> Rule {
        self.shares_inner = true;
        self
    }

    /// The rule brings in operator `name` of [`CONTRIB`](crate::rewrite::CONTRIB): it is for targets that have it.
    #[must_use]
    pub fn for_contrib(mut self, name: &'static str) -> Rule {
        self.contrib = Some(name);
        self
    }

    /// What `--disable` and the report call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How close results stay.
    pub fn exactness(&self) -> Exactness {
        self.exactness
    }

    /// What it looks for.
    pub fn pattern(&self) -> &Pat {
        &self.pattern
    }

    /// The operator of [`CONTRIB`](crate::rewrite::CONTRIB) that it brings in.
    pub fn contrib(&self) -> Option<&'static str> {
        self.contrib
    }

    pub(super) fn shares_inner(&self) -> bool {
        self.shares_inner
    }

    pub(super) fn build(&self, found: &Match<'_>) -> Result<Replacement, Skip> {
        (self.build)(found)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.pattern)
    }
}
