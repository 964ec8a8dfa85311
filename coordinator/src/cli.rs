use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use plan::{Options, Plan};

use crate::client::{self, Client};
use crate::run::{self, RunOptions};
use crate::{exit, gc, log_printer, plan_commands, terminal};

const AFTER_HELP: &str = "\
Examples:
  coordinator --plan two_iterations.toml                  run it, or go on where the last call ended
  coordinator --plan demo.toml --local-workers 2          on this machine alone
  coordinator plan check two_iterations.toml              everything that is wrong with it, at once
  coordinator plan show two_iterations.toml               what would run, and why; writes nothing
  coordinator status                                      while it runs, from another terminal
  coordinator explain i1.s2.atst.train                    why a task is not running

Exit codes:
  0    every task is done
  1    a task failed for good, or the run was cancelled
  2    the command line or the plan is wrong
  3    the coordinator cannot be reached, or files, data or the network are not as they must be
  130  interrupted; the same command goes on";

/// Runs a plan: an ensemble through its iterations and stages on as many workers as there are.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    run: RunArgs,
    /// Say more in the log; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log warnings and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The plan file
    #[arg(long, value_name = "PLAN")]
    plan: Option<PathBuf>,
    /// Start and watch so many CPU workers on this machine; they end with this command
    #[arg(long, value_name = "N", default_value_t = 0, requires = "plan")]
    local_workers: u32,
    /// Folder for everything that the run writes [default: runs/<the plan's name>]
    #[arg(long, value_name = "DIR", requires = "plan")]
    run_dir: Option<PathBuf>,
    /// Where workers and users connect; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7070",
        requires = "plan"
    )]
    listen: SocketAddr,
    /// The program of local workers [default: `worker` beside this program]
    #[arg(long, value_name = "PATH", requires = "plan")]
    worker_binary: Option<PathBuf>,
    /// The lease: a worker silent for so long loses its tasks to others
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = humantime::parse_duration, requires = "plan")]
    lost_after: Duration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a plan without running it
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Tasks and workers of the run that is going on
    Status {
        #[command(flatten)]
        reach: Reach,
        /// An earlier run, by its number [default: the latest]
        #[arg(long)]
        run: Option<u64>,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Why a task is not running, in one sentence, and its attempts so far
    Explain {
        #[command(flatten)]
        reach: Reach,
        /// A task's name, such as i1.s2.atst.train
        task: String,
    },
    /// What a task's rank processes wrote; each line begins with ATTEMPT.RANK
    Logs {
        #[command(flatten)]
        reach: Reach,
        /// Go on until the task has ended, over its attempts and restarts of the coordinator
        #[arg(short, long)]
        follow: bool,
        /// A task's name, such as i1.s2.atst.train
        task: String,
    },
    /// Try a failed task again, with a fresh budget
    Retry {
        #[command(flatten)]
        reach: Reach,
        /// A task's name, such as i1.s2.atst.train
        task: String,
    },
    /// End a run: its ranks stop after a checkpoint
    Cancel {
        #[command(flatten)]
        reach: Reach,
        /// The run's number [default: the latest]
        run: Option<u64>,
    },
    /// Free what nothing in a run directory refers to any more; a coordinator at work does so by itself
    Gc {
        /// The run directory
        #[arg(long, value_name = "DIR")]
        run_dir: PathBuf,
        /// Only list it
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a worker out of service: its ranks stop after a checkpoint, and it gets nothing new
    Drain {
        #[command(flatten)]
        reach: Reach,
        /// The worker's name, as `coordinator status` shows it
        worker: String,
    },
}

#[derive(Debug, Subcommand)]
enum PlanCommand {
    /// Everything that is wrong with a plan, each problem with its place and what to do
    Check {
        /// The plan file
        plan: PathBuf,
    },
    /// Tasks, which are done already, which would run and why, and an estimate; writes nothing
    Show(plan_commands::Show),
    /// All keys of a plan, with types, defaults and meanings
    Keys,
}

/// How a user's command finds its coordinator.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// The run directory of the coordinator [default: the one in runs/ that was started last]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// A coordinator elsewhere, such as http://host:7070; its token comes from TUTTI_TOKEN or --run-dir
    #[arg(long, value_name = "URL")]
    pub(crate) coordinator: Option<String>,
}

/// The program. Gives one of the documented exit codes.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let verbosity = if cli.quiet {
        -1
    } else {
        i8::try_from(cli.verbose).unwrap_or(i8::MAX)
    };
    terminal::init_tracing(verbosity);
    let result = match cli.command {
        Some(Command::Plan(command)) => match command {
            PlanCommand::Check { plan } => Ok(plan_commands::check(&plan)),
            PlanCommand::Show(show) => plan_commands::show(&show),
            PlanCommand::Keys => Ok(plan_commands::keys()),
        },
        Some(Command::Gc { run_dir, dry_run }) => gc::run(&run_dir, dry_run),
        Some(command) => block_on(ask(command)),
        None => match cli.run.plan {
            Some(ref plan) => match Plan::load(plan, Options { check_files: true }) {
                Ok(plan) => block_on(run::run(cli.run.options(), plan)),
                Err(problems) => Ok(plan_commands::tell_problems(&problems)),
            },
            None => Ok(exit::USAGE),
        },
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        terminal::say(&format!("error: {error:#}"));
        if error.is::<client::WrongName>() {
            exit::USAGE
        } else {
            exit::ENVIRONMENT
        }
    }))
}

impl RunArgs {
    fn options(self) -> RunOptions {
        RunOptions {
            run_dir: self.run_dir,
            listen: self.listen,
            local_workers: self.local_workers,
            worker_binary: self.worker_binary,
            lost_after: self.lost_after,
        }
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

async fn ask(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Status { reach, run, json } => Client::find(&reach)?.status(run, json).await?,
        Command::Explain { reach, task } => Client::find(&reach)?.explain(&task).await?,
        Command::Logs {
            reach,
            follow,
            task,
        } if follow => log_printer::follow(&reach, &task).await?,
        Command::Logs { reach, task, .. } => log_printer::print(&reach, &task).await?,
        Command::Retry { reach, task } => Client::find(&reach)?.retry(&task).await?,
        Command::Cancel { reach, run } => Client::find(&reach)?.cancel(run).await?,
        Command::Drain { reach, worker } => Client::find(&reach)?.drain(&worker).await?,
        Command::Plan(_) | Command::Gc { .. } => {}
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_has_its_documented_defaults() {
        let cli = Cli::try_parse_from(["coordinator", "--plan", "p.toml", "--local-workers", "2"])
            .unwrap();
        let options = cli.run.options();
        assert_eq!(options.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(options.lost_after, Duration::from_secs(120));
        assert_eq!((options.local_workers, options.run_dir), (2, None));
    }

    #[test]
    fn subcommands_and_a_plan_do_not_mix_and_nothing_is_help() {
        assert!(Cli::try_parse_from(["coordinator", "--plan", "p.toml", "status"]).is_err());
        assert!(Cli::try_parse_from(["coordinator"]).is_err());
        assert!(Cli::try_parse_from(["coordinator", "logs", "-f", "i1.s1.a.train", "-v"]).is_ok());
        assert!(Cli::try_parse_from(["coordinator", "plan", "show", "p.toml", "--json"]).is_ok());
        assert!(
            Cli::try_parse_from(["coordinator", "--plan", "p.toml", "--lost-after", "2min"])
                .is_ok()
        );
    }
}
