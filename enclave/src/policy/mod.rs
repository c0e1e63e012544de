//! Decisions: the policy bundle, read once, asked for every request that reaches a tool server or comes from one.
//!
//! A bundle is Cedar policies, their schema and a manifest (`policies/README.md`). The schema decides what a request carries:
//! [`schema`] maps it to the documented [`vocabulary`] and refuses what the gateway could not supply. Everything that does
//! not depend on the call is computed at load, so that a decision parses and validates nothing.
//!
//! Every error is a deny: a policy that fails to evaluate, a tool of another catalog, an action that the schema does not
//! declare, a bundle without a permit.

mod action;
mod advice;
#[cfg(feature = "software")]
mod ask;
mod bundle;
mod definition;
mod diagnose;
#[cfg(feature = "software")]
mod generate;
mod input;
mod manifest;
mod nesting;
mod object;
mod policies;
mod request;
mod rules;
mod schema;
mod vocabulary;
mod warnings;

use std::sync::Arc;

use cedar_policy_core::ast::Value;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use claim::Digest;
use claim::json::Json;
use claim::time::Timestamp;
use wire::{BootRefusal, PolicyFile};

use crate::catalog::{Catalog, Tool};
use crate::identity::ANONYMOUS;
use crate::inspect::{Fields, Inspection};
use crate::labels::{Domains, Labels};
use bundle::{Bundle, MANIFEST, document_of};
use request::Requests;
#[cfg(feature = "software")]
use rules::Explained;
use rules::{Answer, Rules};
use schema::Shapes;

pub use action::Action;
pub use advice::Decision;
#[cfg(feature = "software")]
pub use ask::ask;
pub use bundle::Provenance;
#[cfg(feature = "software")]
pub use generate::schema as schema_of;
pub use input::Misfit;
pub use object::{Object, ObjectKind};

/// A loaded policy bundle, for the tools of one catalog.
pub struct Policy {
    bundle_hash: Digest,
    version: String,
    signed_by: Option<Digest>,
    authored_at: Timestamp,
    policies: usize,
    warnings: Vec<String>,
    tools: Vec<String>,
    requests: Requests,
    rules: Rules,
    inspection: Option<Inspection>,
}

/// One request to decide on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is to be done with what.
    pub object: Object<'a>,
    /// The arguments of a tool call, parsed strictly.
    pub arguments: Option<&'a Json>,
    /// The agent's session.
    pub session_id: &'a str,
    /// The workflow that the agent says it runs, or empty.
    pub workflow_id: &'a str,
    /// The authenticated subject; `anonymous` without one.
    pub subject: Option<&'a str>,
    /// Who vouches for the subject.
    pub issuer: Option<&'a str>,
    /// The subject's groups.
    pub groups: &'a [String],
    /// What the session holds before this request.
    pub labels: Labels,
    /// Calls of this session before this request.
    pub call_count: u64,
    /// Domains of this session's calls that ran before this request.
    pub domains_touched: Domains,
    /// Whether an answer is judged (true) or a call (false).
    pub egress: bool,
    /// The evidence platform, as claims name it.
    pub attestation_platform: &'a str,
    /// Seconds since the Unix epoch.
    pub now: i64,
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it comes to.
    pub decision: Decision,
    /// The deciding policies, in the bundle's order: the permits of an allow, the forbids of a deny, the failed policies of
    /// an error. Empty if nothing permits the request.
    pub determining: Vec<Arc<str>>,
    /// Annotations of the deciding policies, except `id` and `decision`.
    pub advice: Vec<(String, String)>,
    /// Fields that the answer goes out without, by `@redact` of the permits that decide.
    pub redact: Vec<Arc<Fields>>,
    /// Whether a policy failed to evaluate, or nothing could be asked; always a deny.
    pub failed: bool,
    /// How many times Cedar was asked: once for each label that shares the session's highest rank, if the schema has
    /// `session_max_sensitivity`.
    pub asked: usize,
    /// Why the arguments are not what the schema declares, if that is why the call is denied. Names nothing that the schema
    /// does not name.
    pub misfit: Option<Misfit>,
}

impl Policy {
    /// Reads, validates and compiles a bundle.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, position or field, what was found and what was expected.
    pub fn load(files: &[PolicyFile], catalog: &Catalog) -> Result<Self, BootRefusal> {
        Self::load_admitted(files, catalog, |_| Ok(None))
    }

