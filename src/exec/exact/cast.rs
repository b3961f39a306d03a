//! `Cast`: every pair of types for which ONNX says what the result is.

use bytes::Bytes;

use crate::exec::exact::args::Args;
use crate::exec::exact::lanes::{Lane, pack, raw};
use crate::exec::exact::minifloat::{Format, Overflow, PowerRounding, decode_e8m0, encode_e8m0};
use crate::exec::exact::number::{Float, Integer, Number, Wide, map_lanes, per_float, per_integer, per_number};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Key, Tensor};
use crate::ops::shape::TO;

const SATURATE: Key<bool> = Key::new("saturate", true);
const ROUND_MODE: Key<&str> = Key::new("round_mode", "up");

/// `Cast`
pub(super) fn cast(args: &Args<'_>) -> Result<Folded, Unable> {
    let to = i32::try_from(TO.of(args.node())).ok().and_then(DType::from_code).ok_or(Unable::NoKernel)?;
    converted(args, args.tensor(0)?, to).map(Folded::from)
}

/// `CastLike`
pub(super) fn cast_like(args: &Args<'_>) -> Result<Folded, Unable> {
    converted(args, args.tensor(0)?, args.tensor(1)?.dtype()).map(Folded::from)
}

fn converted(args: &Args<'_>, t: &Tensor, to: DType) -> Result<Tensor, Unable> {
    let from = t.dtype();
    if from == to {
        return Ok(t.clone());
    }
    if from == DType::String {
        return parsed(args, t, to);
    }
    if to == DType::String {
        return printed(args, t);
    }
    per_number!(from, S => to_type::<<S as Number>::Packed>(args, t, to, |p| S::get(*p).wide()), else => {
        // At most 256 codes: look them up.
        let table: Vec<Wide> = (0..=u8::MAX).map(|code| small(from, code)).collect::<Option<_>>().ok_or(Unable::NoKernel)?;
        to_type::<[u8; 1]>(args, t, to, |[code]| table[usize::from(*code)])
    })
}

/// The value of an element of at most one byte; `None` for other types.
pub(super) fn small(dtype: DType, code: u8) -> Option<Wide> {
    let signed = |bits: u32| i128::from((code << (8 - bits)).cast_signed() >> (8 - bits));
    Some(match dtype {
        DType::Bool => Wide::Int(i128::from(code != 0)),
        DType::U8 | DType::U4 | DType::U2 => Wide::Int(code.into()),
        DType::I8 => Wide::Int(signed(8)),
        DType::I4 => Wide::Int(signed(4)),
        DType::I2 => Wide::Int(signed(2)),
        DType::F8E8M0 => Wide::Float(decode_e8m0(code)),
        _ => Wide::Float(Format::of(dtype)?.decode(code.into())),
    })
}

