/// How a process ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exit {
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit code, if it was no signal.
    pub code: Option<i32>,
    /// The worker's own kill ended it ([`crate::Deed::Kill`]): one from elsewhere is never taken for it.
    pub by_order: bool,
    /// The kernel counted an out-of-memory kill in our control group meanwhile.
    pub out_of_memory: bool,
    /// The most memory that it, or a process below it, had in use, in bytes.
    pub peak_memory: Option<u64>,
}
