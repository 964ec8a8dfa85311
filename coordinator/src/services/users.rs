use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use control::{Input, TaskState, TaskView, WorkerView};
use proto::Invalid;
use proto::v1;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use types::{CallId, ProgressUnit, RunId, TaskId, TaskName, WorkerId};

use crate::log_reader;
use crate::run_dir::RunDir;
use crate::shell::{Handle, View};
use crate::submission::{Submitter, called};
use crate::terminal;

pub(crate) struct Users {
    shell: Handle,
    submitter: Arc<Submitter>,
    run_dir: RunDir,
}

impl Users {
    pub(crate) fn new(shell: Handle, submitter: Arc<Submitter>, run_dir: RunDir) -> Self {
        Self {
            shell,
            submitter,
            run_dir,
        }
    }

    /// What a call that was obeyed before was about.
    async fn obeyed(&self, call: Option<&CallId>) -> Result<Option<Option<RunId>>, Status> {
        let Some(call) = call.cloned() else {
            return Ok(None);
        };
        Ok(self
            .shell
            .query(move |view| view.cluster.obeyed(&call))
            .await?)
    }

    /// Does what a user wants, once.
    async fn obey(&self, call: Option<CallId>, input: Input) -> Result<(), Status> {
        Ok(self.shell.input(called(call, input)).await?)
    }

    /// A task by its name, in a run or in the current one.
    async fn task(&self, run: Option<u64>, name: &str) -> Result<TaskId, Status> {
        let name = TaskName::new(name)
            .map_err(|error| Invalid::new("request", "task", error.to_string()))?;
        let found = self
            .shell
            .query(move |view| {
                let run = run_of(view, run)?;
                let task = TaskId { run, name };
                view.cluster.task(&task).map(|_| task)
            })
            .await?;
        found.ok_or_else(|| {
            Status::not_found("no such task in this run; `coordinator status` lists them")
        })
    }
}

/// The number of a call, if it has one.
fn call_id(message: &'static str, call: Option<String>) -> Result<Option<CallId>, Status> {
    call.map(CallId::new)
        .transpose()
        .map_err(|error| Invalid::new(message, "call", error.to_string()).into())
}

/// The run that is asked about, or the latest.
fn run_of(view: &View<'_>, run: Option<u64>) -> Option<RunId> {
    let runs = view.cluster.runs();
    match run {
        Some(run) => runs.iter().map(|view| view.run).find(|id| id.0 == run),
        None => runs.last().map(|view| view.run),
    }
}