fn to_type<L: Lane>(args: &Args<'_>, t: &Tensor, to: DType, wide: impl Fn(&L) -> Wide) -> Result<Tensor, Unable> {
    let out_of_range = |e| match e {
        Unable::Undefined(_) => Unable::Undefined("a number is outside the range of the type it is cast to"),
        e => e,
    };
    let overflow = if SATURATE.of(args.node()) { Overflow::Saturate } else { Overflow::Escape };
    let result = per_integer!(to, D => map_lanes::<L, <D as Number>::Packed>(args, t, to, |l| integer::<D>(wide(l)).map(D::put)), else => {
        per_float!(to, D => map_lanes::<L, <D as Number>::Packed>(args, t, to, |l| Some(float::<D>(wide(l)).put())), else => match to {
            DType::Bool => map_lanes::<L, [u8; 1]>(args, t, to, |l| Some([u8::from(wide(l) != Wide::Int(0) && wide(l).to_f64() != 0.0)])),
            DType::I4 => map_lanes::<L, [u8; 1]>(args, t, to, |l| narrow(wide(l), -8, 7)),
            DType::U4 => map_lanes::<L, [u8; 1]>(args, t, to, |l| narrow(wide(l), 0, 15)),
            DType::I2 => map_lanes::<L, [u8; 1]>(args, t, to, |l| narrow(wide(l), -2, 1)),
            DType::U2 => map_lanes::<L, [u8; 1]>(args, t, to, |l| narrow(wide(l), 0, 3)),
            DType::F8E8M0 => {
                let rounding = match args.text(ROUND_MODE).as_ref() {
                    "up" => PowerRounding::Up,
                    "down" => PowerRounding::Down,
                    "nearest" => PowerRounding::Nearest,
                    other => return Err(Unable::malformed(format!("round_mode {other}"))),
                };
                map_lanes::<L, [u8; 1]>(args, t, to, |l| encode_e8m0(wide(l).to_f64(), rounding, overflow).map(|c| [c]))
            }
            _ => {
                let format = Format::of(to).ok_or(Unable::NoKernel)?;
                map_lanes::<L, [u8; 1]>(args, t, to, |l| {
                    let x = wide(l).to_f64();
                    let is_open = format.lacks_nan() && x.is_nan();
                    if is_open { None } else { Some([format.encode(x, overflow).to_le_bytes()[0]]) }
                })
            }
        })
    });
    result.map_err(out_of_range)
}

/// A float's whole part when it is in range; the low bits of an integer.
fn integer<D: Integer>(x: Wide) -> Option<D> {
    match x {
        Wide::Int(i) => Some(D::wrapped(i)),
        Wide::Float(f) => {
            let i = whole(f)?;
            let d = D::wrapped(i);
            (d.to_i128() == i).then_some(d)
        }
    }
}

/// The low bits of an integer; a float's whole part when it is within `least..=greatest`.
fn narrow(x: Wide, least: i128, greatest: i128) -> Option<[u8; 1]> {
    let i = match x {
        Wide::Int(i) => i,
        Wide::Float(f) => whole(f).filter(|i| (least..=greatest).contains(i))?,
    };
    // Packing keeps the low bits.
    Some([i.to_le_bytes()[0]])
}

/// The whole part of a finite float of moderate size.
fn whole(f: f64) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (f.abs() < 1e30).then(|| f.trunc() as i128)
}

fn float<D: Float>(x: Wide) -> D {
    match x {
        Wide::Float(f) => D::nearest(f),
        Wide::Int(i) => D::nearest(if D::DTYPE == DType::F64 { x.to_f64() } else { towards_odd(i) }),
    }
}

/// `i` as f64, with an odd last bit when that is inexact, so that rounding once more to a narrower type gives what
/// rounding `i` itself gives.
fn towards_odd(i: i128) -> f64 {
    const PRECISION: u32 = f64::MANTISSA_DIGITS;
    let magnitude = i.unsigned_abs();
    let excess = (u128::BITS - magnitude.leading_zeros()).saturating_sub(PRECISION);
    let kept = magnitude >> excess;
    let odd = kept | u128::from((kept << excess) != magnitude);
    #[expect(clippy::cast_precision_loss, reason = "at most 53 bits are left above the excess")]
    let x = (odd << excess) as f64;
    if i < 0 { -x } else { x }
}

/// Decimal literals. What is no number, and a fraction for an integer type, ONNX leaves open.
fn parsed(args: &Args<'_>, t: &Tensor, to: DType) -> Result<Tensor, Unable> {
    const OPEN: Unable = Unable::Undefined("a string is not a literal of the type it is cast to");
    let strings = t.as_strings().ok_or(Unable::NoKernel)?;
    let n = args.room_for(to, t.dims())?;
    let mut out = Vec::with_capacity(to.byte_len(n).unwrap_or(0));
    for s in strings {
        let s = std::str::from_utf8(s).map_err(|_| OPEN)?;
        per_integer!(to, D => out.extend(s.parse::<D>().map_err(|_| OPEN)?.put()), else => match to {
            DType::F32 => out.extend(s.parse::<f32>().map_err(|_| OPEN)?.put()),
            _ => per_float!(to, D => out.extend(D::nearest(s.parse().map_err(|_| OPEN)?).put()), else => return Err(Unable::NoKernel)),
        });
    }
    raw(to, t.dims(), out)
}

