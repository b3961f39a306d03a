//! Symbolic integers: dimensions and the elements of shape arithmetic.
//!
//! An [`Int`] is a polynomial with integer coefficients over [`Atom`]s, kept in a normal form, so that equal
//! polynomials compare equal: `2·n + n` is `3·n`, `(h·w)/w` is `h` where the division is exact. What does not fit
//! (floor division, minimum, maximum) is an atom of its own over normal forms.

use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

use smallvec::SmallVec;

/// A quantity that is fixed during one run of the model but not known before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// A dimension that the file names, such as `batch`.
    Named(Arc<str>),
    /// A size only the run tells: axis `index` of the value with this id.
    Measured {
        /// The value's id.
        value: u32,
        /// Which axis.
        index: u32,
    },
    /// A number only the run tells, of either sign: element `index` of the value with this id.
    Element {
        /// The value's id.
        value: u32,
        /// Which element, in row-major order.
        index: u32,
    },
    /// An expression that overflows or is too large to follow, named by its text: equal to itself, of either sign.
    Opaque(Arc<str>),
    /// `⌊a / b⌋`.
    FloorDiv(Arc<(Int, Int)>),
    /// The smaller.
    Min(Arc<(Int, Int)>),
    /// The larger.
    Max(Arc<(Int, Int)>),
}

/// Atoms multiplied together, sorted; empty for the constant term.
type Monomial = SmallVec<[Atom; 1]>;

/// A symbolic integer in normal form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Int(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    /// Sorted by monomial, no zero coefficient, never a lone constant term.
    Sum(Arc<Vec<(Monomial, i64)>>),
}

/// Polynomials longer than this are replaced by nothing: callers treat `None` as "unknown".
const MAX_TERMS: usize = 32;
const MAX_DEGREE: usize = 12;
/// Atoms in an expression under `FloorDiv`, `Min` or `Max`, nested ones counted each time they occur. Bounds the work
/// of comparing two expressions, and how deep they nest, whatever a file's shape arithmetic builds up.
const MAX_ATOMS: usize = 64;

/// The greatest common divisor of `a` > 0 and `b` ≥ 0.
fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Two expressions that are small enough to stand under an atom.
fn pair(a: &Int, b: &Int) -> Option<Arc<(Int, Int)>> {
    (a.atoms() + b.atoms() <= MAX_ATOMS).then(|| Arc::new((a.clone(), b.clone())))
}

impl Int {
    /// The dimension that the file calls `name`.
    pub fn named(name: impl Into<Arc<str>>) -> Int {
        Int::atom(Atom::Named(name.into()))
    }

    /// The size of axis `index` of value `value`, known only at run time.
    pub fn measured(value: u32, index: u32) -> Int {
        Int::atom(Atom::Measured { value, index })
    }

    /// Element `index` of value `value`, known only at run time.
    pub fn element(value: u32, index: u32) -> Int {
        Int::atom(Atom::Element { value, index })
    }

    /// One atom.
    pub fn atom(atom: Atom) -> Int {
        Int(Repr::Sum(Arc::new(vec![(SmallVec::from_iter([atom]), 1)])))
    }

