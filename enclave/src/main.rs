//! `enclave --listen ADDRESS ...`: nothing else configures it; the rest comes in the boot bundle.

use std::panic::PanicHookInfo;
use std::process::ExitCode;

use enclave::init;
use enclave::options::{Options, USAGE};
use enclave::serve::{Enclave, End};
use tokio::runtime::{Builder, LocalOptions};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| init::say(format_args!("enclave: {}", place(panic)))));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    #[cfg(feature = "sandbox")]
    enclave::payload::play_part(&arguments);
    if init::is_first() {
        init::run(|| Options::parse(arguments).and_then(run));
    }
    if let [only] = arguments.as_slice()
        && ["--help", "-h"].contains(&only.as_str())
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(arguments).and_then(run) {
        Ok(End::Stopped | End::Lost) => ExitCode::SUCCESS,
        Err(error) => {
            init::say(format_args!("enclave: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Where a panic happened. What it says can be a peer's words, and standard error is the host's.
fn place(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    format!("panicked{place}")
}

fn run(options: Options) -> Result<End, String> {
    if options.payload {
        start_payload()?;
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let listener = options.listen.listen();
        let listener = listener.map_err(|error| format!("cannot listen at {}: {error}", options.listen))?;
        if init::is_first() {
            let (version, listen, isolation) = (env!("CARGO_PKG_VERSION"), &options.listen, options.isolation);
            init::say(format_args!("enclave: {version} listening at {listen}, isolation {isolation}"));
        }
        Ok(Enclave::new(options).run(listener).await)
    })
}

/// Before there are threads.
#[cfg(feature = "sandbox")]
fn start_payload() -> Result<(), String> {
    if init::is_first() { enclave::payload::start() } else { Err(NOT_FIRST.to_owned()) }
}

/// Builds without it do not know `--payload`.
#[cfg(not(feature = "sandbox"))]
fn start_payload() -> Result<(), String> {
    Err(NOT_FIRST.to_owned())
}

const NOT_FIRST: &str = "--payload is for the first process of a machine";

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
