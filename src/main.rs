//! The `artifact` program: parse the command line, run one command, end with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    artifact::cli::run(std::env::args_os().collect())
}
