//! `host --vm`: the measured image in a VM of this machine, with a TPM in software: the same boot, streams and evidence as on hardware,
//! for trying it out. It keeps nothing: each start is a new machine with a new TPM.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::control::{Control, ControlError};
use crate::enclave::folder::Folder;
use crate::enclave::{Ending, StartError};
use crate::limits;
use crate::transport::Link;
use crate::transport::hybrid::Hybrid;

mod commands;
mod image;
mod programs;

use commands::Place;
use image::{Image, ImageError};
use programs::{Missing, Programs};

/// What everyone who uses `--vm` should know.
pub const SOFTWARE_TPM: &str = "the VM's TPM is software on this machine: its evidence shows how claims are verified, and proves \
                                nothing about hardware";
/// Where the enclave of an image listens, from its measured command line.
const PORT: u32 = 5000;
/// What it then says on the console.
const LISTENING: &str = "listening at vsock:5000";

/// A VM, on the command line.
#[derive(Debug, Args)]
pub struct VmOptions {
    /// Boot this image in a VM of this machine and serve with its enclave, for trying it out: a folder of `image/build`, as
    /// target/image/metal, a raw disk or a VHD
    #[arg(long, value_name = "IMAGE", conflicts_with = "enclave")]
    vm: Option<PathBuf>,
    /// With --vm: keep the VM's console in this file
    #[arg(long, value_name = "FILE", requires = "vm")]
    vm_console: Option<PathBuf>,
    /// With --vm: use KVM, instead of emulation, which works everywhere
    #[arg(long, requires = "vm")]
    kvm: bool,
}

/// Why there is no VM.
#[derive(Debug, Error)]
pub enum VmError {
    /// Not an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Programs that it takes are not here.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Its folder, or a file in it, cannot be made.
    #[error("no place for the VM's files: {0}")]
    Files(io::Error),
    /// A program cannot be started.
    #[error("{program} cannot be started: {error}")]
    Program {
        /// Which.
        program: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A program of it ended before the enclave could be reached.
    #[error("{program} ended before the enclave answered ({status}){said}")]
    Ended {
        /// Which.
        program: &'static str,
        /// How.
        status: ExitStatus,
        /// What it and the VM said last.
        said: String,
    },
    /// The enclave was not there in time.
    #[error("the enclave in the VM did not answer within {} s{said}", limits::VM_START_TIMEOUT.as_secs())]
    Silent {
        /// What it and the VM said last.
        said: String,
    },
}

impl VmOptions {
    /// The image, if one is named.
    pub fn image(&self) -> Option<&Path> {
        self.vm.as_deref()
    }

