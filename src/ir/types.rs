//! Element types, shapes and value types.

use std::fmt;
use std::sync::Arc;

use crate::ir::Int;

/// An element type. The discriminants are ONNX's `TensorProto.DataType` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// IEEE 754 binary32.
    F32 = 1,
    /// Unsigned 8-bit integer.
    U8 = 2,
    /// Signed 8-bit integer.
    I8 = 3,
    /// Unsigned 16-bit integer.
    U16 = 4,
    /// Signed 16-bit integer.
    I16 = 5,
    /// Signed 32-bit integer.
    I32 = 6,
    /// Signed 64-bit integer.
    I64 = 7,
    /// UTF-8 string (any bytes are carried).
    String = 8,
    /// One byte, 0 or 1.
    Bool = 9,
    /// IEEE 754 binary16.
    F16 = 10,
    /// IEEE 754 binary64.
    F64 = 11,
    /// Unsigned 32-bit integer.
    U32 = 12,
    /// Unsigned 64-bit integer.
    U64 = 13,
    /// Two binary32: real, imaginary.
    C64 = 14,
    /// Two binary64: real, imaginary.
    C128 = 15,
    /// The upper half of a binary32.
    BF16 = 16,
    /// 8-bit float, 4 exponent and 3 mantissa bits, no infinities.
    F8E4M3FN = 17,
    /// 8-bit float as `F8E4M3FN`, no negative zero.
    F8E4M3FNUZ = 18,
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2 = 19,
    /// 8-bit float as `F8E5M2`, no infinities, no negative zero.
    F8E5M2FNUZ = 20,
    /// Unsigned 4-bit integer, two to a byte, low nibble first.
    U4 = 21,
    /// Signed 4-bit integer, two to a byte, low nibble first.
    I4 = 22,
    /// 4-bit float, two to a byte, low nibble first.
    F4E2M1 = 23,
    /// An 8-bit power of two.
    F8E8M0 = 24,
    /// Unsigned 2-bit integer, four to a byte, low bits first.
    U2 = 25,
    /// Signed 2-bit integer, four to a byte, low bits first.
    I2 = 26,
    /// 6-bit float, 2 exponent and 3 mantissa bits, four to three bytes, low bits first.
    F6E2M3 = 27,
    /// 6-bit float, 3 exponent and 2 mantissa bits, four to three bytes, low bits first.
    F6E3M2 = 28,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 28] = [
        DType::F32,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::String,
        DType::Bool,
        DType::F16,
        DType::F64,
        DType::U32,
        DType::U64,
        DType::C64,
        DType::C128,
        DType::BF16,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::U4,
        DType::I4,
        DType::F4E2M1,
        DType::F8E8M0,
        DType::U2,
        DType::I2,
        DType::F6E2M3,
        DType::F6E3M2,
    ];

    /// ONNX's number for this type.
    pub fn code(self) -> i32 {
        i32::from(self as u8)
    }

    /// The type with ONNX's number `code`; `None` for 0 (undefined) and numbers newer than this table.
    pub fn from_code(code: i32) -> Option<DType> {
        DType::ALL.into_iter().find(|t| t.code() == code)
    }

    /// The name of a tensor that is another one in this type; nothing for one without a name.
    pub(crate) fn tagged(self, name: &str) -> String {
        if name.is_empty() { String::new() } else { format!("{name}_{}", self.name()) }
    }

    /// ONNX's name, as the text syntax spells it.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::U16 => "uint16",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::String => "string",
            DType::Bool => "bool",
            DType::F16 => "float16",
            DType::F64 => "double",
            DType::U32 => "uint32",
            DType::U64 => "uint64",
            DType::C64 => "complex64",
            DType::C128 => "complex128",
            DType::BF16 => "bfloat16",
            DType::F8E4M3FN => "float8e4m3fn",
            DType::F8E4M3FNUZ => "float8e4m3fnuz",
            DType::F8E5M2 => "float8e5m2",
            DType::F8E5M2FNUZ => "float8e5m2fnuz",
            DType::U4 => "uint4",
            DType::I4 => "int4",
            DType::F4E2M1 => "float4e2m1",
            DType::F8E8M0 => "float8e8m0",
            DType::U2 => "uint2",
            DType::I2 => "int2",
            DType::F6E2M3 => "float6e2m3",
            DType::F6E3M2 => "float6e3m2",
        }
    }

    /// The type that ONNX's text syntax calls `name`.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Bits of one stored element; 0 for strings, whose length varies.
    pub fn bits(self) -> usize {
        match self {
            DType::String => 0,
            DType::U2 | DType::I2 => 2,
            DType::U4 | DType::I4 | DType::F4E2M1 => 4,
            DType::F6E2M3 | DType::F6E3M2 => 6,
            DType::U8
            | DType::I8
            | DType::Bool
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ
            | DType::F8E8M0 => 8,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 16,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::I64 | DType::U64 | DType::F64 | DType::C64 => 64,
            DType::C128 => 128,
        }
    }

    /// Bytes that `count` elements occupy, packed; `None` when it overflows or for strings.
    pub fn byte_len(self, count: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits => count.checked_mul(bits)?.checked_add(7).map(|b| b / 8),
        }
    }

    /// Whether elements are real floating-point numbers (of any width).
    pub fn is_float(self) -> bool {
        matches!(
            self,
            DType::F32
                | DType::F16
                | DType::F64
                | DType::BF16
                | DType::F8E4M3FN
                | DType::F8E4M3FNUZ
                | DType::F8E5M2
                | DType::F8E5M2FNUZ
                | DType::F6E2M3
                | DType::F6E3M2
                | DType::F4E2M1
                | DType::F8E8M0
        )
    }

    /// Whether elements are integers (not booleans).
    pub fn is_integer(self) -> bool {
        self.is_signed_integer() || self.is_unsigned_integer()
    }

    /// Whether elements are two's complement integers.
    pub fn is_signed_integer(self) -> bool {
        matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::I4 | DType::I2)
    }

    /// Whether elements are unsigned integers.
    pub fn is_unsigned_integer(self) -> bool {
        matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::U4 | DType::U2)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The dimensions of a tensor; `None` when not even the rank is known.
