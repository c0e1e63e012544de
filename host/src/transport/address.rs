//! Where an enclave listens, as `host --enclave` takes it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// The guest that never is one: any.
const CID_ANY: u32 = u32::MAX;
/// This machine, as its VMs see it.
const CID_HOST: u32 = 2;
const FORMS: &str = "expected unix:PATH, vsock://CID:PORT, vsock+unix:PATH:PORT or tcp://ADDR:PORT";

/// Where an enclave listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A process of this machine, `enclave --listen unix:PATH`.
    Unix(PathBuf),
    /// A VM, through the Unix socket of its monitor (`CONNECT PORT`); streams that it opens come to that path, `_` and a port.
    Hybrid {
        /// The monitor's socket.
        path: PathBuf,
        /// The enclave's port in the VM.
        port: u32,
    },
    /// A VM of this machine, or with CID 1 the machine itself, through the kernel.
    Vsock {
        /// The VM's context id.
        cid: u32,
        /// The enclave's port in it.
        port: u32,
    },
    /// Another machine.
    Tcp {
        /// IPv4 or IPv6 address, without brackets, or name.
        host: String,
        /// The enclave's port there.
        port: u16,
    },
}

impl FromStr for Address {
    type Err = String;

    /// What is wrong, and how it is written.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("vsock+unix:") {
            return hybrid(rest);
        }
        match text.split_once(':') {
            Some(("unix", "")) => Err("unix: needs the enclave's socket, as in unix:/run/cmcp/enclave.sock".to_owned()),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("vsock", rest)) => vsock(rest),
            Some(("tcp", rest)) => tcp(rest),
            _ => Err(FORMS.to_owned()),
        }
    }
}

fn hybrid(rest: &str) -> Result<Address, String> {
    let form = "expected vsock+unix:PATH:PORT, the socket of the VM's monitor and the enclave's port in the VM, as in \
                vsock+unix:/run/vm/vsock:5000";
    let (path, port) = rest.rsplit_once(':').filter(|(path, _)| !path.is_empty()).ok_or(form)?;
    Ok(Address::Hybrid { path: path.into(), port: number(port).ok_or(form)? })
}

fn vsock(rest: &str) -> Result<Address, String> {
    let form = "expected vsock://CID:PORT, the VM's context id and the enclave's port in it, as in vsock://3:5000";
    let (cid, port) = rest.strip_prefix("//").and_then(|rest| rest.split_once(':')).ok_or(form)?;
    let (cid, port) = (cid.parse().map_err(|_| form)?, number(port).ok_or(form)?);
    match cid {
        0 | CID_ANY => Err(format!("CID {cid} is no VM's; VMs have 3 and up, and 1 is this machine itself")),
        CID_HOST => {
            Err("CID 2 is this machine as its VMs see it; an enclave on this machine itself is at CID 1".to_owned())
        }
        cid => Ok(Address::Vsock { cid, port }),
    }
}

fn tcp(rest: &str) -> Result<Address, String> {
    let form = "expected tcp://ADDR:PORT, as in tcp://10.0.0.5:5000 or tcp://[fd00::5]:5000";
    let (host, port) = rest.strip_prefix("//").and_then(|rest| rest.rsplit_once(':')).ok_or(form)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or(form)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    };
    if !good {
        return Err(form.to_owned());
    }
    Ok(Address::Tcp { host: bracketed.unwrap_or(host).to_owned(), port })
}

/// A port of vsock; neither 0 nor the one that means any.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|port| *port > 0 && *port < u32::MAX)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Hybrid { path, port } => write!(f, "vsock+unix:{}:{port}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock://{cid}:{port}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        let tcp = |host: &str| Address::Tcp { host: host.to_owned(), port: 5000 };
        let forms = [
            ("unix:/run/a b/enclave.sock", Address::Unix("/run/a b/enclave.sock".into())),
            ("vsock+unix:/run/vm:1/vsock:5000", Address::Hybrid { path: "/run/vm:1/vsock".into(), port: 5000 }),
            ("vsock://3:5000", Address::Vsock { cid: 3, port: 5000 }),
            ("vsock://1:5000", Address::Vsock { cid: 1, port: 5000 }),
            ("tcp://10.0.0.5:5000", tcp("10.0.0.5")),
            ("tcp://[fd00::5]:5000", tcp("fd00::5")),
            ("tcp://enclave.internal:5000", tcp("enclave.internal")),
        ];
        for (text, address) in forms {
            assert_eq!(text.parse::<Address>(), Ok(address.clone()));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_an_example() {
        for (text, hint) in [
            ("", FORMS),
            ("/run/cmcp/enclave.sock", FORMS),
            ("http://10.0.0.5:5000", FORMS),
            ("unix:", "unix:/run/cmcp/enclave.sock"),
            ("vsock:3:5000", "vsock://3:5000"),
            ("vsock://3", "vsock://3:5000"),
            ("vsock://three:5000", "vsock://3:5000"),
            ("vsock://3:0", "vsock://3:5000"),
            ("vsock://0:5000", "VMs have 3 and up"),
            ("vsock://4294967295:5000", "VMs have 3 and up"),
            ("vsock://2:5000", "CID 1"),
            ("vsock+unix:/run/vm/vsock", "vsock+unix:/run/vm/vsock:5000"),
            ("vsock+unix::5000", "vsock+unix:/run/vm/vsock:5000"),
            ("tcp://10.0.0.5", "tcp://10.0.0.5:5000"),
            ("tcp:10.0.0.5:5000", "tcp://10.0.0.5:5000"),
            ("tcp://10.0.0.5:0", "tcp://10.0.0.5:5000"),
            ("tcp://:5000", "tcp://10.0.0.5:5000"),
            ("tcp://fd00::5:5000", "tcp://[fd00::5]:5000"),
            ("tcp://a/b:5000", "tcp://10.0.0.5:5000"),
        ] {
            let said = text.parse::<Address>().unwrap_err();
            assert!(said.contains(hint), "{text}: {said}");
        }
    }
}
