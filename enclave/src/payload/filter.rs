//! The system calls that the payload may make. The kernel knows no others for it: they answer `ENOSYS`.
//!
//! A network program needs these. Left out are all that make or enter namespaces, mount, trace, load, change identity, set the clock, take part
//! in the kernel's own programs (BPF, io_uring, perf, keys), or reach another process's memory.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Allowed whatever their arguments.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // Memory, threads, time.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_madvise,
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_set_tid_address, libc::SYS_arch_prctl,
    libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_gettid, libc::SYS_getpid, libc::SYS_getppid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getpgrp, libc::SYS_getpgid,
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep, libc::SYS_gettimeofday,
    libc::SYS_time, libc::SYS_getrandom, libc::SYS_uname, libc::SYS_sysinfo, libc::SYS_getcpu, libc::SYS_getrusage,
    libc::SYS_getrlimit, libc::SYS_restart_syscall,
    // Signals, processes of its own.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack,
    libc::SYS_kill, libc::SYS_tgkill, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_execve, libc::SYS_exit, libc::SYS_exit_group,
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_setpgid, libc::SYS_setsid, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal,
    // Descriptors.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup2, libc::SYS_dup3, libc::SYS_pipe, libc::SYS_pipe2,
    libc::SYS_fcntl, libc::SYS_lseek, libc::SYS_poll, libc::SYS_ppoll, libc::SYS_select, libc::SYS_pselect6,
    libc::SYS_epoll_create, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_wait, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime, libc::SYS_signalfd4,
    libc::SYS_sendfile, libc::SYS_splice, libc::SYS_copy_file_range,
    // Files of its own root.
    libc::SYS_open, libc::SYS_openat, libc::SYS_stat, libc::SYS_fstat, libc::SYS_lstat, libc::SYS_newfstatat, libc::SYS_statx,
    libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_access, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_readlink,
    libc::SYS_readlinkat, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_mkdir, libc::SYS_mkdirat, libc::SYS_rmdir,
    libc::SYS_unlink, libc::SYS_unlinkat, libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_link,
    libc::SYS_linkat, libc::SYS_symlink, libc::SYS_symlinkat, libc::SYS_getdents64, libc::SYS_ftruncate, libc::SYS_fallocate,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_flock, libc::SYS_umask, libc::SYS_chmod, libc::SYS_fchmod,
    libc::SYS_fchmodat, libc::SYS_utimensat, libc::SYS_fadvise64,
    // Sockets, of the families below.
    libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_getsockname,
    libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto, libc::SYS_recvfrom,
    libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown,
];

/// Address families: the network, the enclave, its own processes.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_VSOCK];
/// Whether a descriptor blocks or survives `execve`, what waits in it, whether it is a terminal.
const CONTROLS: [u64; 5] = [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::FIONCLEX, libc::TCGETS];
/// New namespaces of any kind.
const NAMESPACES: i32 = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// The filter, compiled.
pub(super) fn compile() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(
            call,
            FAMILIES.iter().map(|family| equal(0, family.unsigned_abs().into())).collect::<Result<_, _>>()?,
        );
    }
    rules.insert(libc::SYS_ioctl, CONTROLS.iter().map(|control| equal(1, *control)).collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_prctl, vec![equal(0, libc::PR_SET_NAME.unsigned_abs().into())?]);
    // `clone3` keeps its flags where no filter sees them, and is left out; the C library then comes here.
    let none = SeccompCmpOp::MaskedEq(NAMESPACES.unsigned_abs().into());
    rules.insert(libc::SYS_clone, vec![rule(SeccompCondition::new(0, SeccompCmpArgLen::Qword, none, 0)?)?]);
    // Its own limits alone (process 0).
    rules.insert(libc::SYS_prlimit64, vec![equal(0, 0)?]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, unknown, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    rule(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?)
}

fn rule(condition: SeccompCondition) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, compile};

    #[test]
    fn it_compiles_within_the_kernels_bounds() {
        let program = compile().unwrap();
        assert!(program.len() < 4096, "{}", program.len());
    }

    #[test]
    #[rustfmt::skip]
    fn what_a_payload_must_never_do_is_not_in_the_list() {
        for call in [
            libc::SYS_ptrace, libc::SYS_bpf, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_mount,
            libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns, libc::SYS_clone3,
            libc::SYS_io_uring_setup, libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_perf_event_open,
            libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd, libc::SYS_init_module,
            libc::SYS_finit_module, libc::SYS_reboot, libc::SYS_swapon, libc::SYS_mknod, libc::SYS_mknodat, libc::SYS_setuid,
            libc::SYS_setresuid, libc::SYS_capset, libc::SYS_userfaultfd, libc::SYS_move_mount, libc::SYS_fsopen,
            libc::SYS_open_tree, libc::SYS_open_by_handle_at, libc::SYS_execveat, libc::SYS_iopl, libc::SYS_ioperm,
        ] {
            assert!(!ALLOWED.contains(&call), "system call {call}");
        }
    }
}
