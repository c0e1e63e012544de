//! A process and what it started.

use std::process::ExitStatus;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::limits;

/// The group that a process leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

impl Group {
    pub(super) fn of(leader: &Child) -> Option<Self> {
        Pid::from_raw(i32::try_from(leader.id()?).ok()?).map(Self)
    }

    pub(super) fn id(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Waits until the leader has ended. It is not reaped: its id, which is the group's, stays its own.
    pub(super) async fn ended(self) {
        let Ok(mut children) = signal(SignalKind::child()) else { return std::future::pending().await };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while let Ok(None) = waitid(WaitId::Pid(self.0), look) {
            children.recv().await;
        }
    }

    /// Ends the group as MCP has it: its input is closed already, so it has a moment, then SIGTERM and another one, then
    /// SIGKILL, which whatever the leader left behind gets too.
    pub(super) async fn end(self, leader: &mut Child) -> Option<ExitStatus> {
        if timeout(limits::PROCESS_GRACE, self.ended()).await.is_err() {
            let _ = kill_process_group(self.0, Signal::TERM);
            let _ = timeout(limits::PROCESS_GRACE, self.ended()).await;
        }
        let _ = kill_process_group(self.0, Signal::KILL);
        leader.wait().await.ok()
    }
}
