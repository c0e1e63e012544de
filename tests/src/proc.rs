//! Processes: what they cost, and ending them.

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not zero");
    let _ = kill_process(pid, signal);
}

/// The direct children of a process whose command has this name.
pub fn children(parent: u32, command: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            stat(*pid).is_some_and(|stat| stat.command == command && stat.parent == parent && stat.state != 'Z')
        })
        .collect()
}

/// Whether the process is there and not a zombie.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z')
}

/// User and system time of a process in microseconds.
pub fn cpu_us(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Memory that a process has asked for, used or not, in KiB.
pub fn data_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmData:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

struct Stat {
    command: String,
    state: char,
    parent: u32,
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        command: head.split_once('(')?.1.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}
