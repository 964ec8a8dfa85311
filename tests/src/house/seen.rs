use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::MARK;

/// A process as /proc shows it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Process id.
    pub id: u32,
    /// The id of its parent.
    pub parent: u32,
    /// Program and arguments.
    pub command_line: Vec<String>,
}

/// Every process that is not a zombie.
pub fn processes() -> Vec<Seen> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // "id (name) state parent …", where the name may hold anything.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = rest.split_whitespace();
        let (Some(state), Some(parent)) = (
            fields.next(),
            fields.next().and_then(|field| field.parse().ok()),
        ) else {
            continue;
        };
        if state == "Z" {
            continue;
        }
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command_line = line
            .split(|byte| *byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect();
        seen.push(Seen {
            id,
            parent,
            command_line,
        });
    }
    seen
}

/// Children, grandchildren and so on.
pub fn descendants(id: u32) -> Vec<u32> {
    let all = processes();
    let mut family = vec![id];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(
            all.iter()
                .filter(|seen| seen.parent == parent)
                .map(|seen| seen.id),
        );
        next += 1;
    }
    family.remove(0);
    family
}

/// Rank processes below a coordinator or worker, each with its worker as the parent: the warden between them, which has the same
/// command line, is left out.
pub fn ranks_below(id: u32) -> Vec<Seen> {
    let family = descendants(id);
    let mut rank_or_warden = processes();
    rank_or_warden.retain(|seen| {
        family.contains(&seen.id) && seen.command_line.get(1).is_some_and(|word| word == "rank")
    });
    let parents: BTreeMap<u32, u32> = rank_or_warden
        .iter()
        .map(|seen| (seen.id, seen.parent))
        .collect();
    let ranks = rank_or_warden.into_iter().filter_map(|rank| {
        let parent = *parents.get(&rank.parent)?;
        Some(Seen { parent, ..rank })
    });
    ranks.collect()
}

/// Worker processes below a coordinator.
pub fn workers_below(id: u32) -> Vec<Seen> {
    let family = descendants(id);
    processes()
        .into_iter()
        .filter(|seen| {
            family.contains(&seen.id)
                && seen
                    .command_line
                    .first()
                    .is_some_and(|word| word.ends_with("worker"))
                && seen.command_line.get(1).is_none_or(|word| word != "rank")
        })
        .collect()
}

/// Whether there is a process of this id that is not a zombie.
pub fn is_alive(id: u32) -> bool {
    processes().iter().any(|seen| seen.id == id)
}

/// Every process that was started in the house at `path`, or by one that was.
pub fn of_house(path: &Path) -> Vec<Seen> {
    let mut mark = MARK.as_bytes().to_vec();
    mark.push(b'=');
    mark.extend_from_slice(path.as_os_str().as_bytes());
    let is_marked = |seen: &Seen| {
        fs::read(format!("/proc/{}/environ", seen.id))
            .is_ok_and(|text| text.split(|byte| *byte == 0).any(|one| one == mark))
    };
    processes().into_iter().filter(is_marked).collect()
}