///
/// A dimension is a symbolic integer: a number, a name of the file, an expression of these, or "the size of axis k
/// of value v", which equals itself and nothing else. So two dimensions are the same exactly when they compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape(pub Option<Arc<[Int]>>);

impl Shape {
    /// Nothing is known, not even the rank.
    pub const UNKNOWN: Shape = Shape(None);

    /// The shape with these dimensions.
    pub fn of(dims: impl IntoIterator<Item = Int>) -> Shape {
        Shape(Some(dims.into_iter().collect()))
    }

    /// The shape with these sizes.
    pub fn known(dims: &[usize]) -> Shape {
        Shape::of(dims.iter().map(|&d| Int::from(d)))
    }

    /// The dimensions, when the rank is known.
    pub fn dims(&self) -> Option<&[Int]> {
        self.0.as_deref()
    }

    /// The number of dimensions.
    pub fn rank(&self) -> Option<usize> {
        self.0.as_ref().map(|d| d.len())
    }

    /// Every size, when all are numbers.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.dims()?.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect()
    }

    /// Whether both ranks are known and every pair of dimensions is provably the same.
    pub fn surely_equals(&self, other: &Shape) -> bool {
        matches!((&self.0, &other.0), (Some(a), Some(b)) if a == b)
    }

    /// The number of elements, as a symbolic product.
    pub fn count(&self) -> Option<Int> {
        Some(self.dims()?.iter().fold(Int::from(1), |n, d| &n * d))
    }
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A tensor. The element type is `None` only where a file leaves it out and inference cannot tell.
    Tensor {
        /// Element type.
        dtype: Option<DType>,
        /// Dimensions.
        shape: Shape,
    },
    /// A sequence of values of one type.
    Sequence(Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A map, sparse tensor or opaque type: the file's own encoding, carried through unread.
    Carried(Arc<[u8]>),
}

impl Type {
    /// A tensor type.
    pub fn tensor(dtype: DType, shape: Shape) -> Type {
        Type::Tensor { dtype: Some(dtype), shape }
    }

    /// The element type of a tensor.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Type::Tensor { dtype, .. } => *dtype,
            Type::Unknown | Type::Sequence(_) | Type::Optional(_) | Type::Carried(_) => None,
        }
    }

    /// The shape of a tensor; unknown for anything else.
    pub fn shape(&self) -> &Shape {
        match self {
            Type::Tensor { shape, .. } => shape,
            Type::Unknown | Type::Sequence(_) | Type::Optional(_) | Type::Carried(_) => &Shape::UNKNOWN,
        }
    }

    /// Fill what is unknown here from `other`, which describes the same value.
    pub fn refine(&mut self, other: &Type) {
        match (&mut *self, other) {
            (Type::Unknown, _) => *self = other.clone(),
            (Type::Tensor { dtype, shape }, Type::Tensor { dtype: d, shape: s }) => {
                *dtype = dtype.or(*d);
                match (&shape.0, &s.0) {
                    (None, _) => *shape = s.clone(),
                    (Some(mine), Some(theirs)) if mine.len() == theirs.len() && mine != theirs => {
                        // A number says more than an expression, an expression more than "the size of that axis".
                        // What a size is computed from says as much as the name that a file gives it.
                        let says_less = |m: &Int, t: &Int| m.vagueness() > t.vagueness().max(2) || t.known().is_some();
                        let sizes = mine.iter().zip(theirs.iter());
                        *shape = Shape::of(sizes.map(|(m, t)| {
                            let other = m.known().is_none() && says_less(m, t);
                            if other { t.clone() } else { m.clone() }
                        }));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refining_fills_what_is_open() {
        let shape = |dims: &[Int]| Type::tensor(DType::F32, Shape::of(dims.iter().cloned()));
        let (n, measured) = (Int::named("n"), Int::measured(0, 0));
        for (mine, theirs, both) in [
            (measured.clone(), n.clone(), n.clone()),
            (measured.clone(), Int::measured(1, 0), measured.clone()),
            (n.clone(), measured.clone(), n.clone()),
            (&n * 2, Int::named("output_height"), &n * 2),
            (&n * 2, Int::from(8), Int::from(8)),
            (Int::from(8), n.clone(), Int::from(8)),
        ] {
            let mut ty = shape(std::slice::from_ref(&mine));
            ty.refine(&shape(std::slice::from_ref(&theirs)));
            assert_eq!(ty, shape(&[both]), "{mine} with {theirs}");
        }
    }
}