    /// The VM, if one is asked for, with everything that it takes.
    ///
    /// # Errors
    /// What is missing, and how to install it.
    pub fn machine(&self) -> Result<Option<Machine>, VmError> {
        let Some(image) = &self.vm else { return Ok(None) };
        let image = Image::open(image)?;
        Ok(Some(Machine { image, programs: Programs::find()?, console: self.vm_console.clone(), kvm: self.kvm }))
    }
}

/// A VM that can be started, again and again.
#[derive(Debug)]
pub struct Machine {
    image: Image,
    programs: Programs,
    console: Option<PathBuf>,
    kvm: bool,
}

/// A running VM. Dropping it switches it off; it does not outlive this process either.
#[derive(Debug)]
pub struct Vm {
    /// How to reach its enclave.
    pub link: Arc<Link>,
    qemu: Child,
    /// TPM and vsock, with their programs' names.
    devices: [(&'static str, Child); 2],
    console: PathBuf,
    place: Place,
    /// Removed with all that is in it when the VM is gone.
    _folder: Folder,
}

impl Machine {
    /// Starts the VM, with a new TPM.
    ///
    /// # Errors
    /// See [`VmError`].
    pub async fn start(&self) -> Result<Vm, VmError> {
        let folder = Folder::new().map_err(VmError::Files)?;
        let place = Place::new(folder.path());
        std::fs::create_dir(&place.tpm_state).map_err(VmError::Files)?;
        std::fs::copy(&self.programs.firmware.variables, &place.variables).map_err(VmError::Files)?;
        let console = self.console.clone().unwrap_or_else(|| place.console.clone());
        // What is left of an earlier boot is not this one's.
        std::fs::write(&console, "").map_err(VmError::Files)?;
        let tpm = commands::tpm(&self.programs, &place);
        let vsock = commands::vsock(&self.programs, &place);
        let mut devices = [
            ("swtpm", commands::spawn("swtpm", &place, tpm)?),
            ("vhost-device-vsock", commands::spawn("vhost-device-vsock", &place, vsock)?),
        ];
        for (socket, (program, device)) in [&place.tpm, &place.vhost].into_iter().zip(&mut devices) {
            appears(socket, program, device, &place).await?;
        }
        let qemu = commands::qemu(&self.programs, &place, &self.image, &console, self.kvm);
        let qemu = commands::spawn("qemu-system-x86_64", &place, qemu)?;
        let link = Arc::new(Link::Hybrid(Hybrid::attach(&place.vsock, PORT).map_err(VmError::Files)?));
        Ok(Vm { link, qemu, devices, console, place, _folder: folder })
    }
}

impl Vm {
    /// Opens the control stream as soon as the enclave listens.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn reach(&mut self) -> Result<Control, StartError> {
        let begun = Instant::now();
        loop {
            self.is_running()?;
            // A stream that comes just when the VM's driver starts can end the vsock device for good: nobody knocks before.
            if begun.elapsed() < limits::VM_SILENT_CONSOLE && !shown(&self.console).contains(LISTENING) {
                sleep(limits::ATTACH_PAUSE).await;
                continue;
            }
            match Control::open(&*self.link).await {
                // The VM is booting; what a device answers for it meanwhile says nothing.
                Err(ControlError::Connect(_) | ControlError::Wire(_) | ControlError::Silent)
                    if begun.elapsed() < limits::VM_START_TIMEOUT =>
                {
                    sleep(limits::ATTACH_PAUSE).await;
                }
                Err(ControlError::Connect(_) | ControlError::Silent) => {
                    return Err(VmError::Silent { said: self.said() }.into());
                }
                other => return Ok(other?),
            }
        }
    }

    fn is_running(&mut self) -> Result<(), VmError> {
        // The VM's end is the end of its TPM too, and the reason.
        let qemu = std::iter::once(("qemu-system-x86_64", &mut self.qemu));
        let mut all = qemu.chain(self.devices.iter_mut().map(|(program, child)| (*program, child)));
        let ended = all.find_map(|(program, child)| Some((program, child.try_wait().ok()??)));
        match ended {
            Some((program, status)) => Err(VmError::Ended { program, status, said: self.said() }),
            None => Ok(()),
        }
    }

    fn said(&self) -> String {
        said(&self.place.errors) + &tail(&self.console)
    }

    /// Waits for it to switch itself off, as after its enclave's end, then switches it off; and its devices in any case.
    pub async fn end(&mut self, patience: Duration) -> Ending {
        let ending = if let Ok(Ok(status)) = timeout(patience, self.qemu.wait()).await {
            Ending::Exited(status)
        } else {
            let _ = self.qemu.kill().await;
            Ending::Killed
        };
        for (_, device) in &mut self.devices {
            let _ = device.kill().await;
        }
        ending
    }
}

/// Waits for a device's socket.
async fn appears(socket: &Path, program: &'static str, device: &mut Child, place: &Place) -> Result<(), VmError> {
    let begun = Instant::now();
    while !socket.exists() {
        if let Ok(Some(status)) = device.try_wait() {
            return Err(VmError::Ended { program, status, said: said(&place.errors) });
        }
        if begun.elapsed() > limits::START_TIMEOUT {
            return Err(VmError::Silent { said: format!("; {program} made no socket{}", said(&place.errors)) });
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What the VM's programs complained about.
fn said(errors: &Path) -> String {
    match shown(errors).trim() {
        "" => String::new(),
        text => format!("\n{text}"),
    }
}

/// The end of a console.
fn tail(console: &Path) -> String {
    match shown(console).trim() {
        "" => "\nIts console is empty.".to_owned(),
        text => format!("\nIts console ends with\n{text}"),
    }
}

/// The end of a file, as text that does nothing to a terminal.
fn shown(file: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        if !file.is_file() {
            // A terminal, say, which is somebody else's to read.
            return Ok(Vec::new());
        }
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limits::VM_CONSOLE_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(limits::VM_CONSOLE_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    bytes.into_iter().filter(|byte| matches!(byte, b'\n' | b' '..=b'~')).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_shown_from_its_end_and_harmless() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(tail(file.path()).contains("empty"));
        let long = format!("{}\x1b[2J\x07first\r\nlast line\u{9b}\n", "x".repeat(9000));
        std::fs::write(file.path(), long).unwrap();
        let shown = tail(file.path());
        assert!(shown.ends_with("first\nlast line") && shown.len() < 2200, "{shown}");
        assert!(!shown.contains('\x1b') && shown.is_ascii());
    }
}
