//! What stands against a call besides the policy.

use claim::json::Json;

use super::OpenCall;
use crate::config::Severity;
use crate::error::Code;
use crate::mcp::about::About;
use crate::policy::Decision;
use crate::upstream::Fault;

impl OpenCall {
    /// The tool's place in the catalog, if the call is of one.
    pub(in crate::mcp) fn tool(&self) -> Option<usize> {
        match self.about {
            About::Tool(index) => Some(index),
            About::Unknown | About::Other { .. } => None,
        }
    }

    /// The tool as the host knows it.
    pub(in crate::mcp) fn number(&self) -> u32 {
        self.about.number()
    }

    /// Whether the call would go on if it were decided now, whatever else stands against it.
    pub(in crate::mcp) fn would_go(&mut self, about: &About, arguments: &Json) -> bool {
        self.about = about.clone();
        !self.enforces() || self.verdict(about, Some(arguments)).is_some_and(|found| found.decision == Decision::Allow)
    }

    /// The call waited before it was decided: others may have gone on meanwhile, and labels been cleared, though not those that its
    /// arguments bring.
    pub(in crate::mcp) fn has_waited(&mut self) {
        (self.before, self.resets) = (self.session.labels(), self.session.resets());
        self.session.join(self.brings);
    }

    /// Something besides the policy stands against the call. As a warning it is only noted.
    pub(in crate::mcp) fn object(&mut self, code: Code, reason: String, severity: Severity) {
        match severity {
            Severity::FailClosed => self.objection = Some((code, reason)),
            Severity::WarnOnly => {
                self.note("warning", Json::from(code.name()));
                self.note("reason", Json::from(reason));
            }
        }
    }

    /// Makes an objection the reason of a denial.
    pub(super) fn accept_objection(&mut self) -> bool {
        let Some((code, reason)) = self.objection.take() else { return false };
        self.denial = code;
        code.name().clone_into(&mut self.rule);
        self.note("error_code", Json::from(code.name()));
        self.note("reason", Json::from(reason));
        true
    }

    /// An objection to a call that was decided already.
    ///
    /// # Errors
    /// The objection, if the call must not go on.
    pub(in crate::mcp) fn overrule(&mut self) -> Result<(), Fault> {
        if !self.accept_objection() {
            return Ok(());
        }
        self.would_have_denied = true;
        if self.enforces() {
            return Err(Fault { code: self.denial, detail: String::new(), sent: false });
        }
        Ok(())
    }
}
