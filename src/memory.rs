//! Memory that was used once goes back to the system: glibc would keep it.

/// Gives back what is free, now. Elsewhere than with glibc nothing happens.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has a small process stay small: what is freed at the end of the heap goes back from 16 KiB on, and the
/// heap grows in steps of 8 KiB. Elsewhere than with glibc nothing happens.
pub fn stay_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 10);
        libc::mallopt(libc::M_TOP_PAD, 8 << 10);
    }
}
