//! What a user asks a running coordinator: thin calls of its `Users` service.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use proto::v1::users_client::UsersClient;
use proto::{Token, v1};
use rand::RngExt;
use tokio_stream::StreamExt;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::cli::Reach;
use crate::log_printer::LogPrinter;
use crate::run_dir::RunDir;
use crate::status_table;

/// How long a connection, and then an answer, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// How long a call is repeated, and the pauses between.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A task, run or worker that the coordinator does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongName(String);

/// A coordinator that cannot be reached, at first or any more.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator at {url} does not answer: {problem}")]
pub(crate) struct Away {
    url: String,
    problem: String,
    /// It had begun to answer.
    pub(crate) after_answer: bool,
}

type Service = UsersClient<InterceptedService<Channel, Token>>;

/// A coordinator to talk to.
pub(crate) struct Client {
    url: String,
    token: Token,
}

impl Client {
    /// Finds the coordinator that is meant, and its token.
    ///
    /// # Errors
    /// When none runs here and none was named, or there is no token.
    pub(crate) fn find(reach: &Reach) -> Result<Self> {
        let (url, folder) = match &reach.coordinator {
            Some(url) => (url.clone(), reach.run_dir.clone()),
            None => {
                let folder = match &reach.run_dir {
                    Some(folder) => folder.clone(),
                    None => newest(Path::new("runs")).ok_or_else(|| {
                        anyhow!(
                            "no coordinator is running in {} (no runs/*/address): start one with \
                             `coordinator --plan PLAN`, or name one with --run-dir or --coordinator",
                            current_folder()
                        )
                    })?,
                };
                let file = RunDir::at(&folder).address();
                let url = fs::read_to_string(&file).map_err(|error| {
                    anyhow!(
                        "no coordinator is running in {} ({}: {error}): start one with \
                         `coordinator --plan PLAN --run-dir {}`",
                        folder.display(),
                        file.display(),
                        folder.display()
                    )
                })?;
                (url.trim().to_owned(), Some(folder))
            }
        };
        Ok(Self {
            token: token(folder.as_deref())?,
            url,
        })
    }

    /// Prints tasks and workers.
    ///
    /// # Errors
    /// When the coordinator cannot be reached or does not know the run.
    pub(crate) async fn status(&self, run: Option<u64>, json: bool) -> Result<()> {
        let reply = self.ask_status(run).await?;
        print(&if json {
            status_table::json(&reply)
        } else {
            status_table::text(&reply, now())
        });
        Ok(())
    }

    /// Prints why a task is not running, and its attempts.
    ///
    /// # Errors
    /// When the coordinator cannot be reached or does not know the task.
    pub(crate) async fn explain(&self, task: &str) -> Result<()> {
        let (run, name) = split(task)?;
        let request = v1::ExplainRequest {
            task: name.to_owned(),
            run,
        };
        let answer = self
            .insist(|mut users| {
                let request = limited(request.clone());
                async move { users.explain(request).await }
            })
            .await?;
        let reply = match answer {
            Ok(reply) => reply.into_inner(),
            Err(status) => return Err(self.refused(status, run, name).await),
        };
        let mut text = format!("{name}: {}\n", reply.sentence);
        for line in reply.history {
            text.push_str(&format!("  {line}\n"));
        }
        print(&text);
        Ok(())
    }

