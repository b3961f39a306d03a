//! Random operators. A seed makes a run repeatable in one runtime only, so none of them counts as deterministic.

use crate::ir::{Attr, DType, Int, Key};
use crate::ops::{CallView, Infer, OpDef, Outcome};

const RANDOM: OpDef = OpDef { macs: |_| Some(Int::from(0)), ..OpDef::UNKNOWN };

/// A tensor of the shape and type that attributes say.
pub static GENERATE: OpDef = OpDef { infer: Some(generate), ..RANDOM };

/// As large as operand 0, and of its element type unless an attribute says another.
pub static LIKE: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = match c.node().attr("dtype") {
            Some(_) => dtype(c, 0),
            None => c.dtype(0),
        };
        c.set_dtype(0, dtype);
        let dims = c.dims(0)?.to_vec();
        c.set(0, dtype, dims);
        Some(())
    }),
    ..RANDOM
};

/// Samples of class numbers: `[batch, sample_size]`.
pub static MULTINOMIAL: OpDef = OpDef {
    infer: Some(|c| {
        const SAMPLE_SIZE: Key<i64> = Key::new("sample_size", 1);
        let batch = match c.dims(0) {
            Some([batch, _]) => batch.clone(),
            Some(_) => return None,
            None => c.fresh(0, 0),
        };
        let dtype = dtype(c, 6);
        let size = SAMPLE_SIZE.of(c.node());
        let size = if size >= 0 { Int::from(size) } else { c.fresh(0, 1) };
        c.set(0, dtype, [batch, size]);
        Some(())
    }),
    ..RANDOM
};

/// The element type that the `dtype` attribute names, `default` when it is absent.
fn dtype(call: &CallView<'_>, default: i64) -> Option<DType> {
    i32::try_from(Key::new("dtype", default).of(call.node())).ok().and_then(DType::from_code)
}

fn generate(call: &mut Infer<'_>) -> Outcome {
    let dtype = dtype(call, 1);
    call.set_dtype(0, dtype);
    let Some(Attr::Ints(shape)) = call.node().attr("shape") else { return None };
    if shape.iter().any(|&d| d < 0) {
        return None;
    }
    call.set(0, dtype, shape.iter().map(|&d| Int::from(d)));
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::is_deterministic;
    use crate::ops::testing::{Case, infer};

    #[test]
    fn attributes_say_shape_and_type() {
        assert_eq!(infer(RandomNormal, "", &[("shape", vec![2, 3].into()), ("dtype", 11.into())]), "double[2,3]");
        assert_eq!(infer(RandomUniform, "", &[("shape", vec![2, -3].into())]), "float[..]");
        assert_eq!(infer(RandomUniformLike, "int64[n,3]", &[("dtype", 10.into())]), "float16[n,3]");
        assert_eq!(infer(Bernoulli, "double[n,3]", &[]), "double[n,3]");
        assert_eq!(infer(Multinomial, "float[n,10]", &[("sample_size", 4.into())]), "int32[n,4]");
    }

    #[test]
    fn nothing_random_is_deterministic() {
        for op in [RandomNormal, RandomUniform, RandomNormalLike, RandomUniformLike, Bernoulli, Multinomial] {
            let case = Case::new(op, "float[2]", &[("seed", 1.0.into())], 1);
            assert!(!is_deterministic(&case.graph, case.node));
        }
    }
}
