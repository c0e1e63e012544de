//! Whether what vouches for the gateway counts.

use super::OpenCall;
use crate::freshness::{self, Unvouched};
use crate::mcp::about::About;
use crate::mcp::call::Refusal;

impl OpenCall {
    /// On hardware: a call goes on only in a session that has evidence, and while the boot's counts. `about` is for the entry of a call
    /// that does not.
    ///
    /// # Errors
    /// [`crate::error::Code::AttestationFailed`], [`crate::error::Code::AttestationStale`], on record.
    pub(in crate::mcp) async fn vouched(&mut self, about: impl FnOnce() -> About) -> Result<(), Refusal> {
        if freshness::is_vouched(&self.gateway, &self.session) {
            return Ok(());
        }
        let vouched = Box::pin(freshness::vouch(&self.gateway, &self.session)).await;
        let Err(Unvouched { code, reason }) = vouched else { return Ok(()) };
        self.about = about();
        Err(self.fault(code, &reason).await)
    }
}