#[tonic::async_trait]
impl v1::users_server::Users for Users {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitReply>, Status> {
        let request = request.into_inner();
        let path = PathBuf::from(&request.path);
        if !path.is_absolute() {
            return Err(Invalid::new("SubmitRequest", "path", "not an absolute path").into());
        }
        let call = call_id("SubmitRequest", request.call)?;
        if let Some(Some(run)) = self.obeyed(call.as_ref()).await? {
            return Ok(Response::new(v1::SubmitReply { run: run.0 }));
        }
        let run = self
            .submitter
            .submit_text(&self.shell, &request.plan, &path, call)
            .await
            .map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
        Ok(Response::new(v1::SubmitReply { run: run.0 }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let run = request.into_inner().run;
        let reply = self.shell.query(move |view| status(view, run)).await?;
        reply
            .map(Response::new)
            .ok_or_else(|| Status::not_found("no such run"))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let request = request.into_inner();
        let task = self.task(request.run, &request.task).await?;
        let reply = self
            .shell
            .query(move |view| {
                let history = view
                    .cluster
                    .task(&task)
                    .map(|task| history(&task))
                    .unwrap_or_default();
                let mut sentence = view.cluster.explain(&task).to_string();
                let own = view.pauses.own().map(str::to_owned);
                for reason in view.pauses.of_task(&task).into_iter().chain(own) {
                    sentence.push_str(&format!("; paused: {reason}"));
                }
                v1::ExplainReply { sentence, history }
            })
            .await?;
        Ok(Response::new(reply))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelReply>, Status> {
        let request = request.into_inner();
        let call = call_id("CancelRequest", request.call)?;
        if let Some(Some(run)) = self.obeyed(call.as_ref()).await? {
            return Ok(Response::new(v1::CancelReply { run: run.0 }));
        }
        let run = self
            .shell
            .query(move |view| run_of(view, request.run))
            .await?;
        let run = run.ok_or_else(|| Status::not_found("no such run"))?;
        self.obey(call, Input::CancelRun { run }).await?;
        Ok(Response::new(v1::CancelReply { run: run.0 }))
    }

    async fn retry(
        &self,
        request: Request<v1::RetryRequest>,
    ) -> Result<Response<v1::RetryReply>, Status> {
        let request = request.into_inner();
        let call = call_id("RetryRequest", request.call)?;
        if self.obeyed(call.as_ref()).await?.is_none() {
            let task = self.task(None, &request.task).await?;
            self.obey(call, Input::Retry { task }).await?;
        }
        Ok(Response::new(v1::RetryReply {}))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainReply>, Status> {
        let request = request.into_inner();
        let call = call_id("DrainRequest", request.call)?;
        let worker = WorkerId::new(request.worker)
            .map_err(|error| Invalid::new("DrainRequest", "worker", error.to_string()))?;
        self.obey(call, Input::Drain { worker }).await?;
        Ok(Response::new(v1::DrainReply {}))
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogLine, Status>> + Send>>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let task = self.task(request.run, &request.task).await?;
        let folder = self.run_dir.logs(&task.name);
        Ok(Response::new(Box::pin(log_reader::read(
            self.shell.clone(),
            task,
            folder,
            request.follow,
        ))))
    }
}

fn status(view: &View<'_>, run: Option<u64>) -> Option<v1::StatusReply> {
    let run = view.cluster.run(run_of(view, run)?)?;
    Some(v1::StatusReply {
        tasks: view
            .cluster
            .tasks(run.run)
            .iter()
            .map(|task| task_status(task, view))
            .collect(),
        workers: view.cluster.workers().iter().map(worker_status).collect(),
        paused: view.pauses.own().map(str::to_owned),
        run: Some(v1::RunStatus {
            run: run.run.0,
            name: run.name,
            submitted_at: run.submitted.0,
            ended_at: run.ended.map(|(at, _)| at.0),
            outcome: run.ended.map(|(_, outcome)| outcome.to_string()),
        }),
    })
}

fn task_status(task: &TaskView, view: &View<'_>) -> v1::TaskStatus {
    let live = task
        .attempts
        .last()
        .filter(|attempt| attempt.ended.is_none());
    let runs = matches!(task.state, TaskState::Running | TaskState::Done);
    v1::TaskStatus {
        task: task.task.name.to_string(),
        kind: task.kind.to_string(),
        state: task.state.to_string(),
        waiting: if runs {
            String::new()
        } else {
            task.waiting.to_string()
        },
        remembered: task.remembered,
        attempts: u32::try_from(task.attempts.len()).unwrap_or(u32::MAX),
        gang: live
            .iter()
            .flat_map(|attempt| &attempt.gang)
            .map(|seat| seat.worker.to_string())
            .collect(),
        fence: live.map(|attempt| attempt.fence.0),
        paused: view.pauses.of_task(&task.task),
        progress: view
            .progress
            .get(&task.task)
            .map(|progress| v1::ProgressStatus {
                done: progress.done,
                total: progress.total,
                unit: match progress.unit {
                    ProgressUnit::Steps => "steps".to_owned(),
                    ProgressUnit::Clips => "clips".to_owned(),
                },
                loss: progress.loss,
                clips_per_second: progress.clips_per_second,
            }),
        outputs: task
            .outputs
            .iter()
            .map(|(name, digest)| (name.clone(), digest.to_string()))
            .collect(),
    }
}

fn worker_status(worker: &WorkerView) -> v1::WorkerStatus {
    let slots = [&worker.device, &worker.host];
    v1::WorkerStatus {
        worker: worker.worker.to_string(),
        state: worker.state.to_string(),
        host: worker.description.host.clone(),
        device: worker.description.device_name.clone(),
        tasks: slots
            .into_iter()
            .flatten()
            .filter_map(|slot| slot.task.as_ref().map(|task| task.name.to_string()))
            .collect(),
        heard_at: worker.heard.map(|at| at.0),
        problem: worker.quarantined.clone(),
    }
}

/// A task's attempts, a line each, and everything about the last one if it failed.
fn history(task: &TaskView) -> Vec<String> {
    let attempts = task.attempts.iter().map(|attempt| {
        let gang: Vec<&str> = attempt
            .gang
            .iter()
            .map(|seat| seat.worker.as_str())
            .collect();
        let resumed = attempt
            .resumed
            .map(|from| format!(", from step {}", from.step))
            .unwrap_or_default();
        let end = match &attempt.ended {
            None => "still going on".to_owned(),
            Some((_, control::AttemptOutcome::Finished)) => "finished".to_owned(),
            Some((_, control::AttemptOutcome::Stopped { reason })) => {
                format!("stopped: {reason}")
            }
            Some((_, control::AttemptOutcome::Failed { failure })) => {
                format!("failed: {failure}")
            }
        };
        format!(
            "attempt {} on {}{resumed}: {end}",
            attempt.fence,
            gang.join(", ")
        )
    });
    let mut lines: Vec<String> = attempts.collect();
    if !task.avoids.is_empty() {
        let workers: Vec<&str> = task.avoids.iter().map(WorkerId::as_str).collect();
        lines.push(format!(
            "the next attempt prefers other workers than {}, where it failed",
            workers.join(", ")
        ));
    }
    if let Some(attempt) = task.attempts.last()
        && let Some((_, control::AttemptOutcome::Failed { failure })) = &attempt.ended
    {
        lines.extend(terminal::failure_lines(failure, terminal::LOG_LINES));
        let others = attempt.failures.iter().filter(|other| *other != failure);
        lines.extend(others.map(|other| format!("besides: {other}")));
    }
    lines
}