    /// As [`Policy::load`]; before any policy is read, `admit` judges where the bundle is from, and names the key that signed it.
    ///
    /// # Errors
    /// As [`Policy::load`], or what `admit` says.
    pub fn load_admitted(
        files: &[PolicyFile],
        catalog: &Catalog,
        admit: impl FnOnce(&Provenance<'_>) -> Result<Option<Digest>, BootRefusal>,
    ) -> Result<Self, BootRefusal> {
        let bundle = Bundle::read(files)?;
        let signed_by = admit(&bundle.provenance())?;
        let policy = nesting::on_deep_stack(|| Self::read(&bundle, catalog))?;
        let mut policy = Self { signed_by, ..policy };
        if bundle.manifest.signature.is_some() && signed_by.is_none() {
            let unchecked = "manifest.json: signature is not checked: the configuration has no operator.public_key";
            policy.warnings.push(unchecked.to_owned());
        }
        Ok(policy)
    }

    fn read(bundle: &Bundle, catalog: &Catalog) -> Result<Self, BootRefusal> {
        let (schema, mut warnings) = schema::parse(&bundle.schema)?;
        let policies = policies::parse(bundle)?;
        warnings.extend(policies.validate(&schema)?);
        let shapes = Shapes::of(&schema, catalog)?;
        warnings.extend(bundle.warnings.iter().cloned());
        warnings.extend(warnings::of(&policies, &shapes, &schema, catalog));
        let inspect = |settings| Inspection::load(settings, catalog, &document_of(MANIFEST));
        Ok(Self {
            inspection: bundle.manifest.inspection.as_ref().map(inspect).transpose()?,
            bundle_hash: bundle.hash,
            version: bundle.manifest.version.clone(),
            signed_by: None,
            authored_at: bundle.manifest.authored,
            policies: policies.len(),
            warnings,
            tools: catalog.tools().iter().map(|tool| tool.name.clone()).collect(),
            rules: Rules::compile(&policies, &shapes, catalog),
            requests: Requests::prepare(&shapes, catalog)?,
        })
    }

    /// Decides on one request.
    pub fn decide(&self, question: &Question<'_>) -> Verdict {
        if !self.knows(&question.object) {
            return Answer::default().into_verdict(&self.rules);
        }
        if !self.requests.answers(&question.object) {
            return Verdict::undeclared();
        }
        match self.requests.input(question) {
            Ok(input) => self.answer(question, input.as_ref()).unwrap_or_default().into_verdict(&self.rules),
            Err(misfit) => Verdict { failed: true, misfit: Some(misfit), ..Verdict::undeclared() },
        }
    }

    fn answer(&self, question: &Question<'_>, input: Option<&(&'static str, Value)>) -> Option<Answer> {
        let entities = self.requests.entities(question, self.rules.read_principal(question))?;
        let mut answer = Answer::default();
        for top in self.requests.tops(question) {
            let request = self.requests.request(question, top, input)?;
            let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
            answer = answer.and(self.rules.ask(question, &evaluator));
        }
        Some(answer)
    }

    /// What each rule says whose scope admits the request, in the bundle's order. Where the schema has several labels asked, one
    /// that is satisfied for any counts as satisfied.
    #[cfg(feature = "software")]
    fn explain(&self, question: &Question<'_>) -> Vec<Explained<'_>> {
        let Some(entities) = self.requests.entities(question, true).filter(|_| self.knows(&question.object)) else {
            return Vec::new();
        };
        let Ok(input) = self.requests.input(question) else { return Vec::new() };
        let requests = self.requests.tops(question);
        let requests: Vec<_> =
            requests.filter_map(|top| self.requests.request(question, top, input.as_ref())).collect();
        let evaluators =
            requests.into_iter().map(|request| Evaluator::new(request, &entities, Extensions::all_available()));
        self.rules.explain(question, &evaluators.collect::<Vec<_>>())
    }

    fn knows(&self, object: &Object<'_>) -> bool {
        match object {
            Object::Tool(tool) => self.tools.get(tool.index) == Some(&tool.name),
            Object::Other { .. } => true,
        }
    }

    /// Whether the schema declares an action; what it does not declare is denied.
    pub fn declares(&self, action: Action) -> bool {
        self.requests.declare(action)
    }

    /// Whether any request of this action could be allowed, whoever asks and whatever it is on: false if the schema does not
    /// declare it, if no policy permits it, or if one forbids it without a condition. For tools see [`Self::may_allow`].
    pub fn may_allow_action(&self, action: Action) -> bool {
        match action {
            Action::CallTool => (0..self.tools.len()).any(|tool| self.rules.may_allow(tool)),
            action => self.rules.may_allow_action(action),
        }
    }

    /// Whether any call of this tool could be allowed, whoever calls it: false only if no policy permits it, or if one
    /// forbids it without a condition.
    pub fn may_allow(&self, tool: &Tool) -> bool {
        self.tools.get(tool.index) == Some(&tool.name) && self.rules.may_allow(tool.index)
    }

    /// What the bundle has inspected besides.
    pub const fn inspection(&self) -> Option<&Inspection> {
        self.inspection.as_ref()
    }

    /// SHA-256 of the bundle.
    pub const fn bundle_hash(&self) -> Digest {
        self.bundle_hash
    }

    /// The bundle's version, from its manifest: printable ASCII.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The id of the key that signed the bundle, if a signature was asked for.
    pub const fn signed_by(&self) -> Option<Digest> {
        self.signed_by
    }

    /// When the bundle was written, by its manifest.
    pub const fn authored_at(&self) -> Timestamp {
        self.authored_at
    }

    /// Number of policies.
    pub const fn policies(&self) -> usize {
        self.policies
    }

    /// What the author should reconsider.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Verdict {
    /// Whether the request may go out.
    pub fn allowed(&self) -> bool {
        self.decision == Decision::Allow
    }

    /// What the schema does not speak of is denied.
    fn undeclared() -> Self {
        Self {
            decision: Decision::Deny,
            determining: Vec::new(),
            advice: Vec::new(),
            redact: Vec::new(),
            failed: false,
            asked: 0,
            misfit: None,
        }
    }
}

/// The principal's id in Cedar.
fn principal_id<'a>(question: &Question<'a>) -> &'a str {
    question.subject.unwrap_or(ANONYMOUS)
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Policy")
            .field("bundle_hash", &self.bundle_hash)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
