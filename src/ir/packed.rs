//! Elements of less than a byte, packed: each follows the one before it bit by bit, low bits first. Elements of 2 and
//! 4 bits never straddle bytes, those of 6 bits do.

/// Element `index` of `packed` elements of `bits` bits, below 8; zeros past the end.
pub fn element(bits: usize, packed: &[u8], index: usize) -> u8 {
    let Some(start) = index.checked_mul(bits) else { return 0 };
    let byte = |at: usize| packed.get(at).copied().unwrap_or(0);
    let pair = u16::from_le_bytes([byte(start / 8), byte(start / 8 + 1)]);
    (pair >> (start % 8)).to_le_bytes()[0] & mask(bits)
}

/// The first `count` elements of `packed` elements of `bits` bits, one to a byte.
pub fn unpack(bits: usize, packed: &[u8], count: usize) -> Vec<u8> {
    (0..count).map(|index| element(bits, packed, index)).collect()
}

/// Pack the low `bits` bits, below 8, of each element.
pub fn pack(bits: usize, elements: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut packed = Vec::new();
    let (mut waiting, mut filled) = (0u16, 0);
    for element in elements {
        waiting |= u16::from(element & mask(bits)) << filled;
        filled += bits;
        if filled >= 8 {
            packed.push(waiting.to_le_bytes()[0]);
            waiting >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        packed.push(waiting.to_le_bytes()[0]);
    }
    packed
}

fn mask(bits: usize) -> u8 {
    u8::MAX >> (8 - bits.clamp(1, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lie_as_the_format_says() {
        for (bits, elements, packed) in [
            (2, &[0, 1, 2, 3, 1][..], &[0b1110_0100, 0b01][..]),
            (4, &[1, 15, 2], &[0xf1, 0x02]),
            // What onnx 1.23.2 makes of 1, -1.5, 0.125, 2 and 7.5 as float6e2m3.
            (6, &[8, 44, 1, 16, 31], &[0o10, 0o33, 0x40, 0o37]),
        ] {
            assert_eq!(pack(bits, elements.iter().copied()), packed);
            assert_eq!(unpack(bits, packed, elements.len()), elements);
        }
        assert_eq!(pack(6, [0xff; 4]), [0xff; 3]);
        assert_eq!(element(6, &[0xff], 1), 0b11, "past the end are zeros");
    }
}