    /// Hands over what a task's ranks wrote; with `follow` until it has ended.
    ///
    /// # Errors
    /// [`Away`] when the coordinator cannot be reached (any more), [`WrongName`] when it does not know the task.
    pub(crate) async fn logs(
        &self,
        task: &str,
        follow: bool,
        printer: &mut LogPrinter,
    ) -> Result<()> {
        let (run, name) = split(task)?;
        let request = v1::LogsRequest {
            task: name.to_owned(),
            run,
            follow,
        };
        let request = if follow {
            Request::new(request)
        } else {
            limited(request)
        };
        let mut lines = match self.connect().await?.logs(request).await {
            Ok(reply) => reply.into_inner(),
            Err(status) => return Err(self.refused(status, run, name).await),
        };
        printer.begin();
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => printer.print(&line),
                // a connection that breaks has many codes
                Err(status) if !is_wrong_name(&status) => {
                    return Err(Away {
                        url: self.url.clone(),
                        problem: status.message().to_owned(),
                        after_answer: true,
                    }
                    .into());
                }
                Err(status) => return Err(self.failed(&status)),
            }
        }
        Ok(())
    }

    /// Tries a failed task again.
    ///
    /// # Errors
    /// When the coordinator cannot be reached, does not know the task, or it has not failed.
    pub(crate) async fn retry(&self, task: &str) -> Result<()> {
        let (run, name) = split(task)?;
        let request = v1::RetryRequest {
            task: name.to_owned(),
            call: Some(new_call()),
        };
        let answer = self
            .insist(|mut users| {
                let request = limited(request.clone());
                async move { users.retry(request).await }
            })
            .await?;
        if let Err(status) = answer {
            return Err(self.refused(status, run, name).await);
        }
        print(&format!("{name} is tried again\n"));
        Ok(())
    }

    /// Ends a run.
    ///
    /// # Errors
    /// When the coordinator cannot be reached, does not know the run, or it has ended.
    pub(crate) async fn cancel(&self, run: Option<u64>) -> Result<()> {
        let request = v1::CancelRequest {
            run,
            call: Some(new_call()),
        };
        let reply = self
            .insist(|mut users| {
                let request = limited(request.clone());
                async move { users.cancel(request).await }
            })
            .await?;
        let run = reply
            .map_err(|status| self.failed(&status))?
            .into_inner()
            .run;
        print(&format!(
            "run {run} is being cancelled: its ranks stop after a checkpoint\n"
        ));
        Ok(())
    }

    /// Takes a worker out of service.
    ///
    /// # Errors
    /// When the coordinator cannot be reached or does not know the worker.
    pub(crate) async fn drain(&self, worker: &str) -> Result<()> {
        let request = v1::DrainRequest {
            worker: worker.to_owned(),
            call: Some(new_call()),
        };
        let answer = self
            .insist(|mut users| {
                let request = limited(request.clone());
                async move { users.drain(request).await }
            })
            .await?;
        match answer {
            Ok(_) => {
                print(&format!(
                    "worker {worker} gets nothing new, and its ranks stop after a checkpoint\n"
                ));
                Ok(())
            }
            Err(status) if is_wrong_name(&status) => {
                let known = self
                    .ask_status(None)
                    .await?
                    .workers
                    .into_iter()
                    .map(|worker| worker.worker);
                Err(WrongName(unknown("worker", worker, known.collect())).into())
            }
            Err(status) => Err(self.failed(&status)),
        }
    }

    /// Calls until there is an answer: a coordinator that is being started again is waited for, one that was never there is not.
    /// Every call that comes here may be repeated: it only asks, or carries a number.
    async fn insist<T, F>(
        &self,
        call: impl Fn(Service) -> F,
    ) -> Result<std::result::Result<tonic::Response<T>, Status>>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut users = self.connect().await?;
        loop {
            match call(users.clone()).await {
                Err(status) if is_away(&status) && began.elapsed() < PATIENCE => {}
                answer => return Ok(answer),
            }
            loop {
                tokio::time::sleep(pause.mul_f64(rand::rng().random_range(0.5..1.0))).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match self.connect().await {
                    Ok(again) => break users = again,
                    Err(_) if began.elapsed() < PATIENCE => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn connect(&self) -> Result<Service> {
        let endpoint = Endpoint::from_shared(self.url.clone())
            .map_err(|_| {
                anyhow!(
                    "{:?} is not the address of a coordinator (expected http://HOST:PORT)",
                    self.url
                )
            })?
            .connect_timeout(CONNECT_LIMIT)
            // a cut cable says nothing
            .http2_keep_alive_interval(CONNECT_LIMIT)
            .keep_alive_timeout(CONNECT_LIMIT);
        let channel = endpoint.connect().await.map_err(|error| Away {
            url: self.url.clone(),
            problem: format!(
                "{} (has it ended? start it with `coordinator --plan PLAN`; one elsewhere is named with --coordinator URL)",
                root_cause(&error)
            ),
            after_answer: false,
        })?;
        Ok(UsersClient::with_interceptor(channel, self.token.clone())
            .max_decoding_message_size(proto::LARGEST_MESSAGE))
    }

    async fn ask_status(&self, run: Option<u64>) -> Result<v1::StatusReply> {
        let reply = self
            .insist(|mut users| {
                let request = limited(v1::StatusRequest { run });
                async move { users.status(request).await }
            })
            .await?;
        reply.map(tonic::Response::into_inner).map_err(|status| {
            match (is_wrong_name(&status), run) {
                (true, Some(run)) => {
                    WrongName(format!("there is no run {run} in this run directory")).into()
                }
                _ => self.failed(&status),
            }
        })
    }

    /// An answer about a task that is not the wanted one; a wrong name is met with those that are near.
    async fn refused(&self, status: Status, run: Option<u64>, task: &str) -> anyhow::Error {
        if !is_wrong_name(&status) {
            return self.failed(&status);
        }
        match self.ask_status(run).await {
            Ok(reply) => {
                let known = reply.tasks.into_iter().map(|task| task.task).collect();
                WrongName(unknown("task", task, known)).into()
            }
            Err(error) => error,
        }
    }

    fn failed(&self, status: &Status) -> anyhow::Error {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Away {
                url: self.url.clone(),
                problem: status.message().to_owned(),
                after_answer: false,
            }
            .into(),
            Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::AlreadyExists => WrongName(status.message().to_owned()).into(),
            _ => anyhow!("{}", status.message()),
        }
    }
}

/// `RUN/TASK` as tasks are shown in logs, or a task of the latest run.
fn split(task: &str) -> Result<(Option<u64>, &str), WrongName> {
    match task.split_once('/') {
        None => Ok((None, task)),
        Some((run, name)) => match run.parse() {
            Ok(run) => Ok((Some(run), name)),
            Err(_) => Err(WrongName(format!(
                "{task:?} is not a task (expected TASK or RUN/TASK)"
            ))),
        },
    }
}

fn is_wrong_name(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

/// Whether the coordinator may answer the next time: it is ending, being started again, or the way to it broke.
fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded
    )
}

