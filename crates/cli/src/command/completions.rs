//! `runlog completions`: what a shell needs to complete commands and arguments.

use clap_complete::env::Shells;

use crate::arguments::candidates::VARIABLE;
use crate::exit::{Exit, Failure, Outcome};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Names of tasks and workspaces and IDs of runs are completed as well. They are requested from the service in RUNLOG_API_URL, \
with the credentials of the environment.

Examples:
  runlog completions bash > ~/.local/share/bash-completion/completions/runlog
  runlog completions zsh  > ~/.zfunc/_runlog
  runlog completions fish > ~/.config/fish/completions/runlog.fish")]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    shell: clap_complete::Shell,
}

/// Prints the script, which asks this program for candidates.
pub(crate) fn run(args: CompletionsArgs) -> Outcome {
    let (shells, name) = (Shells::builtins(), args.shell.to_string());
    let shell = shells
        .completer(&name)
        .ok_or_else(|| Failure::new(Exit::Usage, format!("there are no completions for {name}")))?;
    Ok(shell.write_registration(VARIABLE, "runlog", "runlog", "runlog", &mut std::io::stdout())?)
}
