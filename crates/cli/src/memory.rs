//! The division of memory among threads by the system's allocator.

/// Has the allocator keep one part of memory for each processor.
///
/// That of GNU keeps up to eight, and what a thread gives back stays in the part of that thread: a service that decodes
/// records on many threads takes 1.6 times the memory, and is no quicker. Before the first thread; `MALLOC_ARENA_MAX`
/// in the environment counts for more.
pub(crate) fn share_among_processors() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let parts = i32::try_from(processors.max(2)).unwrap_or(i32::MAX);
        #[allow(unsafe_code, reason = "the standard library has no other way to the allocator's settings")]
        // SAFETY: `mallopt` takes two numbers; no other thread is there yet that could allocate meanwhile.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, parts);
        }
    }
}
