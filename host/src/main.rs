//! The untrusted daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    host::cli::main()
}
