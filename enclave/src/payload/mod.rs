//! The host as a confined process of the enclave's own machine: started, bounded, started again, and never trusted.
//!
//! Three processes, all of this program until the last becomes the payload:
//! - the machine's first, the enclave itself: gives away the network, and reads not one byte of the payload;
//! - the supervisor ([`supervise`]): root, on the network that the kernel configured. Bounds memory and processes, starts the jail again when
//!   it ends, passes on to the console what it says, in measure;
//! - the jail ([`jail::enter`]): copies the payload from its partition into a root of its own, gives up everything, and executes it.
//!
//! What is left between payload and enclave is vsock within the machine, and the kernel.

mod console;
mod disk;
mod filter;
mod jail;

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::WaitOptions;
use rustix::system::{RebootCommand, reboot, sysinfo};
use rustix::thread::UnshareFlags;

use crate::init::say;
use crate::limits;

/// Argument that makes this program the supervisor.
const SUPERVISOR: &str = "--payload-supervisor";
/// Argument that makes it the jail.
const JAIL: &str = "--payload-jail";
/// Where the kernel shows control groups.
const GROUPS: &str = "/sys/fs/cgroup";
/// That of the payload.
const GROUP: &str = "/sys/fs/cgroup/payload";

/// Runs as supervisor or jail, if that is what the arguments say. Neither comes back.
pub fn play_part(arguments: &[String]) {
    match arguments {
        [part] if part == SUPERVISOR => supervise(),
        [part] if part == JAIL => jail::enter(),
        _ => {}
    }
}

/// Starts the supervisor with the machine's network, and keeps none. For the machine's first process, before it has threads.
///
/// # Errors
/// What failed, as text.
pub fn start() -> Result<(), String> {
    let supervisor = Command::new("/proc/self/exe").arg(SUPERVISOR).env_clear().stdin(Stdio::null()).spawn();
    let supervisor = supervisor.map_err(|error| format!("cannot start the payload's supervisor: {error}"))?.id();
    leave(UnshareFlags::NEWNET).map_err(|error| format!("cannot leave the network: {error}"))?;
    thread::Builder::new()
        .name("reaper".to_owned())
        .spawn(move || reap(supervisor))
        .map(drop)
        .map_err(|error| format!("cannot wait for processes: {error}"))
}

/// Gives this thread, and what it starts, namespaces of its own.
#[expect(deprecated, reason = "its successor is unsafe because of flags that take descriptors away; none of ours does")]
fn leave(namespaces: UnshareFlags) -> Result<(), rustix::io::Errno> {
    rustix::thread::unshare(namespaces)
}

/// Takes leave of processes that nobody else waits for. Without the supervisor the machine starts anew.
fn reap(supervisor: u32) {
    loop {
        let ended = rustix::process::wait(WaitOptions::empty());
        match ended {
            Ok(Some((process, _))) if u32::try_from(process.as_raw_pid()) != Ok(supervisor) => {}
            Err(rustix::io::Errno::INTR) => {}
            _ => break,
        }
    }
    say(format_args!("enclave: the payload's supervisor has ended: restart"));
    let _ = reboot(RebootCommand::Restart);
}

/// Runs the payload, again and again.
fn supervise() -> ! {
    if let Err(error) = bound() {
        say(format_args!("payload: no bounds for it: {error}"));
        std::process::exit(1);
    }
    let mut pause = limits::PAYLOAD_FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let how = run().unwrap_or_else(|error| format!("cannot be started: {error}"));
        // Whatever it has left behind.
        let _ = fs::write(Path::new(GROUP).join("cgroup.kill"), "1");
        pause = next_pause(pause, began.elapsed());
        say(format_args!("payload: {how}; again in {} s", pause.as_secs()));
        thread::sleep(pause);
    }
}

/// Doubled while it ends early.
fn next_pause(last: Duration, lasted: Duration) -> Duration {
    if lasted > limits::PAYLOAD_LONGEST_PAUSE {
        limits::PAYLOAD_FIRST_PAUSE
    } else {
        last.saturating_mul(2).min(limits::PAYLOAD_LONGEST_PAUSE)
    }
}

/// A control group with a part of the machine's memory and a number of processes.
fn bound() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("cgroup2", GROUPS, "cgroup2", flags, None)?;
    fs::write(Path::new(GROUPS).join("cgroup.subtree_control"), "+memory +pids")?;
    fs::create_dir(GROUP)?;
    let memory = memory() / limits::PAYLOAD_MEMORY_PART;
    let processes = limits::PAYLOAD_PROCESSES;
    for (name, value) in [("memory.max", memory.to_string()), ("pids.max", processes.to_string())] {
        fs::write(Path::new(GROUP).join(name), value)?;
    }
    Ok(())
}

/// Bytes of memory that this machine has.
fn memory() -> u64 {
    let system = sysinfo();
    system.totalram.saturating_mul(system.mem_unit.into())
}

/// Runs the payload once: how it ended.
fn run() -> io::Result<String> {
    let (said, says) = io::pipe()?;
    let mut jail = Command::new("/proc/self/exe");
    jail.arg(JAIL).env_clear().stdin(Stdio::null()).stdout(says.try_clone()?).stderr(says);
    let mut child = jail.spawn()?;
    // The pipe's end for the payload is held here too, until this is gone.
    drop(jail);
    console::pass_on(said, &mut io::stderr());
    child.wait().map(|status| status.to_string())
}
