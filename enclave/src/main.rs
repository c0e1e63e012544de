//! `enclave --listen ADDRESS [--tpm PATH]`: nothing else configures it; the rest comes in the boot bundle.

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use enclave::evidence::TpmPath;
use enclave::serve::Enclave;
use enclave::transport::Address;
use tokio::runtime::{Builder, LocalOptions};

const USAGE: &str = "usage: enclave --listen unix:PATH [--tpm PATH]

The measured part of the gateway. `host --dev-enclave` starts it; it takes its configuration, policy bundle and catalog
from the host's control stream, and nothing from the environment.

  --listen unix:PATH   where the host connects
  --tpm PATH           the TPM, where it vouches for this machine (default /dev/tpmrm0);
                       unix:PATH is the socket of one in software, for tests";

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| eprintln!("enclave: {}", place(panic))));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["--listen", address] => Address::parse(address).map(|address| (address, TpmPath::default())),
        ["--listen", address, "--tpm", tpm] | ["--tpm", tpm, "--listen", address] => {
            Address::parse(address).and_then(|address| Ok((address, TpmPath::parse(tpm)?)))
        }
        _ => Err(USAGE.to_owned()),
    };
    match parsed.and_then(|(address, tpm)| run(address, tpm)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enclave: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where a panic happened. What it says can be a peer's words, and standard error is the host's.
fn place(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    format!("panicked{place}")
}

fn run(address: Address, tpm: TpmPath) -> Result<(), String> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let listener = address.listen().map_err(|error| format!("cannot listen: {error}"))?;
        Enclave::new(address, tpm).run(listener).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    static SAID: Mutex<String> = Mutex::new(String::new());

    #[test]
    fn a_panic_says_where_and_nothing_else() {
        std::panic::set_hook(Box::new(|panic| SAID.lock().unwrap().push_str(&super::place(panic))));
        let panicked = std::panic::catch_unwind(|| panic!("{}", "what an agent said"));
        drop(std::panic::take_hook());
        assert!(panicked.is_err());
        let said = SAID.lock().unwrap();
        assert!(said.starts_with("panicked at enclave/src/main.rs:") && !said.contains("agent"), "{said}");
    }
}
