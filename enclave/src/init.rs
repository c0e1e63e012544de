//! The first process of a machine that runs nothing else: what a kernel expects of it, before and after the enclave's own work.
//!
//! It never returns and never lets the kernel panic on its account. What it has to say goes to the console, which is the host's to
//! read: places in this code, the system's errors, nothing that a peer said.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::Instant;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::system::{RebootCommand, reboot};

use crate::limits;
use crate::serve::End;

/// File systems of the kernel's own, none of which is stored anywhere: name, place, whether the enclave can do without.
const MOUNTS: [(&str, &str, bool); 5] = [
    ("devtmpfs", "/dev", false),
    ("proc", "/proc", false),
    ("sysfs", "/sys", false),
    // The firmware's event log.
    ("securityfs", "/sys/kernel/security", true),
    // Reports of SEV-SNP and TDX.
    ("configfs", "/sys/kernel/config", true),
];

/// Whether this process is the machine's first.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Makes the machine ready, works, and ends with the machine.
///
/// A machine that the host stopped in order is powered off. One whose control stream ended otherwise starts anew, with a new key and
/// with PCRs that no other boot has extended. One that cannot even begin is powered off: it would fail again.
pub fn run(work: impl FnOnce() -> Result<End, String>) -> ! {
    let (words, command) = match prepare().and_then(|()| caught(work)) {
        Ok(End::Stopped) => ("stopped: power off".to_owned(), RebootCommand::PowerOff),
        Ok(End::Lost) => ("the control stream has ended: restart".to_owned(), RebootCommand::Restart),
        Err(error) => (format!("{error}: power off"), RebootCommand::PowerOff),
    };
    say(format_args!("enclave: {words}"));
    if command == RebootCommand::Restart {
        // A host on this machine may have a word to say on why it ended; and no host makes it do nothing but start.
        sleep(limits::RESTART_PAUSE);
    }
    // Nothing is stored on this machine; what was said shall be heard.
    let _ = rustix::termios::tcdrain(io::stderr());
    let error = reboot(command).err();
    // Only a machine that is none, such as a container, comes here.
    say(format_args!("enclave: no power over this machine: {error:?}"));
    std::process::exit(1)
}

/// Says a line in one piece: a machine's console has other writers.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A panic here ends one machine in order, instead of making the kernel panic.
fn caught(work: impl FnOnce() -> Result<End, String>) -> Result<End, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Ok(End::Lost))
}

fn prepare() -> Result<(), String> {
    for (kind, place, dispensable) in MOUNTS {
        match mounted(kind, place) {
            Err(error) if !dispensable => return Err(format!("cannot mount {kind} at {place}: {error}")),
            _ => {}
        }
    }
    let files = Rlimit { current: Some(limits::OPEN_FILES), maximum: Some(limits::OPEN_FILES) };
    setrlimit(Resource::Nofile, files)
        .map_err(|error| format!("cannot have {} open files: {error}", limits::OPEN_FILES))?;
    random_is_ready()
}

fn mounted(kind: &str, place: &str) -> Result<(), Errno> {
    // Devices are what /dev is for; nothing is executed from any of them.
    let devices = if place == "/dev" { MountFlags::empty() } else { MountFlags::NODEV };
    match mount(kind, place, kind, devices | MountFlags::NOSUID | MountFlags::NOEXEC, None) {
        // The kernel did it already.
        Err(Errno::BUSY) => Ok(()),
        result => result,
    }
}

/// Waits until the kernel has gathered enough to make keys with, but not for ever.
fn random_is_ready() -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < limits::RANDOM_TIMEOUT {
        match getrandom(&mut [0; 1], GetRandomFlags::NONBLOCK) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN | Errno::INTR) => sleep(limits::RANDOM_PAUSE),
            Err(error) => return Err(format!("no random bytes: {error}")),
        }
    }
    Err(format!("the kernel has no random bytes after {} s", limits::RANDOM_TIMEOUT.as_secs()))
}