/// So that a call that is repeated counts once.
fn new_call() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_LIMIT);
    request
}

/// `there is no task i1.s1.ats.train (did you mean i1.s1.atst.train?)`.
fn unknown(what: &str, name: &str, known: Vec<String>) -> String {
    let lower = name.to_lowercase();
    let mut near: Vec<(usize, &String)> = known
        .iter()
        .map(|other| {
            let distance = strsim::damerau_levenshtein(&lower, &other.to_lowercase());
            // A part of a name is worth as much as a slip.
            let part = lower.len() > 2 && other.to_lowercase().contains(&lower);
            (if part { 1 } else { distance }, other)
        })
        .filter(|(distance, other)| *distance <= 1 + other.len().min(name.len()) / 4)
        .collect();
    near.sort();
    let near: Vec<&str> = near
        .iter()
        .take(3)
        .map(|(_, other)| other.as_str())
        .collect();
    let hint = if known.is_empty() {
        format!("there is no {what} at all yet")
    } else if near.is_empty() {
        "`coordinator status` lists them".to_owned()
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    format!("there is no {what} {name} ({hint})")
}

/// The folder in `runs` whose coordinator was started last.
fn newest(runs: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(runs)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    folders
        .filter_map(|folder| {
            let started = fs::metadata(RunDir::at(&folder).address())
                .ok()?
                .modified()
                .ok()?;
            Some((started, folder))
        })
        .max()
        .map(|(_, folder)| folder)
}

/// From the environment, or the file in the run directory. None is made here: that is the coordinator's.
fn token(folder: Option<&Path>) -> Result<Token> {
    if let Ok(text) = std::env::var("TUTTI_TOKEN")
        && !text.trim().is_empty()
    {
        return Token::new(&text).context("TUTTI_TOKEN");
    }
    let Some(folder) = folder else {
        bail!(
            "which token? set TUTTI_TOKEN to the content of the file `token` in the coordinator's run directory"
        )
    };
    let file = folder.join("token");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Token::new(&text).with_context(|| format!("{}", file.display()))
}

fn current_folder() -> String {
    std::env::current_dir().map_or_else(
        |_| "this folder".to_owned(),
        |folder| folder.display().to_string(),
    )
}

/// `connection refused` rather than `transport error`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn print(text: &str) {
    // A reader that has gone (`| head`) needs nothing more.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_met_with_near_ones() {
        let known = || {
            vec![
                "i1.s1.atst_a.train".to_owned(),
                "i1.s2.atst_a.train".to_owned(),
                "i1.pseudo_label".to_owned(),
            ]
        };
        assert_eq!(
            unknown("task", "i1.s1.atst_a.trian", known()),
            "there is no task i1.s1.atst_a.trian (did you mean i1.s1.atst_a.train or i1.s2.atst_a.train?)"
        );
        assert!(unknown("task", "pseudo", known()).contains("did you mean i1.pseudo_label?"));
        assert!(unknown("task", "banana", known()).contains("`coordinator status` lists them"));
        assert!(unknown("worker", "w", Vec::new()).contains("no worker at all yet"));
    }

    #[test]
    fn a_run_may_stand_before_a_task() {
        assert_eq!(
            split("3/i1.s1.a.train").unwrap(),
            (Some(3), "i1.s1.a.train")
        );
        assert!(split("x/i1.s1.a.train").is_err());
    }

    #[test]
    fn the_coordinator_that_was_started_last_is_taken() {
        let runs = tempfile::tempdir().unwrap();
        assert_eq!(newest(runs.path()), None);
        for name in ["a", "b", "c"] {
            fs::create_dir(runs.path().join(name)).unwrap();
        }
        for (name, at) in [("a", 20), ("b", 10)] {
            let file = fs::File::create(runs.path().join(name).join("address")).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(at))
                .unwrap();
        }
        assert_eq!(newest(runs.path()), Some(runs.path().join("a")));
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        // Taken and given back: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs::write(
            folder.path().join("address"),
            format!("http://127.0.0.1:{port}\n"),
        )
        .unwrap();
        fs::write(folder.path().join("token"), "secret").unwrap();
        let reach = Reach {
            run_dir: Some(folder.path().to_owned()),
            coordinator: None,
        };
        let error = Client::find(&reach)
            .unwrap()
            .status(None, false)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!(
                "127.0.0.1:{port} does not answer: Connection refused"
            )),
            "{error}"
        );
        fs::remove_file(folder.path().join("address")).unwrap();
        let error = Client::find(&reach).err().unwrap().to_string();
        assert!(error.contains("no coordinator is running in"), "{error}");
    }
}
