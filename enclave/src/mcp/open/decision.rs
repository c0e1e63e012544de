//! What the policy says of a call, and what follows from it.

use claim::json::Json;
use wire::Enforcement;

use super::{Denied, OpenCall};
use crate::error::Code;
use crate::identity::Credential;
use crate::mcp::about::About;
use crate::policy::{Decision, Object, Question, Verdict};

impl OpenCall {
    /// Asks the policy, about a tool call with its arguments, and, if the call goes on, joins its labels in the same step: of two
    /// first calls at once, only one sees `public`.
    ///
    /// # Errors
    /// Why, if the call must not go on.
    pub(in crate::mcp) fn decide(&mut self, about: About, arguments: Option<&Json>) -> Result<(), Denied> {
        self.about = about;
        self.check_controls()?;
        let mut decision = self.ask_policy(arguments);
        let allowed = decision == Decision::Allow;
        if self.report.as_deref_mut().is_some_and(|report| report.refuses_arguments(allowed)) {
            decision = Decision::Deny;
            Code::ArgumentsRefused.name().clone_into(&mut self.rule);
        } else if decision == Decision::Allow && self.accept_objection() {
            decision = Decision::Deny;
        }
        if decision == Decision::Allow || self.mode() != Enforcement::Enforcing {
            self.bring(self.about.labels(&self.gateway.catalog));
        }
        self.would_have_denied = decision != Decision::Allow;
        if self.would_have_denied {
            self.log_denied(self.mode() == Enforcement::Advisory);
        }
        if self.would_have_denied && self.mode() == Enforcement::Enforcing {
            self.decision = Some(decision);
            return Err(Denied::Decided(decision));
        }
        Ok(())
    }

    fn ask_policy(&mut self, arguments: Option<&Json>) -> Decision {
        let Some(verdict) = self.verdict(&self.about, arguments) else { return Decision::Deny };
        self.rule = verdict.determining.join(",");
        self.advice = verdict.advice;
        self.redact = verdict.redact;
        if let Some(misfit) = verdict.misfit {
            self.note("error_code", Json::from(Code::PolicyDeny.name()));
            self.note("reason", Json::String(misfit.to_string()));
        }
        verdict.decision
    }

    pub(super) fn verdict(&self, about: &About, arguments: Option<&Json>) -> Option<Verdict> {
        let (gateway, Credential { identity, groups, .. }) = (&self.gateway, &*self.credential);
        let labels = self.session.labels();
        let state = self.session.state.borrow();
        let object = match about {
            About::Unknown => return None,
            About::Tool(index) => Object::Tool(gateway.catalog.tools().get(*index)?),
            About::Other { action, kind, server, id, .. } => {
                Object::Other { action: *action, kind: *kind, server: gateway.catalog.servers().get(*server)?, id }
            }
        };
        Some(self.session.policy.decide(&Question {
            object,
            arguments,
            session_id: &self.session.id,
            workflow_id: &self.workflow_id,
            subject: identity.subject(),
            issuer: identity.issuer(),
            groups,
            labels,
            call_count: state.summary.total,
            domains_touched: state.summary.domains,
            egress: false,
            attestation_platform: gateway.boot.attestor.about().platform.as_str(),
            now: gateway.clock.now().seconds(),
        }))
    }

    /// What the policy says of something else in this call's session, now.
    pub(in crate::mcp) fn would_decide(&self, about: &About) -> Decision {
        self.verdict(about, None).map_or(Decision::Deny, |verdict| verdict.decision)
    }
}
