//! Loops over many elements, for the widest vectors that are worth it on the processor at hand.
//!
//! Programs for x86-64 are compiled for any such processor, whose vectors have 128 bits; most of those in use have 256.
//! [`vectors!`](crate::exec::vectors) compiles a function for both and asks the processor which to call. Results are the
//! same bit by bit: products and sums stay apart, and sums in the order that they are written in.

/// Functions that are compiled for vectors of 256 bits as well. What they call has to be inlined into them.
macro_rules! vectors {
    ($(
        $(#[$about:meta])*
        $seen:vis fn $name:ident $(<$of:ident: $bound:path>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? $body:block
    )+) => {$(
        $(#[$about])*
        $seen fn $name $(<$of: $bound>)? ($($arg: $ty),*) $(-> $result)? {
            #[inline(always)]
            fn plain $(<$of: $bound>)? ($($arg: $ty),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide $(<$of: $bound>)? ($($arg: $ty),*) $(-> $result)? {
                    plain($($arg),*)
                }

                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what it is compiled for.
                    #[allow(unsafe_code, reason = "only who asked the processor may call it")]
                    return unsafe { wide($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    )+};
}

pub(crate) use vectors;

#[cfg(test)]
mod tests {
    vectors! {
        /// The sum of `x · by`, one after the other.
        fn sum_of<T: Into<f32>>(elements: Vec<T>, by: f32) -> f32 {
            elements.into_iter().fold(0.0, |sum, x| sum + x.into() * by)
        }

        fn double(elements: &mut [f32]) {
            elements.iter_mut().for_each(|x| *x *= 2.0);
        }
    }

    #[test]
    fn results_are_those_of_the_loop_as_it_is_written() {
        let elements: Vec<f32> = (0..1001).map(|i| (i as f32).sin() * 1e3).collect();
        let known = elements.iter().fold(0f32, |sum, x| sum + x * 0.1);
        assert_eq!(sum_of(elements.clone(), 0.1).to_bits(), known.to_bits());
        let mut twice = elements.clone();
        double(&mut twice);
        assert!(twice.iter().zip(&elements).all(|(y, x)| *y == x + x));
    }
}
