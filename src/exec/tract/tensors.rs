//! Tensors to tract's and back.

use bytes::Bytes;
use tract_onnx::prelude::{DatumType, TValue};
use tract_onnx::tract_hir::prelude::tract_ndarray::ArrayD;
use tract_onnx::tract_hir::prelude::{IntoTensor, Tensor as TractTensor};

use super::{NAME, refusal};
use crate::exec::executor::Cannot;
use crate::ir::{DType, Tensor};

pub(super) fn datum_type(dtype: DType) -> Result<DatumType, Cannot> {
    Ok(match dtype {
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::F16 => DatumType::F16,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
        DType::String => DatumType::String,
        DType::C64
        | DType::C128
        | DType::BF16
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0
        | DType::F6E2M3
        | DType::F6E3M2
        | DType::F4E2M1
        | DType::U4
        | DType::I4
        | DType::U2
        | DType::I2 => return Err(Cannot::new(NAME, format!("it has no type {dtype}"))),
    })
}

pub(super) fn to_tract(t: &Tensor) -> Result<TractTensor, Cannot> {
    let dtype = datum_type(t.dtype())?;
    if let Some(strings) = t.as_strings() {
        let strings = strings.iter().map(|s| String::from_utf8(s.to_vec())).collect::<Result<Vec<_>, _>>();
        let strings = strings.map_err(|_| Cannot::new(NAME, "a string is not UTF-8"))?;
        let array = ArrayD::from_shape_vec(t.dims(), strings).map_err(|e| Cannot::new(NAME, e.to_string()))?;
        return Ok(array.into_tensor());
    }
    let bytes = t.bytes().ok_or_else(|| Cannot::new(NAME, "a tensor has no elements to hand over"))?;
    let mut made = TractTensor::zero_dt(dtype, t.dims()).map_err(|e| refusal(&e))?;
    let target = made.as_bytes_mut();
    if target.len() != bytes.len() {
        return Err(Cannot::new(NAME, format!("{t} takes {} bytes there", target.len())));
    }
    match t.dtype() {
        // Any other byte would not be a boolean there.
        DType::Bool => target.iter_mut().zip(&bytes).for_each(|(to, from)| *to = u8::from(*from != 0)),
        _ => target.copy_from_slice(&bytes),
    }
    Ok(made)
}

/// A result as it lies in tract's memory, where it can.
pub(super) fn held(value: TValue) -> Result<Tensor, Cannot> {
    struct Owner(TValue);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    if value.datum_type() != DatumType::F32 {
        return from_tract(&value);
    }
    let dims = value.shape().to_vec();
    Tensor::raw(DType::F32, &dims, Bytes::from_owner(Owner(value))).map_err(|e| Cannot::new(NAME, e.to_string()))
}

pub(super) fn from_tract(value: &TractTensor) -> Result<Tensor, Cannot> {
    let made = |e: crate::ir::TensorError| Cannot::new(NAME, e.to_string());
    let dtype = match value.datum_type() {
        DatumType::F32 => DType::F32,
        DatumType::F64 => DType::F64,
        DatumType::F16 => DType::F16,
        DatumType::I8 | DatumType::QI8(_) => DType::I8,
        DatumType::I16 => DType::I16,
        DatumType::I32 | DatumType::QI32(_) => DType::I32,
        DatumType::I64 => DType::I64,
        DatumType::U8 | DatumType::QU8(_) => DType::U8,
        DatumType::U16 => DType::U16,
        DatumType::U32 => DType::U32,
        DatumType::U64 => DType::U64,
        DatumType::Bool => DType::Bool,
        DatumType::String => {
            let strings = value.to_plain_array_view::<String>().map_err(|e| refusal(&e))?;
            let strings = strings.iter().map(|s| s.clone().into_bytes().into()).collect();
            return Tensor::strings(value.shape(), strings).map_err(made);
        }
        // How tract holds shapes.
        DatumType::TDim => {
            let numbers = value.cast_to::<i64>().map_err(|e| refusal(&e))?;
            return from_tract(&numbers);
        }
        other @ DatumType::Blob => return Err(Cannot::new(NAME, format!("a result of type {other:?}"))),
    };
    Tensor::raw(dtype, value.shape(), value.as_bytes().to_vec().into()).map_err(made)
}