    /// The number, when it is one.
    pub fn known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(n) => Some(n),
            Repr::Sum(_) => None,
        }
    }

    /// The name, when this is just a dimension that the file names.
    pub fn name(&self) -> Option<&str> {
        match self.as_atom()? {
            Atom::Named(name) => Some(name),
            Atom::Measured { .. }
            | Atom::Element { .. }
            | Atom::Opaque(_)
            | Atom::FloorDiv(_)
            | Atom::Min(_)
            | Atom::Max(_) => None,
        }
    }

    /// The atom, when this is exactly one.
    pub fn as_atom(&self) -> Option<&Atom> {
        match &self.0 {
            Repr::Sum(terms) => match &terms[..] {
                [(mono, 1)] if mono.len() == 1 => mono.first(),
                _ => None,
            },
            Repr::Known(_) => None,
        }
    }

    /// 0 for a number, 1 for a name, 2 for an expression of names, 3 where a run-time measurement is involved.
    pub(crate) fn vagueness(&self) -> u8 {
        fn atom(a: &Atom) -> u8 {
            match a {
                Atom::Named(_) => 2,
                Atom::Measured { .. } | Atom::Element { .. } | Atom::Opaque(_) => 3,
                Atom::FloorDiv(p) | Atom::Min(p) | Atom::Max(p) => p.0.vagueness().max(p.1.vagueness()).max(2),
            }
        }
        match &self.0 {
            Repr::Known(_) => 0,
            Repr::Sum(_) if self.name().is_some() => 1,
            Repr::Sum(terms) => terms.iter().flat_map(|(m, _)| m).map(atom).max().unwrap_or(0),
        }
    }

    fn terms(&self) -> Vec<(Monomial, i64)> {
        match &self.0 {
            Repr::Known(0) => Vec::new(),
            Repr::Known(n) => vec![(Monomial::new(), *n)],
            Repr::Sum(terms) => terms.to_vec(),
        }
    }

    /// `None` when a coefficient overflows or the polynomial grows past what is useful.
    fn from_terms(mut terms: Vec<(Monomial, i64)>) -> Option<Int> {
        terms.sort_unstable();
        let mut merged: Vec<(Monomial, i64)> = Vec::with_capacity(terms.len());
        for (mono, k) in terms {
            match merged.last_mut() {
                Some((last, sum)) if *last == mono => *sum = sum.checked_add(k)?,
                _ => merged.push((mono, k)),
            }
        }
        merged.retain(|(_, k)| *k != 0);
        if merged.len() > MAX_TERMS || merged.iter().any(|(m, _)| m.len() > MAX_DEGREE) {
            return None;
        }
        Some(match &merged[..] {
            [] => Int(Repr::Known(0)),
            [(mono, k)] if mono.is_empty() => Int(Repr::Known(*k)),
            _ => Int(Repr::Sum(Arc::new(merged))),
        })
    }

    /// `self + other`; `None` when it overflows.
    pub fn checked_add(&self, other: &Int) -> Option<Int> {
        if let (Repr::Known(a), Repr::Known(b)) = (&self.0, &other.0) {
            return a.checked_add(*b).map(Int::from);
        }
        let mut terms = self.terms();
        terms.extend(other.terms());
        Int::from_terms(terms)
    }

    /// `self · other`; `None` when it overflows.
    pub fn checked_mul(&self, other: &Int) -> Option<Int> {
        if let (Repr::Known(a), Repr::Known(b)) = (&self.0, &other.0) {
            return a.checked_mul(*b).map(Int::from);
        }
        let (a, b) = (self.terms(), other.terms());
        if a.len() * b.len() > MAX_TERMS * MAX_TERMS {
            return None;
        }
        let mut terms = Vec::with_capacity(a.len() * b.len());
        for (ma, ka) in &a {
            for (mb, kb) in &b {
                let mut mono: Monomial = ma.iter().chain(mb).cloned().collect();
                mono.sort_unstable();
                terms.push((mono, ka.checked_mul(*kb)?));
            }
        }
        Int::from_terms(terms)
    }

    /// `self − other`; `None` when it overflows.
    pub fn checked_sub(&self, other: &Int) -> Option<Int> {
        self.checked_add(&other.checked_mul(&Int::from(-1))?)
    }

    /// `self / other` where the division leaves no remainder whatever the atoms are; `None` otherwise.
    pub fn exact_div(&self, other: &Int) -> Option<Int> {
        let divisor = other.terms();
        let [(mono, k)] = &divisor[..] else {
            // A divisor without terms is 0.
            return (self == other && !divisor.is_empty()).then(|| Int::from(1));
        };
        let mut terms = self.terms();
        for (m, c) in &mut terms {
            if c.checked_rem(*k)? != 0 {
                return None;
            }
            *c /= k;
            for atom in mono {
                let at = m.iter().position(|a| a == atom)?;
                m.remove(at);
            }
        }
        Int::from_terms(terms)
    }

    /// `⌊self / other⌋`. `None` when `other` may be zero or negative, or on overflow.
    pub fn floor_div(&self, other: &Int) -> Option<Int> {
        if let (Some(a), Some(b)) = (self.known(), other.known()) {
            return (b > 0).then(|| Int::from(a.div_euclid(b)));
        }
        if let Some(q) = self.exact_div(other) {
            return Some(q);
        }
        match other.known() {
            Some(b) if b <= 0 => None,
            Some(b) => self.floor_div_known(b),
            None => Some(Int::atom(Atom::FloorDiv(pair(self, other)?))),
        }
    }

    /// `⌊self / b⌋` for `b` > 0, with whole multiples of `b` outside: `⌊(h − 1) / 2⌋ + 1` is `⌊(h + 1) / 2⌋`; in
    /// lowest terms: `⌊(2·h + 1) / 4⌋` is `⌊h / 2⌋`; and as one division: `⌊⌊h / 2⌋ / 2⌋` is `⌊h / 4⌋`.
    fn floor_div_known(&self, b: i64) -> Option<Int> {
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        for (mono, k) in self.terms() {
            whole.push((mono.clone(), k.div_euclid(b)));
            rest.push((mono, k.rem_euclid(b)));
        }
        let common = rest.iter().filter(|(m, _)| !m.is_empty()).fold(b, |g, (_, k)| gcd(g, *k));
        rest.iter_mut().for_each(|(_, k)| *k = k.div_euclid(common));
        let b = b / common;
        let (whole, rest) = (Int::from_terms(whole)?, Int::from_terms(rest)?);
        let (rest, b) = match rest.one_division() {
            Some((x, a, c)) if a.checked_mul(b).is_some() => (x.checked_add(&Int::from(a.checked_mul(c)?))?, a * b),
            _ => (rest, b),
        };
        let part = match rest.known() {
            Some(r) => Int::from(r.div_euclid(b)),
            None => Int::atom(Atom::FloorDiv(pair(&rest, &Int::from(b))?)),
        };
        whole.checked_add(&part)
    }

    /// `(x, a, c)` where this is `⌊x / a⌋ + c` with numbers `a` > 0 and `c`.
    fn one_division(&self) -> Option<(Int, i64, i64)> {
        let terms = self.terms();
        let (c, (mono, 1)) = (match &terms[..] {
            [term] => (0, term),
            [(one, c), term] if one.is_empty() => (*c, term),
            _ => return None,
        }) else {
            return None;
        };
        match &mono[..] {
            [Atom::FloorDiv(p)] => Some((p.0.clone(), p.1.known().filter(|&a| a > 0)?, c)),
            _ => None,
        }
    }

    /// `⌈self / other⌉`, under the same conditions as [`Int::floor_div`].
    pub fn ceil_div(&self, other: &Int) -> Option<Int> {
        if let Some(q) = self.exact_div(other) {
            return Some(q);
        }
        self.checked_add(other)?.checked_sub(&Int::from(1))?.floor_div(other)
    }

    /// The smaller of two.
    pub fn lesser(&self, other: &Int) -> Int {
        self.pick(other, true)
    }

    /// The larger of two.
    pub fn greater(&self, other: &Int) -> Int {
        self.pick(other, false)
    }

    fn pick(&self, other: &Int, smaller: bool) -> Int {
        if self.surely_at_least(other) {
            return if smaller { other.clone() } else { self.clone() };
        }
        if other.surely_at_least(self) {
            return if smaller { self.clone() } else { other.clone() };
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        let (name, make): (_, fn(_) -> Atom) = if smaller { ("min", Atom::Min) } else { ("max", Atom::Max) };
        pair(a, b).map_or_else(|| Int::overflow(name, a, b), |p| Int::atom(make(p)))
    }

    /// Whether this is provably at least `other`, when every dimension is at least zero.
    pub fn surely_at_least(&self, other: &Int) -> bool {
        self.checked_sub(other).is_some_and(|d| d.surely_non_negative())
    }

    /// How many atoms the expression has, nested ones included.
    fn atoms(&self) -> usize {
        fn atom(a: &Atom) -> usize {
            match a {
                Atom::Named(_) | Atom::Measured { .. } | Atom::Element { .. } | Atom::Opaque(_) => 1,
                Atom::FloorDiv(p) | Atom::Min(p) | Atom::Max(p) => 1 + p.0.atoms() + p.1.atoms(),
            }
        }
        match &self.0 {
            Repr::Known(_) => 0,
            Repr::Sum(terms) => terms.iter().flat_map(|(m, _)| m).map(atom).sum(),
        }
    }

    /// Whether this is computed from sizes alone, not from numbers that a run reads.
    pub fn is_of_sizes(&self) -> bool {
        fn atom(a: &Atom) -> bool {
            match a {
                Atom::Named(_) | Atom::Measured { .. } => true,
                Atom::Element { .. } | Atom::Opaque(_) => false,
                Atom::FloorDiv(p) | Atom::Min(p) | Atom::Max(p) => p.0.is_of_sizes() && p.1.is_of_sizes(),
            }
        }
        match &self.0 {
            Repr::Known(_) => true,
            Repr::Sum(terms) => terms.iter().flat_map(|(m, _)| m).all(atom),
        }
    }

    /// The most atoms that one term multiplies: 0 for a number, 1 for a sum of multiples of dimensions.
    pub fn degree(&self) -> usize {
        match &self.0 {
            Repr::Known(_) => 0,
            Repr::Sum(terms) => terms.iter().map(|(m, _)| m.len()).max().unwrap_or(0),
        }
    }

    /// Whether this is provably at least zero, when every dimension is.
    pub fn surely_non_negative(&self) -> bool {
        fn atom(a: &Atom) -> bool {
            match a {
                Atom::Named(_) | Atom::Measured { .. } => true,
                Atom::Element { .. } | Atom::Opaque(_) => false,
                Atom::FloorDiv(p) => p.0.surely_non_negative() && p.1.surely_non_negative(),
                Atom::Min(p) => p.0.surely_non_negative() && p.1.surely_non_negative(),
                Atom::Max(p) => p.0.surely_non_negative() || p.1.surely_non_negative(),
            }
        }
        match &self.0 {
            Repr::Known(n) => *n >= 0,
            Repr::Sum(terms) => terms.iter().all(|(m, k)| *k > 0 && m.iter().all(atom)),
        }
    }

    /// Whether `is` holds of an atom anywhere in this that is no expression itself.
    pub fn mentions(&self, is: &dyn Fn(&Atom) -> bool) -> bool {
        let Repr::Sum(terms) = &self.0 else { return false };
        terms.iter().flat_map(|(mono, _)| mono).any(|atom| match atom {
            Atom::Named(_) | Atom::Measured { .. } | Atom::Element { .. } | Atom::Opaque(_) => is(atom),
            Atom::FloorDiv(p) | Atom::Min(p) | Atom::Max(p) => p.0.mentions(is) || p.1.mentions(is),
        })
    }

    /// Put `with(atom)` for every atom that it knows.
    pub fn substitute(&self, with: &dyn Fn(&Atom) -> Option<Int>) -> Option<Int> {
        let Repr::Sum(terms) = &self.0 else { return Some(self.clone()) };
        let mut sum = Int::from(0);
        for (mono, k) in terms.iter() {
            let mut product = Int::from(*k);
            for atom in mono {
                let value = match with(atom) {
                    Some(value) => value,
                    None => match atom {
                        Atom::Named(_) | Atom::Measured { .. } | Atom::Element { .. } | Atom::Opaque(_) => {
                            Int::atom(atom.clone())
                        }
                        Atom::FloorDiv(p) => p.0.substitute(with)?.floor_div(&p.1.substitute(with)?)?,
                        Atom::Min(p) => p.0.substitute(with)?.lesser(&p.1.substitute(with)?),
                        Atom::Max(p) => p.0.substitute(with)?.greater(&p.1.substitute(with)?),
                    },
                };
                product = product.checked_mul(&value)?;
            }
            sum = sum.checked_add(&product)?;
        }
        Some(sum)
    }
}

