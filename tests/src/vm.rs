//! Machines that the tests boot themselves: QEMU, OVMF, a TPM in software and vhost-device-vsock. The command lines are the tests' own,
//! not those of `host --vm`, because most attacks are command lines.
//!
//! Images are those of `image/build` under `target/image`; `IMAGE_DIR` names another folder. `tests/run vm` installs the programs.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{bin, proc, wait_for};

/// How long a device may take to start, or a machine to switch itself off.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a boot may take where everybody else is busy too.
const BOOT: Duration = Duration::from_mins(2);
/// The larger of Debian's two builds; the host takes the other.
const FIRMWARE: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
const CID: u32 = 3;
/// Where the enclave of every flavour listens.
pub const PORT: u16 = 5000;

/// One test at a time: emulated machines side by side would only wait for each other.
static TURN: Mutex<()> = Mutex::new(());

/// The turn of a test, until it is dropped.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `image/build` made of a flavour.
pub struct Image(PathBuf);

impl Image {
    /// The built image of this flavour.
    ///
    /// # Panics
    /// When it has not been built.
    pub fn of(flavour: &str) -> Self {
        let folder = std::env::var_os("IMAGE_DIR").map_or_else(|| bin::root().join("target/image"), PathBuf::from);
        let folder = folder.join(flavour);
        assert!(folder.join("disk.vhd").exists(), "{} is missing: image/build", folder.display());
        Self(folder)
    }

    /// What is in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Path of a part, such as `disk.vhd`.
    pub fn path(&self, part: &str) -> PathBuf {
        self.0.join(part)
    }

    /// The bytes of a part.
    pub fn bytes(&self, part: &str) -> Vec<u8> {
        std::fs::read(self.path(part)).expect("a part of the image")
    }

    /// Path of `measurements.json`, or of what a build without pins wrote instead.
    pub fn measured(&self) -> PathBuf {
        let released = self.path("measurements.json");
        if released.exists() { released } else { self.path("measurements.unreleasable.json") }
    }

    /// What is in it.
    pub fn measurements(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.measured()).expect("measurements")).expect("JSON")
    }

    /// Whether it was built without pins, because the archive has no longer what is pinned.
    pub fn unpinned(&self) -> bool {
        self.measurements()["unreleasable"] == true
    }

    /// PCRs 4, 9 and 11 as predicted for a way to boot, `disk` or `kernel`.
    pub fn predicted(&self, boot_path: &str) -> Value {
        let measurements = self.measurements();
        let index = measurements["boot_paths"][boot_path].as_u64().expect("a boot path");
        measurements["images"][usize::try_from(index).expect("an index")]["pcrs"].clone()
    }
}

/// A TPM's state, which outlives its machine's being switched off.
#[derive(Clone)]
pub struct TpmState(Arc<TempDir>);

impl TpmState {
    /// As it comes from the factory.
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().expect("a temporary folder")))
    }
}

impl Default for TpmState {
    fn default() -> Self {
        Self::new()
    }
}

/// A machine, before it is switched on.
pub struct Machine {
    words: Vec<String>,
    vsock: bool,
}