/// Integers in decimal. How a float is printed, runtimes do not agree on.
fn printed(args: &Args<'_>, t: &Tensor) -> Result<Tensor, Unable> {
    args.room_for(DType::String, t.dims())?;
    let strings = per_integer!(t.dtype(), S => {
        let elements = super::number::numbers::<S>(args, t)?;
        elements.iter().map(|i| Bytes::from(i.to_string())).collect()
    }, else => return Err(Unable::Undefined("runtimes print floats differently")));
    <Bytes as Lane>::write(DType::String, t.dims(), strings)
}

/// Packed elements of `to` nearest to `reals`; integers are truncated, and wrap.
pub(super) fn pack_reals(to: DType, reals: &[f64]) -> Option<Vec<u8>> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates far beyond every range")]
    let whole = |x: f64| x as i128;
    Some(per_integer!(to, D => reals.iter().flat_map(|x| D::wrapped(whole(*x)).put()).collect(), else => {
        per_float!(to, D => reals.iter().flat_map(|x| D::nearest(*x).put()).collect(), else => match to {
            DType::Bool => reals.iter().map(|x| u8::from(*x != 0.0)).collect(),
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
                pack(to, &reals.iter().map(|x| whole(*x).to_le_bytes()[0]).collect::<Vec<_>>())
            }
            DType::F8E8M0 => {
                let code = |x: &f64| encode_e8m0(x.abs(), PowerRounding::Nearest, Overflow::Saturate);
                reals.iter().map(code).collect::<Option<_>>()?
            }
            _ => {
                let format = Format::of(to)?;
                let codes: Vec<u8> = reals.iter().map(|x| format.encode(*x, Overflow::Saturate).to_le_bytes()[0]).collect();
                if to.bits() < 8 { pack(to, &codes) } else { codes }
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn integers_round_once_on_their_way_to_narrow_floats() {
        // Half way between two bfloat16, plus one: rounding to f64 or f32 first would lose the one.
        let tie = (1i128 << 60) + (1 << 52);
        assert_eq!(float::<bf16>(Wide::Int(tie)).to_f64(), 2f64.powi(60));
        assert_eq!(float::<bf16>(Wide::Int(tie + 1)).to_f64(), 2f64.powi(60) + 2f64.powi(53));
        assert_eq!(float::<f32>(Wide::Int((1 << 40) + (1 << 16) + 1)), ((1i64 << 40) + (1 << 16) + 1) as f32);
        for i in [0, -1, 1 << 53, (1 << 53) + 1, i128::from(i64::MIN), i128::from(u64::MAX)] {
            assert_eq!(float::<f32>(Wide::Int(i)), i as f32);
        }
    }

    #[test]
    fn integers_wrap_and_floats_must_fit() {
        assert_eq!(integer::<i8>(Wide::Int(200)), Some(-56));
        assert_eq!(integer::<i8>(Wide::Float(127.9)), Some(127));
        assert_eq!(integer::<i8>(Wide::Float(-128.9)), Some(-128));
        assert_eq!(integer::<i8>(Wide::Float(128.0)), None);
        assert_eq!(integer::<u8>(Wide::Float(-0.5)), Some(0));
        assert_eq!(integer::<i64>(Wide::Float(9.3e18)), None);
        assert_eq!(integer::<i64>(Wide::Float(f64::NAN)), None);
        assert_eq!(narrow(Wide::Float(7.9), -8, 7), Some([7]));
        assert_eq!(narrow(Wide::Float(8.0), -8, 7), None);
    }
}
