//! Things that several tests need.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duty::protocol::Device;
use duty::{Assignment, Limits};
use types::{Fence, Rank, TaskName, WorkerId};

use super::process::ProcessStarter;
use super::settings::Settings;

pub(crate) fn assignment(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        fence: Fence(fence),
        task: TaskName::new("i1.pseudo_label").unwrap(),
        rank: Rank(rank),
        world_size: 2,
        spec: testkit::host_spec(),
        inputs: BTreeMap::new(),
        outputs: vec!["pseudo_labels".to_owned()],
        resume: None,
        manifest: None,
    })
}

pub(crate) fn training(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        task: TaskName::new("i1.s1.tiny.train").unwrap(),
        spec: testkit::train_spec(),
        outputs: vec!["checkpoint".to_owned()],
        ..Assignment::clone(&assignment(fence, rank))
    })
}

/// A worker whose files are in `folder` and whose coordinator is nowhere.
pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        name: WorkerId::new("w").unwrap(),
        device: Device::Cpu,
        device_name: "cpu".to_owned(),
        host: "here".to_owned(),
        coordinator: "http://127.0.0.1:1".to_owned(),
        token: None,
        work_dir: folder.join("work"),
        cache_limit: None,
        address: None,
        limits: Limits::default(),
        lost_after: Duration::from_secs(120),
        collective_timeout: Duration::from_secs(5),
    }
}

/// A rank that is a shell script. It begins with its start command in `$start`, and the folders named there in `$handover`
/// and `$scratch`; `hear NAME` puts the next command into `$NAME`, but for what is said of the lease.
pub(crate) fn script(text: &str) -> ProcessStarter {
    let script = format!(
        r#"read -r start
        hear() {{ while read -r line; do case "$line" in *'"lease"'*) ;; *) eval "$1=\$line"; return 0;; esac; done; return 1; }}
        handover=${{start#*\"handover\":\"}} handover=${{handover%%\"*}}
        scratch=${{start#*\"scratch\":\"}} scratch=${{scratch%%\"*}}
        {text}"#
    );
    ProcessStarter::new("/bin/sh".into(), vec!["-c".into(), script])
}
