//! The command line: all that configures the enclave besides its boot bundle. In an image it is part of the kernel's, which is measured.

use claim::bootlog::Isolation;

use crate::evidence::TpmPath;
use crate::transport::Address;

/// What `--help` says.
pub const USAGE: &str = "usage: enclave --listen ADDRESS [--isolation vm|process] [--imds] [--payload] [--tpm PATH]

The measured part of the gateway. `host --dev-enclave` starts it; it takes its configuration, policy bundle and catalog
from the host's control stream, and nothing from the environment.

  --listen ADDRESS     where the host connects: unix:PATH, vsock:PORT (in a VM) or tcp:PORT (on every address)
  --isolation WHAT     what keeps the host away from this process, as claims will say it:
                       vm (the host is outside this virtual machine) or process (default: the kernel alone)
  --imds               relay the host's streams to the metadata service of Azure (169.254.169.254:80)
  --payload            as a machine's first process: give the network away and start the host from the second partition of the
                       disk, confined (builds with the Cargo feature sandbox)
  --tpm PATH           the TPM, where it vouches for this machine (default /dev/tpmrm0);
                       unix:PATH is the socket of one in software, for tests

As the first process of a machine (an image's /init) it also mounts what the kernel offers and waits for randomness; when it was
stopped it powers off, and when its control stream ended otherwise it restarts the machine.";

/// The command line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where it listens.
    pub listen: Address,
    /// Where the TPM is, if there is one.
    pub tpm: TpmPath,
    /// What keeps it apart from the host.
    pub isolation: Isolation,
    /// Whether the host may reach the metadata service through it.
    pub imds: bool,
    /// Whether the host is a confined process of this machine.
    pub payload: bool,
}

impl Options {
    /// Reads the arguments after the program's name, in any order.
    ///
    /// # Errors
    /// The first argument that is wrong and what is accepted, as text.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let (mut listen, mut tpm, mut isolation, mut imds, mut payload) = (None, None, None, None, None);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value\n\n{USAGE}"));
            match flag.as_str() {
                "--listen" => once(&flag, &mut listen, Address::parse(&value()?)?)?,
                "--tpm" => once(&flag, &mut tpm, TpmPath::parse(&value()?)?)?,
                "--isolation" => once(&flag, &mut isolation, isolation_of(&value()?)?)?,
                "--imds" => once(&flag, &mut imds, ())?,
                "--payload" if cfg!(feature = "sandbox") => once(&flag, &mut payload, ())?,
                "--payload" => return Err("--payload needs a build with the Cargo feature sandbox".to_owned()),
                _ => return Err(format!("argument {flag:?} is unknown\n\n{USAGE}")),
            }
        }
        Ok(Self {
            listen: listen.ok_or_else(|| format!("--listen is missing\n\n{USAGE}"))?,
            tpm: tpm.unwrap_or_default(),
            isolation: isolation.unwrap_or(Isolation::Process),
            imds: imds.is_some(),
            payload: payload.is_some(),
        })
    }
}

/// Keeps a value, unless there is one.
fn once<T>(flag: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{flag} comes twice")),
    }
}

fn isolation_of(text: &str) -> Result<Isolation, String> {
    match text {
        "vm" => Ok(Isolation::Vm),
        "process" => Ok(Isolation::Process),
        _ => Err(format!("isolation {text:?} is neither vm nor process")),
    }
}

#[cfg(test)]
mod tests {
    use claim::bootlog::Isolation;

    use super::Options;
    use crate::transport::Address;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_least_that_is_needed() {
        let options = parse("--listen unix:/run/e.sock").unwrap();
        assert_eq!(options.listen, Address::Unix("/run/e.sock".into()));
        assert_eq!(options.isolation, Isolation::Process);
        assert_eq!(options.tpm.to_string(), "/dev/tpmrm0");
        assert!(!options.imds);
    }

    #[test]
    fn the_order_does_not_matter() {
        let options = parse("--imds --isolation vm --tpm unix:/t --listen vsock:5000").unwrap();
        assert_eq!(options, parse("--listen vsock:5000 --tpm unix:/t --isolation vm --imds").unwrap());
        assert_eq!(options.isolation, Isolation::Vm);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("", "--listen is missing"),
            ("--isolation vm", "--listen is missing"),
            ("--listen", "--listen needs a value"),
            ("--listen vsock:1 --listen vsock:1", "--listen comes twice"),
            ("--listen vsock:1 --isolation kvm", "isolation \"kvm\" is neither"),
            ("--listen vsock:1 --isolation VM", "isolation \"VM\" is neither"),
            ("--listen vsock:1 --imds --imds", "--imds comes twice"),
            ("--listen vsock:1 quiet", "argument \"quiet\" is unknown"),
            ("--listen=vsock:1", "argument \"--listen=vsock:1\" is unknown"),
            ("--listen vsock:1 --tpm tpm0", "TPM \"tpm0\""),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with(named), "{line}: {error}");
        }
    }
}
