//! What is run for a VM. Nothing of it outlives this process, however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::VmError;
use super::image::{Format, Image};
use super::programs::Programs;

const MEMORY: &str = "512M";
/// Of the VM on its own vsock: the first that is free.
const CID: u32 = 3;
/// Larger packets come from Linux guests in several descriptors, which the device drops: such a write would hang for ever.
const PACKET: u32 = 28 << 10;

/// Where a VM's files are. Names begin as [`crate::enclave::folder`] knows them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) tpm: PathBuf,
    pub(super) tpm_state: PathBuf,
    pub(super) vhost: PathBuf,
    pub(super) vsock: PathBuf,
    pub(super) variables: PathBuf,
    pub(super) console: PathBuf,
    /// What the programs say.
    pub(super) errors: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            tpm: file("vm.tpm"),
            tpm_state: file("vm.tpmstate"),
            vhost: file("vm.vhost"),
            vsock: file("vm.vsock"),
            variables: file("vm.variables"),
            console: file("vm.console"),
            errors: file("vm.errors"),
        }
    }
}

/// A program that is killed when this process ends.
fn ending_with_us(programs: &Programs, program: &Path) -> Command {
    let mut command = Command::new(&programs.setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The TPM, which ends with the VM.
pub(super) fn tpm(programs: &Programs, place: &Place) -> Command {
    let mut command = ending_with_us(programs, &programs.swtpm);
    command.args(["socket", "--tpm2", "--terminate"]);
    command.arg("--tpmstate").arg(joined("dir=", &place.tpm_state, ""));
    command.arg("--ctrl").arg(joined("type=unixio,path=", &place.tpm, ""));
    command
}

/// The vsock device.
pub(super) fn vsock(programs: &Programs, place: &Place) -> Command {
    let mut command = ending_with_us(programs, &programs.vsock);
    let mut vm = joined(&format!("guest-cid={CID},socket="), &place.vhost, ",uds-path=");
    vm.push(&place.vsock);
    vm.push(format!(",tx-buffer-size={PACKET}"));
    command.arg("--vm").arg(vm);
    command
}

/// The VM. It may end, and is not to begin again by itself.
pub(super) fn qemu(programs: &Programs, place: &Place, image: &Image, console: &Path, kvm: bool) -> Command {
    let mut command = ending_with_us(programs, &programs.qemu);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "1", "-m", MEMORY]);
    let (accelerator, cpu) = if kvm { ("kvm", "host") } else { ("tcg", "max") };
    command.args(["-machine", &format!("q35,smm=off,accel={accelerator},memory-backend=memory"), "-cpu", cpu]);
    // Memory that the vsock device can look into.
    command.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY},share=on")]);
    let code = joined("if=pflash,format=raw,readonly=on,file=", &programs.firmware.code, "");
    command.arg("-drive").arg(code);
    command.arg("-drive").arg(joined("if=pflash,format=raw,file=", &place.variables, ""));
    command.arg("-chardev").arg(joined("socket,id=tpm,path=", &place.tpm, ""));
    command.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
    command.arg("-chardev").arg(joined("socket,id=vsock,path=", &place.vhost, ""));
    command.args(["-device", "vhost-user-vsock-pci,chardev=vsock"]);
    let format = match image.format {
        Format::Raw => "raw",
        Format::Vhd => "vpc",
    };
    command.arg("-drive").arg(joined(&format!("if=none,id=disk,readonly=on,format={format},file="), &image.disk, ""));
    command.args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
    command.arg("-serial").arg(joined("file:", console, ""));
    command
}

/// An option with a path in it; QEMU and swtpm want a comma in a path twice.
fn joined(before: &str, path: &Path, after: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut option = before.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        option.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    option.extend_from_slice(after.as_bytes());
    std::ffi::OsString::from_vec(option)
}

/// Starts one of them, in a process group of its own, so that an interrupt from the terminal reaches this process alone, which
/// then stops the VM in order.
pub(super) fn spawn(program: &'static str, place: &Place, mut command: Command) -> Result<Child, VmError> {
    let errors = File::options().create(true).append(true).open(&place.errors).map_err(VmError::Files)?;
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    command.process_group(0).kill_on_drop(true).spawn().map_err(|error| VmError::Program { program, error })
}