impl Machine {
    /// Boots from a disk, which it cannot write: a VHD or a raw one, by its name.
    pub fn from_disk(disk: &Path) -> Self {
        let format = if disk.extension().is_some_and(|extension| extension == "vhd") { "vpc" } else { "raw" };
        let drive = format!("if=none,id=disk,readonly=on,format={format},file={}", disk.display());
        Self { words: words(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"]), vsock: true }
    }

    /// Boots an EFI program that its firmware is handed.
    pub fn from_program(program: &Path) -> Self {
        Self { words: words(&["-kernel", &program.to_string_lossy()]), vsock: true }
    }

    /// Adds options of QEMU.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.words.extend(words(options));
        self
    }

    /// Without vsock, on a network of its own: `enclave` leads to the enclave's port, and what the machine asks of the metadata service
    /// of a cloud, `metadata` answers. What it connects to at its gateway arrives on this machine's loopback.
    #[must_use]
    pub fn on_network(mut self, enclave: SocketAddr, metadata: SocketAddr) -> Self {
        let network = "user,id=net,net=169.254.0.0/16,host=169.254.0.2,dhcpstart=169.254.0.15";
        let network = format!("{network},hostfwd=tcp:{enclave}-:{PORT},guestfwd=tcp:169.254.169.254:80-tcp:{metadata}");
        self.words.extend(words(&["-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="]));
        self.vsock = false;
        self
    }

    /// Switches it on.
    pub fn start(&self, tpm: &TpmState) -> Vm {
        self.start_in(Arc::new(tempfile::tempdir().expect("a temporary folder")), tpm)
    }

    /// Switches it on again, where it was, once it is off. The device for vsock does not survive a reset of its machine, so a machine that
    /// wants to restart is switched off, and its devices begin anew with it.
    pub fn start_again(&self, mut vm: Vm) -> Vm {
        vm.off();
        let (folder, tpm) = (Arc::clone(&vm.folder), vm.tpm.clone());
        drop(vm);
        for file in ["tpm", "vhost", "vsock", "console"] {
            let _ = std::fs::remove_file(folder.path().join(file));
        }
        self.start_in(folder, &tpm)
    }

    fn start_in(&self, folder: Arc<TempDir>, tpm: &TpmState) -> Vm {
        let file = |name: &str| folder.path().join(name);
        std::fs::copy(FIRMWARE[1], file("variables")).expect("OVMF, of the Debian package ovmf");
        let state = format!("dir={}", tpm.0.path().display());
        let control = format!("type=unixio,path={}", file("tpm").display());
        let mut devices = vec![spawn(
            &folder,
            "swtpm",
            &["socket", "--tpm2", "--terminate", "--tpmstate", &state, "--ctrl", &control],
        )];
        wait_for("TPM", PATIENCE, || file("tpm").exists().then_some(()));
        let mut options = common(&folder);
        if self.vsock {
            let (vhost, vsock) = (file("vhost"), file("vsock"));
            let vm =
                format!("guest-cid={CID},socket={},uds-path={},tx-buffer-size=28672", vhost.display(), vsock.display());
            devices.push(spawn(&folder, "vhost-device-vsock", &["--vm", &vm]));
            wait_for("vsock device", PATIENCE, || vhost.exists().then_some(()));
            let socket = format!("socket,id=vsock,path={}", vhost.display());
            options.extend(words(&["-chardev", &socket, "-device", "vhost-user-vsock-pci,chardev=vsock"]));
        }
        options.extend(self.words.iter().cloned());
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let qemu = spawn(&folder, "qemu-system-x86_64", &options);
        Vm { qemu, devices, folder, tpm: tpm.clone() }
    }
}

/// What every machine has.
fn common(folder: &TempDir) -> Vec<String> {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let code = format!("if=pflash,format=raw,readonly=on,file={}", FIRMWARE[0]);
    let variables = format!("if=pflash,format=raw,file={}", file("variables"));
    let (console, tpm) = (format!("file:{}", file("console")), format!("socket,id=tpm,path={}", file("tpm")));
    words(
        &[
            &["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "1", "-m", "512M"][..],
            &["-machine", "q35,smm=off,accel=tcg,memory-backend=memory", "-cpu", "max"],
            &["-object", "memory-backend-memfd,id=memory,size=512M,share=on"],
            &["-drive", &code, "-drive", &variables, "-serial", &console],
            &["-chardev", &tpm, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"],
        ]
        .concat(),
    )
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Starts a program that ends with the test's process, its complaints in `errors`.
fn spawn(folder: &TempDir, program: &str, words: &[&str]) -> Child {
    let errors = File::options().create(true).append(true).open(folder.path().join("errors")).expect("a file");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", &tool(program)])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .expect("setpriv, of util-linux")
}

/// A program of `target/tools`, where `tests/run vm` puts those that are no packages, or else of the path.
fn tool(name: &str) -> String {
    let path = tools().join(name);
    if path.exists() { path.display().to_string() } else { name.to_owned() }
}

/// The folder of programs that are no packages.
pub fn tools() -> PathBuf {
    bin::root().join("target/tools/bin")
}

/// A machine that is on, until it is dropped.
pub struct Vm {
    qemu: Child,
    devices: Vec<Child>,
    folder: Arc<TempDir>,
    tpm: TpmState,
}

impl Vm {
    /// Where a host finds its enclave over vsock, once it listens: a stream that comes just when the machine's driver starts can end the
    /// device for vsock.
    pub fn address(&mut self) -> String {
        self.wait_listening();
        format!("vsock+unix:{}:{PORT}", self.vsock().display())
    }

    /// Waits until its enclave says on the console that it listens.
    pub fn wait_listening(&mut self) {
        wait_for("enclave that listens", BOOT, || {
            assert!(self.is_on(), "the machine is off");
            self.console().contains("listening at").then_some(())
        });
    }

    /// The Unix socket that stands for its vsock.
    pub fn vsock(&self) -> PathBuf {
        self.folder.path().join("vsock")
    }

    /// What was written to its console.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What QEMU and the devices complained about.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }

    /// Whether it is on.
    pub fn is_on(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None))
    }

    /// Waits until it has switched itself off.
    pub fn off(&mut self) -> ExitStatus {
        wait_for("end of the machine", PATIENCE, || self.qemu.try_wait().expect("a child"))
    }

    /// Takes its power away.
    pub fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
        for device in &mut self.devices {
            proc::signal(device.id(), Signal::KILL);
            let _ = device.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- console of the machine\n{}\n--- complaints\n{}", self.console(), self.errors());
        }
    }
}
