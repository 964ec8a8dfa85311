/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit code, if it was no signal.
    pub code: Option<i32>,
    /// The kernel counted an out-of-memory kill in our control group meanwhile.
    pub out_of_memory: bool,
}
