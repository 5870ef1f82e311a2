//! `runlog completions`: what a shell needs to complete commands and arguments.

use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog completions bash > ~/.local/share/bash-completion/completions/runlog
  runlog completions zsh  > ~/.zfunc/_runlog
  runlog completions fish > ~/.config/fish/completions/runlog.fish")]
pub(crate) struct CompletionsArgs {
    /// Shell to print completions for
    shell: clap_complete::Shell,
}

/// Prints the script.
pub(crate) fn run(args: CompletionsArgs, command: &clap::Command) -> Outcome {
    clap_complete::generate(args.shell, &mut visible(command), "runlog", &mut std::io::stdout());
    Ok(())
}

/// The same without the hidden commands, which shells would offer.
fn visible(command: &clap::Command) -> clap::Command {
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    clap::Command::new("runlog")
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().cloned())
        .subcommands(commands)
}
