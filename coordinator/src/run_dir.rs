use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proto::Token;
use rand::RngExt;
use types::{Fence, Rank, TaskName};

/// Where a run keeps everything (README.md has the list for users).
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// An existing or new folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        for folder in ["", "logs", "report/metrics", "workers"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let root = fs::canonicalize(root)
            .with_context(|| format!("cannot use the folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// A folder as it is; nothing is made.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.root.join("plan.toml")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal.sqlite")
    }

    pub(crate) fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub(crate) fn manifest_cache(&self) -> PathBuf {
        self.root.join("manifest-cache")
    }

    /// What is remembered of files from outside the run.
    pub(crate) fn file_cache(&self) -> PathBuf {
        self.root.join("file-cache")
    }

    /// Keys of gangs that are meeting.
    pub(crate) fn rendezvous(&self) -> PathBuf {
        self.root.join("rendezvous")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.root.join("report")
    }

    pub(crate) fn metrics(&self, task: &TaskName) -> PathBuf {
        self.root
            .join("report/metrics")
            .join(format!("{task}.jsonl"))
    }

    /// The folder of a task's logs.
    pub(crate) fn logs(&self, task: &TaskName) -> PathBuf {
        self.root.join("logs").join(task.as_str())
    }

    pub(crate) fn log(&self, task: &TaskName, fence: Fence, rank: Rank) -> PathBuf {
        self.logs(task).join(format!("{fence}.{rank}.log"))
    }

    /// A local worker's own folder.
    pub(crate) fn worker(&self, name: &str) -> PathBuf {
        self.root.join("workers").join(name)
    }

    /// The URL of the coordinator that uses this folder.
    pub(crate) fn address(&self) -> PathBuf {
        self.root.join("address")
    }

    /// The token of this run directory: from the environment if it is set there, else made once and kept in a file that only the
    /// owner can read.
    ///
    /// # Errors
    /// When the file cannot be read or written, or does not hold a token.
    pub(crate) fn token(&self) -> Result<(String, Token)> {
        let path = self.root.join("token");
        let text = match std::env::var("TUTTI_TOKEN") {
            Ok(text) if !text.trim().is_empty() => text,
            _ if path.exists() => fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            _ => new_token(&path)?,
        };
        let text = text.trim().to_owned();
        let token = Token::new(&text)
            .with_context(|| format!("{} or TUTTI_TOKEN holds no token", path.display()))?;
        Ok((text, token))
    }
}

fn new_token(path: &Path) -> Result<String> {
    let bytes: [u8; 24] = rand::rng().random();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(text)
}
