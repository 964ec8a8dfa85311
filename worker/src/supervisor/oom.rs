use std::fs;
use std::path::PathBuf;

/// The kernel's count of out-of-memory kills in this process's control group. A SIGKILL that nobody here sent is one of
/// them if the count has grown.
#[derive(Debug)]
pub(crate) struct OomCounter {
    file: Option<PathBuf>,
    at_start: u64,
}

impl OomCounter {
    pub(crate) fn of_this_process() -> Self {
        let file = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|text| memory_file(&text));
        let at_start = file.as_ref().and_then(read_count).unwrap_or(0);
        Self { file, at_start }
    }

    pub(crate) fn has_grown(&self) -> bool {
        self.file
            .as_ref()
            .and_then(read_count)
            .is_some_and(|count| count > self.at_start)
    }
}

/// Version 2 of control groups has one line, `0::/path`.
fn memory_file(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(
        PathBuf::from("/sys/fs/cgroup")
            .join(path)
            .join("memory.events"),
    )
}

fn read_count(file: &PathBuf) -> Option<u64> {
    parse_count(&fs::read_to_string(file).ok()?)
}

fn parse_count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(
            memory_file("0::/user.slice/a.scope\n").unwrap(),
            PathBuf::from("/sys/fs/cgroup/user.slice/a.scope/memory.events")
        );
        assert_eq!(memory_file("4:memory:/docker/x\n"), None);
        assert_eq!(parse_count("low 0\nmax 4\noom 2\noom_kill 3\n"), Some(3));
        assert_eq!(parse_count("low 0\n"), None);
    }
}
