//! The command line: the only module that prints, exits or reads the environment.

mod account;
mod advise;
mod args;
mod assigning;
mod calibration;
mod check;
mod choosing;
mod dump;
mod editing;
mod engine;
mod explain;
mod guard;
mod inspect;
mod jobs;
mod join;
mod lowbit;
mod memory;
mod optimize;
mod precision;
mod preparing;
mod progress;
mod pruning;
mod quantizing;
mod recipe;
mod render;
mod sensitivity;
mod shared;
mod source;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, Verb};
use shared::Noise;

/// How a run ended that was not stopped by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Everything was done.
    Done,
    /// A model could not be handled, or two models differ. It has been said.
    Failed,
}

/// The command line of `verb` is wrong: exit code 2, laid out as clap does.
fn usage(verb: &str, message: impl std::fmt::Display) -> anyhow::Error {
    let mut command = Cli::command();
    command.build();
    let command = command.find_subcommand_mut(verb).expect("only verbs are asked about");
    command.error(clap::error::ErrorKind::ValueValidation, message).into()
}

/// Run the program.
pub fn main() -> ExitCode {
    memory::keep();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return clap_says(&error),
    };
    log(cli.noise);
    guard::install(cli.noise);
    // Models nest; the thread that works on them has room for the deepest that is read.
    let work = move || guard::run(|| dispatch(cli));
    let ended = std::thread::Builder::new().stack_size(guard::STACK).spawn(work).map(std::thread::JoinHandle::join);
    let result = match ended {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("a defect of onnx-slim: the work was cut short")),
        Err(error) => Err(anyhow::Error::from(error).context("no thread can be started")),
    };
    match result {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::from(1),
        // Whoever read our output has seen enough.
        Err(error) if render::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(error) => clap_says(error),
            None => {
                render::error(&error, None);
                ExitCode::from(1)
            }
        },
    }
}

fn clap_says(error: &clap::Error) -> ExitCode {
    // Help that nobody reads is no failure.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn dispatch(cli: Cli) -> anyhow::Result<End> {
    match cli.verb {
        Verb::Optimize(args) => optimize_by_recipe(args, cli.noise),
        Verb::Quantize(mut args) => {
            args.verb = args::OptimizeVerb::Quantize;
            optimize_by_recipe(args, cli.noise)
        }
        Verb::Prune(mut args) => {
            args.verb = args::OptimizeVerb::Prune;
            optimize_by_recipe(args, cli.noise)
        }
        Verb::Sensitivity(args) => sensitivity::run(&args, cli.noise),
        Verb::Edit(args) => optimize::run(&(*args).into(), cli.noise),
        Verb::Join(args) => join::run(&args, cli.noise),
        Verb::Check(args) => check::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Advise(args) => advise::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "onnx-slim", &mut script);
            io::stdout().write_all(&script)?;
            Ok(End::Done)
        }
    }
}

/// Optimize as options and recipe say, and write the recipe that they make, where that is asked for.
fn optimize_by_recipe(args: Box<args::Optimize>, noise: Noise) -> anyhow::Result<End> {
    let line: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let recipe::Merged { args, save } = recipe::merged(args, &line)?;
    let end = optimize::run(&args, noise)?;
    if let Some((path, recipe)) = save.filter(|_| end == End::Done) {
        recipe::save(&path, recipe)?;
    }
    Ok(end)
}

/// Have the library's events told on stderr.
fn log(noise: Noise) {
    let level = match noise.verbose {
        0 => return,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(render::colours(&io::stderr()))
        .without_time()
        .init();
}
