//! Strings.

use bytes::{Bytes, BytesMut};

use crate::exec::exact::args::Args;
use crate::exec::exact::number::zip_lanes;
use crate::exec::exact::{Folded, Unable};
use crate::ir::DType;

/// `StringConcat`
pub(super) fn concat(args: &Args<'_>) -> Result<Folded, Unable> {
    let operands = [args.tensor(0)?, args.tensor(1)?];
    if operands.iter().any(|t| t.dtype() != DType::String) {
        return Err(Unable::malformed(format!("StringConcat of {} and {}", operands[0], operands[1])));
    }
    // Broadcasting repeats strings; bound what they can come to.
    let longest = operands.iter().filter_map(|t| t.as_strings()?.iter().map(Bytes::len).max()).sum::<usize>();
    let dims = super::layout::broadcast_dims(&[operands[0].dims(), operands[1].dims()])?;
    args.room(DType::U8, args.room_for(DType::String, &dims)?.saturating_mul(longest))?;
    zip_lanes::<Bytes, Bytes, Bytes>(args, operands, DType::String, |a, b| {
        let mut joined = BytesMut::with_capacity(a.len() + b.len());
        joined.extend_from_slice(a);
        joined.extend_from_slice(b);
        Some(joined.freeze())
    })
    .map(Folded::from)
}
