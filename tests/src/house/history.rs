use std::collections::BTreeMap;
use std::path::Path;

/// The journal of a run directory, replayed by the shipped code.
#[derive(Debug)]
pub struct History {
    /// What it comes to.
    pub cluster: control::Cluster,
    /// Everything that the core wanted done, in order.
    pub actions: Vec<control::Action>,
}

impl History {
    /// Replays the journal of a run directory.
    pub fn read(run_dir: &Path) -> Self {
        Self::replay(&Self::open(run_dir).expect("the journal"))
    }

    /// The journal of a coordinator that may be about to make it: nothing yet where there is no file, or a blank one.
    pub fn so_far(run_dir: &Path) -> Option<Self> {
        match Self::open(run_dir) {
            Ok(journal) => Some(Self::replay(&journal)),
            Err(journal::Error::NotAJournal { .. }) => None,
            Err(_) if !run_dir.join("journal.sqlite").exists() => None,
            Err(error) => panic!("the journal: {error}"),
        }
    }

    fn open(run_dir: &Path) -> Result<journal::JournalReader, journal::Error> {
        journal::JournalReader::open(&run_dir.join("journal.sqlite"))
    }

    fn replay(journal: &journal::JournalReader) -> Self {
        let mut cluster = control::Cluster::new();
        let mut actions = Vec::new();
        for record in journal.records() {
            let record = record.expect("a record");
            actions.extend(
                cluster
                    .apply(record.at, record.input)
                    .expect("what was recorded was accepted"),
            );
        }
        Self { cluster, actions }
    }

    /// The latest run.
    pub fn run(&self) -> types::RunId {
        self.cluster.runs().last().expect("a run").run
    }

    /// Names of tasks that an attempt finished, in order, over all runs: a name that is there twice was executed twice.
    pub fn executed(&self) -> Vec<String> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                control::Action::TaskDone {
                    task,
                    fence: Some(_),
                    ..
                } => Some(task.name.to_string()),
                _ => None,
            })
            .collect()
    }

    /// The latest run's task of that name.
    pub fn task(&self, name: &str) -> control::TaskView {
        self.cluster
            .tasks(self.run())
            .into_iter()
            .find(|task| task.task.name.as_str() == name)
            .unwrap_or_else(|| panic!("no task {name}"))
    }

    /// The outputs of every task of the latest run, by task and name.
    pub fn outputs(&self) -> BTreeMap<(String, String), types::Digest> {
        let tasks = self.cluster.tasks(self.run());
        let outputs = tasks.into_iter().flat_map(|task| {
            let name = task.task.name.to_string();
            task.outputs
                .into_iter()
                .map(move |(output, digest)| ((name.clone(), output), digest))
        });
        outputs.collect()
    }

    /// That no content key was computed by two attempts.
    pub fn assert_nothing_ran_twice(&self) {
        let mut seen = BTreeMap::new();
        for action in &self.actions {
            if let control::Action::TaskDone {
                task,
                key,
                fence: Some(fence),
                ..
            } = action
                && let Some(earlier) = seen.insert(*key, *fence)
            {
                panic!("{task} was finished by attempts {earlier} and {fence}");
            }
        }
    }
}
