//! Strings.

use crate::ir::{Attr, DType, Int};
use crate::ops::elementwise::{BINARY, UNARY, broadcast_all, like_first_but};
use crate::ops::{Channels, Infer, OpDef, Outcome};

/// Strings joined pair by pair, broadcast.
pub static STRING_CONCAT: OpDef = OpDef { infer: Some(|c| broadcast_all(c, Some(DType::String))), ..BINARY };

/// Whether each string matches a pattern.
pub static REGEX_FULL_MATCH: OpDef = OpDef { infer: Some(|c| like_first_but(c, DType::Bool)), ..UNARY };

/// Case changed and stop words taken out, of `[C]` or `[1, C]`.
pub static STRING_NORMALIZER: OpDef = OpDef { infer: Some(normalize), channels: |_| Channels::Barrier, ..OpDef::PURE };

/// Strings cut at a delimiter along a new last axis; result 1 counts the pieces.
pub static STRING_SPLIT: OpDef = OpDef {
    infer: Some(|c| {
        c.set_dtype(0, Some(DType::String));
        c.set_dtype(1, Some(DType::I64));
        let x = c.dims(0)?;
        let pieces = c.fresh(0, x.len());
        c.set(1, DType::I64, x.to_vec());
        c.set(0, DType::String, x.iter().cloned().chain([pieces]));
        Some(())
    }),
    ..OpDef::PURE
};

/// How often each n-gram of a pool occurs: `[C]` to `[grams]`, `[N, C]` to `[N, grams]`.
pub static TF_IDF_VECTORIZER: OpDef = OpDef {
    infer: Some(|c| {
        c.set_dtype(0, Some(DType::F32));
        let grams = match c.node().attr("ngram_indexes") {
            Some(Attr::Ints(at)) => at.iter().max().and_then(|last| last.checked_add(1)).filter(|&n| n >= 1),
            _ => None,
        };
        let x = c.dims(0)?;
        let rank = x.len();
        let grams = grams.map_or_else(|| c.fresh(0, rank.saturating_sub(1)), Int::from);
        match x {
            [_] => c.set(0, DType::F32, [grams]),
            [n, _] => c.set(0, DType::F32, [n.clone(), grams]),
            _ => return None,
        }
        Some(())
    }),
    ..OpDef::PURE
};

fn normalize(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, Some(DType::String));
    let keeps_all = match call.node().attr("stopwords") {
        None => true,
        Some(Attr::Strs(words)) => words.is_empty(),
        Some(_) => false,
    };
    let mut dims = call.dims(0)?.to_vec();
    let axis = dims.len().checked_sub(1)?;
    // Where no string is left, one empty string stands.
    if !(keeps_all && dims[axis].surely_at_least(&Int::from(1))) {
        dims[axis] = call.fresh(0, axis);
    }
    call.set(0, DType::String, dims);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::Attr;
    use crate::ir::OpKind::*;
    use crate::ops::testing::{infer, infer_all};

    #[test]
    fn strings_keep_their_places() {
        assert_eq!(infer(StringConcat, "string[n,1] string[3]", &[]), "string[n,3]");
        assert_eq!(infer(RegexFullMatch, "string[n]", &[]), "bool[n]");
        assert_eq!(infer_all(StringSplit, "string[n,2]", &[], 2), "string[n,2,?]  int64[n,2]");
    }

    #[test]
    fn stop_words_may_go() {
        let stop = [("stopwords", Attr::Strs(vec!["a".into()]))];
        assert_eq!(infer(StringNormalizer, "string[1,4]", &[]), "string[1,4]");
        assert_eq!(infer(StringNormalizer, "string[1,4]", &stop), "string[1,?]");
        assert_eq!(infer(StringNormalizer, "string[n]", &[]), "string[?]");
    }

    #[test]
    fn a_vector_of_counts() {
        let grams = [("ngram_indexes", vec![0, 3, 1].into())];
        assert_eq!(infer(TfIdfVectorizer, "int32[n,c]", &grams), "float[n,4]");
        assert_eq!(infer(TfIdfVectorizer, "string[c]", &grams), "float[4]");
        assert_eq!(infer(TfIdfVectorizer, "string[c]", &[]), "float[?]");
    }
}