impl From<i64> for Int {
    fn from(n: i64) -> Int {
        Int(Repr::Known(n))
    }
}

impl From<i32> for Int {
    fn from(n: i32) -> Int {
        Int(Repr::Known(n.into()))
    }
}

impl From<usize> for Int {
    fn from(n: usize) -> Int {
        Int(Repr::Known(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

/// The operators stand for the checked forms where overflow cannot matter: an overflowing result is an atom that
/// equals only itself.
macro_rules! operators {
    ($($trait:ident $method:ident $checked:ident),*) => {
        $(
            impl $trait for &Int {
                type Output = Int;
                fn $method(self, rhs: &Int) -> Int {
                    self.$checked(rhs).unwrap_or_else(|| Int::overflow(stringify!($checked), self, rhs))
                }
            }
            impl $trait<i64> for &Int {
                type Output = Int;
                fn $method(self, rhs: i64) -> Int {
                    $trait::$method(self, &Int::from(rhs))
                }
            }
        )*
    };
}

operators!(Add add checked_add, Sub sub checked_sub, Mul mul checked_mul);

impl Int {
    /// An atom that equals itself and nothing that can be computed.
    fn overflow(op: &str, a: &Int, b: &Int) -> Int {
        let mut text = format!("{a} {op} {b}");
        text.truncate(text.char_indices().nth(64).map_or(text.len(), |(i, _)| i));
        // Two different overflowing expressions may share 64 characters; the hash keeps them apart.
        let hash = xxhash_rust::xxh3::xxh3_64(format!("{a:?}{op}{b:?}").as_bytes());
        Int::atom(Atom::Opaque(format!("?{text}#{hash:x}").into()))
    }
}

impl Neg for &Int {
    type Output = Int;
    fn neg(self) -> Int {
        self * -1
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr::Sum(terms) = &self.0 else {
            return write!(f, "{}", self.known().unwrap_or_default());
        };
        for (i, (mono, k)) in terms.iter().enumerate() {
            if i > 0 {
                f.write_str(" + ")?;
            }
            if *k != 1 || mono.is_empty() {
                write!(f, "{k}")?;
            }
            for (j, atom) in mono.iter().enumerate() {
                if j > 0 || *k != 1 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Named(name) => f.write_str(name),
            Atom::Measured { value, index } => write!(f, "?{value}.{index}"),
            Atom::Opaque(text) => f.write_str(text),
            Atom::Element { value, index } => write!(f, "?{value}[{index}]"),
            Atom::FloorDiv(p) => write!(f, "({})/({})", p.0, p.1),
            Atom::Min(p) => write!(f, "min({}, {})", p.0, p.1),
            Atom::Max(p) => write!(f, "max({}, {})", p.0, p.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(name: &str) -> Int {
        Int::named(name)
    }

    #[test]
    fn equal_polynomials_compare_equal() {
        let (h, w) = (n("h"), n("w"));
        assert_eq!(&(&h + &w) * 2, &(&w * 2) + &(&h * 2));
        assert_eq!(&(&h * &w) - &(&w * &h), Int::from(0));
        assert_ne!(h, w);
    }

    #[test]
    fn division_is_exact_only_when_nothing_remains() {
        let (h, w) = (n("h"), n("w"));
        assert_eq!((&h * &w).exact_div(&w), Some(h.clone()));
        assert_eq!((&h * 6).exact_div(&Int::from(3)), Some(&h * 2));
        assert_eq!((&h * 6).exact_div(&Int::from(4)), None);
        assert_eq!(Int::from(0).exact_div(&Int::from(0)), None);
        assert_eq!((&h + 1).floor_div(&Int::from(2)).map(|d| d.to_string()).as_deref(), Some("(1 + h)/(2)"));
    }

    #[test]
    fn overflow_equals_only_itself() {
        let big = Int::from(i64::MAX);
        assert_eq!(&big + &big, &big + &big);
        assert_ne!(&big + &big, &big * &big);
        assert_eq!((&big + &big).known(), None);
    }

    #[test]
    fn division_has_one_form() {
        let (h, two) = (n("h"), Int::from(2));
        let half = |x: &Int| x.floor_div(&two).unwrap();
        assert_eq!(&half(&(&h - 1)) + 1, half(&(&h + 1)));
        assert_eq!(half(&half(&h)), h.floor_div(&Int::from(4)).unwrap());
        assert_eq!(half(&(&half(&(&h + 1)) + 1)), (&h + 3).floor_div(&Int::from(4)).unwrap());
        assert_eq!(half(&(&h * 3)), &h + &half(&h));
        assert_eq!((&(&h * 6) + 5).floor_div(&Int::from(4)).unwrap(), &(&h + 1) + &half(&h));
        assert_eq!(half(&(&h * -1)), &half(&h) - &h);
        for (text, want) in [(7, 4), (8, 4), (-3, -1)] {
            let at = |a: &Atom| (*a == Atom::Named("h".into())).then(|| Int::from(text));
            assert_eq!(half(&(&h + 1)).substitute(&at), Some(Int::from(want)));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut x = n("h");
        for _ in 0..100_000 {
            x = (&x + 1).floor_div(&Int::from(2)).unwrap_or_else(|| n("again"));
            x = x.lesser(&(&x * &x));
        }
        assert!(x.atoms() <= 2 * MAX_ATOMS);
    }

    #[test]
    fn only_sizes_are_surely_non_negative() {
        let big = Int::from(i64::MAX);
        assert!(n("h").surely_non_negative() && Int::measured(0, 0).surely_non_negative());
        assert!(!Int::element(0, 0).surely_non_negative());
        assert!(!(&big + &big).surely_non_negative());
        assert_eq!((&big + &big).name(), None);
    }

    #[test]
    fn what_is_provably_smaller_needs_no_minimum() {
        let h = n("h");
        assert_eq!(h.lesser(&(&h + 2)), h);
        assert_eq!(h.greater(&Int::from(0)), h);
        assert_eq!((&h * 2).greater(&h), &h * 2);
        assert_eq!(h.lesser(&h), h);
    }

    #[test]
    fn substitution_reaches_into_atoms() {
        let half = n("h").floor_div(&Int::from(2)).unwrap();
        let at = |a: &Atom| (*a == Atom::Named("h".into())).then(|| Int::from(7));
        assert_eq!(half.substitute(&at), Some(Int::from(3)));
    }
}
