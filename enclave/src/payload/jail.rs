//! The way into the jail, in the order in which each step is still allowed to happen.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, exit};

use rustix::fs::{CWD, Dev, FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move, unmount};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid, chdir, chroot, set_dumpable_behavior, setrlimit};
use rustix::system::sethostname;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, UnshareFlags, remove_capability_from_bounding_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::{GROUP, disk, filter, leave, memory};
use crate::limits;

/// The new root, in the first one.
const ROOT: &str = "/payload";
/// Owner of everything in the jail, as the rest of the machine sees it.
const OUTSIDE: u32 = 100_000;
/// The same, as the jail sees it.
const INSIDE: u32 = 1000;
/// Devices that give nothing away: name, numbers.
const DEVICES: [(&str, u32, u32); 4] = [("null", 1, 3), ("zero", 1, 5), ("random", 1, 8), ("urandom", 1, 9)];
/// The payload's command line, after its name. Its documents are an archive on standard input.
const ARGUMENTS: [&str; 4] = ["--enclave", "vsock://1:5000", "--documents", "-"];

/// What failed, and why.
type Failure = (&'static str, io::Error);

/// Goes into the jail, runs the payload there, and ends as it ends.
pub(super) fn enter() -> ! {
    match confined() {
        Ok(code) => exit(code),
        Err((what, error)) => {
            eprintln!("not started: {what}: {error}");
            exit(1)
        }
    }
}

fn confined() -> Result<i32, Failure> {
    step("its control group", fs::write(Path::new(GROUP).join("cgroup.procs"), "0"))?;
    step("mounts of its own", own_mounts())?;
    step("its files", fill())?;
    let processes =
        step("/proc", openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))?;
    let documents = step("its documents", File::open(Path::new(ROOT).join("documents.tar")))?;
    step("its documents", fs::remove_file(Path::new(ROOT).join("documents.tar")))?;
    step("its root", new_root())?;
    step("its limits", limited())?;
    step("its user", unprivileged())?;
    step("namespaces", leave(UnshareFlags::NEWUSER | UnshareFlags::NEWPID | UnshareFlags::NEWUTS))?;
    step("its user's name", mapped(&processes))?;
    drop(processes);
    step("its machine's name", sethostname(b"payload"))?;
    step("capabilities", without_capabilities())?;
    step("new privileges", set_no_new_privs(true))?;
    let filter = step("the filter of system calls", filter::compile().map_err(io::Error::other))?;
    step("the filter of system calls", seccompiler::apply_filter(&filter).map_err(io::Error::other))?;
    let mut payload = Command::new("/host");
    let payload = payload.args(ARGUMENTS).env_clear().env("HOME", "/data").current_dir("/data").stdin(documents);
    let status = step("/host", payload.spawn().and_then(|mut payload| payload.wait()))?;
    Ok(status.code().unwrap_or(1))
}

fn step<T, E: Into<io::Error>>(what: &'static str, done: Result<T, E>) -> Result<T, Failure> {
    done.map_err(|error| (what, error.into()))
}

/// What is mounted from here on is seen by nobody else.
fn own_mounts() -> io::Result<()> {
    leave(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    fs::create_dir_all(ROOT)?;
    // All of it counts as the control group's memory.
    let size =
        format!("mode=0755,nr_inodes={},size={}\0", limits::PAYLOAD_FILES, memory() / limits::PAYLOAD_FILES_PART);
    let size = std::ffi::CStr::from_bytes_with_nul(size.as_bytes()).map_err(io::Error::other)?;
    mount("tmpfs", ROOT, "tmpfs", MountFlags::NOSUID, size)?;
    Ok(())
}

/// The payload, its documents, four devices, where names are resolved, and a folder to write to.
fn fill() -> io::Result<()> {
    let root = Path::new(ROOT);
    let payload = disk::find().map_err(io::Error::other)?;
    let (mut host, mut documents) = (create(&root.join("host"), 0o555)?, create(&root.join("documents.tar"), 0o444)?);
    payload.copy(&mut host, &mut documents).map_err(io::Error::other)?;
    fs::create_dir(root.join("dev"))?;
    for (name, major, minor) in DEVICES {
        let device: Dev = makedev(major, minor);
        mknodat(CWD, root.join("dev").join(name), FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)?;
        fs::set_permissions(root.join("dev").join(name), Permissions::from_mode(0o666))?;
    }
    fs::create_dir(root.join("etc"))?;
    create(&root.join("etc/hosts"), 0o444)?.write_all(b"127.0.0.1 localhost\n::1 localhost\n")?;
    resolver(&mut create(&root.join("etc/resolv.conf"), 0o444)?);
    for folder in ["data", "tmp"] {
        fs::create_dir(root.join(folder))?;
        chown(root.join(folder), Some(OUTSIDE), Some(OUTSIDE))?;
    }
    Ok(())
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// As the network's DHCP server said, in the kernel's words; the payload reads them, nobody here.
fn resolver(file: &mut File) {
    let Ok(said) = File::open("/proc/net/pnp") else { return };
    let _ = io::copy(&mut said.take(limits::MAX_RESOLVER), file);
}

/// The files become the root, and what the machine's own root had is out of reach.
fn new_root() -> io::Result<()> {
    for place in ["/dev", "/sys", "/proc"] {
        unmount(place, UnmountFlags::DETACH)?;
    }
    chdir(ROOT)?;
    mount_move(".", "/")?;
    chroot(".")?;
    Ok(chdir("/")?)
}

fn limited() -> io::Result<()> {
    for (resource, most) in [
        (Resource::Nofile, limits::PAYLOAD_OPEN_FILES),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Nproc, limits::PAYLOAD_PROCESSES),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Those that a new user namespace gives over what is in it, which is nothing but its processes; and none can be had again.
fn without_capabilities() -> io::Result<()> {
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED,
    )?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // Newer than this kernel.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    Ok(set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?)
}

fn unprivileged() -> io::Result<()> {
    let (user, group) = (Uid::from_raw(OUTSIDE), Gid::from_raw(OUTSIDE));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    // Or its own maps would be root's to write.
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// One user and one group, and no way to others.
fn mapped(processes: &impl std::os::fd::AsFd) -> io::Result<()> {
    let map = format!("{INSIDE} {OUTSIDE} 1");
    for (file, text) in [("self/setgroups", "deny"), ("self/uid_map", map.as_str()), ("self/gid_map", map.as_str())] {
        let file = openat(processes, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(file).write_all(text.as_bytes())?;
    }
    Ok(())
}
