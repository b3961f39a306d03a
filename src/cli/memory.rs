//! Memory that was given back is kept for whoever asks next.
//!
//! Models are run over and over, and each run takes tensors of megabytes and gives them back. glibc hands such memory
//! to the system and asks for it anew, which then clears each page of it: a tenth of the time that quantizing takes. It
//! does so also where threads that work one after another have a part of memory each, so there is one for all of them.
//! Other libraries are left as they are.

/// Say so to the allocator. Before any thread is started.
pub(super) fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [(TRIM_THRESHOLD, i32::MAX), (MMAP_THRESHOLD, LARGE), (ARENA_MAX, 1)] {
        // SAFETY: it takes two numbers, and refuses those that it does not know.
        #[allow(unsafe_code, reason = "a function of the C library")]
        unsafe {
            mallopt(parameter, value);
        }
    }
}

/// Bytes beyond which memory is asked of the system, and goes back to it: more than nearly all tensors of a run, and less
/// than the weights of large models.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 64 << 20;

// As malloc.h has them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TRIM_THRESHOLD: i32 = -1;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: i32 = -3;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENA_MAX: i32 = -8;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "a function of the C library")]
unsafe extern "C" {
    fn mallopt(parameter: i32, value: i32) -> i32;
}
