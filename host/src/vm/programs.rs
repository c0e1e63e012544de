//! The programs and the firmware that a VM takes, or one list of what to install.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where distributions keep OVMF: code and the variables' first state. Where Debian has two builds, the one of two megabytes takes half
/// as long to start a program.
const FIRMWARE: [(&str, &str); 4] = [
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
];
/// Where cargo puts programs; on nobody's path under a service manager.
const CARGO: &str = ".cargo/bin";

/// Where everything is.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) qemu: PathBuf,
    pub(super) swtpm: PathBuf,
    pub(super) vsock: PathBuf,
    /// Of util-linux: has a program end with its parent.
    pub(super) setpriv: PathBuf,
    pub(super) firmware: Firmware,
}

/// OVMF.
#[derive(Debug)]
pub(super) struct Firmware {
    pub(super) code: PathBuf,
    pub(super) variables: PathBuf,
}

/// What is not here.
#[derive(Debug, Error)]
pub struct Missing(Vec<Need>);

/// A thing that a VM takes, and the command that installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    name: &'static str,
    install: &'static str,
}

const QEMU: Need =
    Need { name: "qemu-system-x86_64", install: "apt-get install --no-install-recommends qemu-system-x86" };
const OVMF: Need = Need { name: "OVMF, UEFI firmware", install: "apt-get install ovmf" };
const SWTPM: Need = Need { name: "swtpm", install: "apt-get install swtpm" };
const VSOCK: Need =
    Need { name: "vhost-device-vsock", install: "cargo install vhost-device-vsock --version 0.3.0 --locked" };
const SETPRIV: Need = Need { name: "setpriv", install: "apt-get install util-linux" };

impl Programs {
    /// Finds them on the path.
    pub(super) fn find() -> Result<Self, Missing> {
        let mut folders: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        folders.extend(env::home_dir().map(|home| home.join(CARGO)));
        Self::find_in(&folders, &FIRMWARE.map(|(code, variables)| (code.into(), variables.into())))
    }

    fn find_in(folders: &[PathBuf], firmware: &[(PathBuf, PathBuf)]) -> Result<Self, Missing> {
        let program =
            |need: Need| folders.iter().map(|folder| folder.join(need.name)).find(|path| path.is_file()).ok_or(need);
        let ovmf = firmware.iter().find(|(code, variables)| code.is_file() && variables.is_file()).ok_or(OVMF);
        match (program(QEMU), ovmf, program(SWTPM), program(VSOCK), program(SETPRIV)) {
            (Ok(qemu), Ok((code, variables)), Ok(swtpm), Ok(vsock), Ok(setpriv)) => {
                let firmware = Firmware { code: code.clone(), variables: variables.clone() };
                Ok(Self { qemu, swtpm, vsock, setpriv, firmware })
            }
            (qemu, ovmf, swtpm, vsock, setpriv) => {
                let missing = [qemu.err(), ovmf.err(), swtpm.err(), vsock.err(), setpriv.err()];
                Err(Missing(missing.into_iter().flatten().collect()))
            }
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--vm needs what is not installed here (commands for Debian and Ubuntu):")?;
        for Need { name, install } in &self.0 {
            write!(f, "\n  {name:<22} {install}")?;
        }
        if self.0.contains(&QEMU) && Path::new("/etc/debian_version").exists() {
            write!(
                f,
                "\n\nWhere apt-get says that it breaks qemu-utils, QEMU has to come from where that came from, as with"
            )?;
            write!(f, "\napt-get install --no-install-recommends -t bookworm-backports qemu-system-x86")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_said_at_once_with_commands() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let folders = [path("nowhere"), folder.path().to_owned()];
        let firmware = [(path("none"), path("none")), (path("code"), path("variables"))];
        let said = Programs::find_in(&folders, &firmware).unwrap_err().to_string();
        for need in [QEMU, OVMF, SWTPM, VSOCK, SETPRIV] {
            assert!(said.contains(need.name) && said.contains(need.install), "{need:?}: {said}");
            std::fs::write(path(need.name), "").unwrap();
        }
        assert_eq!(Programs::find_in(&folders, &firmware).unwrap_err().0, [OVMF]);
        std::fs::write(path("code"), "").unwrap();
        std::fs::write(path("variables"), "").unwrap();
        let found = Programs::find_in(&folders, &firmware).unwrap();
        assert_eq!((found.qemu, found.firmware.code), (path("qemu-system-x86_64"), path("code")));
    }
}
