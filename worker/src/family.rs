//! Which processes descend from which, as /proc says.

use std::fs;

use nix::unistd::Pid;

/// The living descendants of a process, in the order in which the kernel lists processes: mostly oldest first.
///
/// A look is no snapshot: who wants to be sure that nobody is left looks again.
pub(crate) fn below(ancestor: Pid) -> Vec<Pid> {
    let mut all = processes();
    let mut family = vec![ancestor];
    loop {
        // a child may be listed before its parent
        let before = family.len();
        all.retain(|(id, parent)| {
            let is_ours = family.contains(parent);
            if is_ours {
                family.push(*id);
            }
            !is_ours
        });
        if family.len() == before {
            break;
        }
    }
    family.remove(0);
    family
}

/// Every process with its parent, but for zombies.
fn processes() -> Vec<(Pid, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let seen = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((Pid::from_raw(id), living_parent(&stat)?))
    });
    seen.collect()
}

/// `id (name) state parent …`, where the name may hold anything.
fn living_parent(stat: &str) -> Option<Pid> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then(|| Pid::from_raw(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(
            living_parent("7 (a) Z 1 (b)) S 3 4 5"),
            Some(Pid::from_raw(3))
        );
        assert_eq!(living_parent("7 (a) Z 3 4 5"), None);
        assert_eq!(living_parent("7 (a"), None);
    }

    #[test]
    fn children_and_grandchildren_are_found() {
        use std::io::Read;
        use std::process::{Command, Stdio};
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = [0; 16];
        let read = child.stdout.take().unwrap().read(&mut text).unwrap();
        let grandchild: i32 = std::str::from_utf8(&text[..read])
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let family = below(Pid::this());
        assert!(family.contains(&Pid::from_raw(i32::try_from(child.id()).unwrap())));
        assert!(family.contains(&Pid::from_raw(grandchild)));
        assert!(!family.contains(&Pid::this()));
        for id in below(Pid::from_raw(i32::try_from(child.id()).unwrap())) {
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
