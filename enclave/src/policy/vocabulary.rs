//! What the gateway can tell Cedar (`policies/README.md`, vocabulary).
//!
//! A schema picks from these names; each has one type. Whatever has no value for a call is the empty string or set, never
//! missing, so that a policy cannot fail on it.

use cedar_policy_core::ast::Value;
use cedar_policy_core::validator::types::{BoolType, Type};

use super::Question;
use super::object::Facts;
use crate::labels::{Domain, Domains, Label, Labels};

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    String,
    /// A 64-bit integer.
    Long,
    /// A truth value.
    Bool,
    /// A set of texts.
    StringSet,
}

impl Kind {
    /// The name in Cedar schemas.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Long => "Long",
            Self::Bool => "Bool",
            Self::StringSet => "Set<String>",
        }
    }

    /// Whether a schema's type is this one.
    pub(super) fn is(self, declared: &Type) -> bool {
        match (self, declared) {
            (Self::String, Type::String) | (Self::Long, Type::Long) | (Self::Bool, Type::Bool(BoolType::AnyBool)) => {
                true
            }
            (Self::StringSet, Type::Set { element_type: Some(element) }) => **element == Type::String,
            _ => false,
        }
    }
}

/// A closed list of names with their types.
pub(super) trait Attribute: Copy + PartialEq + 'static {
    /// What the attributes belong to: `principal`, `resource` or `context`.
    const OWNER: &'static str;
    /// The list.
    const ALL: &'static [(Self, &'static str, Kind)];

    /// The name in schemas.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(attribute, ..)| *attribute == self).map_or("", |(_, name, _)| name)
    }
}

/// What is known of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrincipalAttribute {
    SessionId,
    WorkflowId,
    Subject,
    Issuer,
    Groups,
}

impl Attribute for PrincipalAttribute {
    const OWNER: &'static str = "principal";
    const ALL: &'static [(Self, &'static str, Kind)] = &[
        (Self::SessionId, "session_id", Kind::String),
        (Self::WorkflowId, "workflow_id", Kind::String),
        (Self::Subject, "subject", Kind::String),
        (Self::Issuer, "issuer", Kind::String),
        (Self::Groups, "groups", Kind::StringSet),
    ];
}

impl PrincipalAttribute {
    /// The value for a call.
    pub(super) fn value(self, question: &Question<'_>) -> Value {
        match self {
            Self::SessionId => string(question.session_id),
            Self::WorkflowId => string(question.workflow_id),
            Self::Subject => string(question.subject.unwrap_or_default()),
            Self::Issuer => string(question.issuer.unwrap_or_default()),
            Self::Groups => string_set(question.groups.iter().map(String::as_str)),
        }
    }
}

/// What is known of a tool, or of anything else that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceAttribute {
    Kind,
    Name,
    ToolName,
    Server,
    ComplianceDomain,
    SensitivityLevel,
    Transport,
    EvidenceClass,
}

impl Attribute for ResourceAttribute {
    const OWNER: &'static str = "resource";
    const ALL: &'static [(Self, &'static str, Kind)] = &[
        (Self::Kind, "kind", Kind::String),
        (Self::Name, "name", Kind::String),
        (Self::ToolName, "tool_name", Kind::String),
        (Self::Server, "server", Kind::String),
        (Self::ComplianceDomain, "compliance_domain", Kind::String),
        (Self::SensitivityLevel, "sensitivity_level", Kind::String),
        (Self::Transport, "transport", Kind::String),
        (Self::EvidenceClass, "evidence_class", Kind::String),
    ];
}

impl ResourceAttribute {
    /// The value for an object.
    pub(super) fn value(self, facts: &Facts<'_>) -> Value {
        string(match self {
            Self::Kind => facts.kind,
            Self::Name => facts.id,
            Self::ToolName => facts.tool_name,
            Self::Server => &facts.server.display_name,
            Self::ComplianceDomain => facts.compliance_domain,
            Self::SensitivityLevel => facts.sensitivity.as_str(),
            Self::Transport => facts.server.transport.as_str(),
            Self::EvidenceClass => facts.server.evidence_class(),
        })
    }
}

/// What is known of a session and a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContextAttribute {
    SessionMaxSensitivity,
    SessionLabels,
    SensitivityLevelInt,
    WorkflowId,
    CallCount,
    DomainsTouched,
    Egress,
    AttestationPlatform,
    Time,
}

impl Attribute for ContextAttribute {
    const OWNER: &'static str = "context";
    const ALL: &'static [(Self, &'static str, Kind)] = &[
        (Self::SessionMaxSensitivity, "session_max_sensitivity", Kind::String),
        (Self::SessionLabels, "session_labels", Kind::StringSet),
        (Self::SensitivityLevelInt, "sensitivity_level_int", Kind::Long),
        (Self::WorkflowId, "workflow_id", Kind::String),
        (Self::CallCount, "call_count", Kind::Long),
        (Self::DomainsTouched, "domains_touched", Kind::StringSet),
        (Self::Egress, "egress", Kind::Bool),
        (Self::AttestationPlatform, "attestation_platform", Kind::String),
        (Self::Time, "time", Kind::Long),
    ];
}

impl ContextAttribute {
    /// The value for a call, asked with `top` as the session's highest label.
    pub(super) fn value(self, question: &Question<'_>, top: Label, sets: &Sets) -> Value {
        match self {
            Self::SessionMaxSensitivity => string(top.as_str()),
            Self::SessionLabels => sets.labels(question.labels),
            Self::SensitivityLevelInt => Value::from(i64::from(top.rank())),
            Self::WorkflowId => string(question.workflow_id),
            Self::CallCount => Value::from(i64::try_from(question.call_count).unwrap_or(i64::MAX)),
            Self::DomainsTouched => sets.domains(question.domains_touched),
            Self::Egress => Value::from(question.egress),
            Self::AttestationPlatform => string(question.attestation_platform),
            Self::Time => Value::from(question.now),
        }
    }
}

/// Every set of labels and of domains as a value: there are few of them, and building one per call is not cheap.
pub(super) struct Sets {
    labels: Vec<Value>,
    domains: Vec<Value>,
}

impl Sets {
    pub(super) fn new() -> Self {
        let label_sets = (0..1_u8 << Label::ALL.len()).map(Labels::from_bits);
        let domain_sets = (0..1_u8 << Domain::ALL.len()).map(Domains::from_bits);
        Self {
            labels: label_sets.map(|set| string_set(set.iter().map(Label::as_str))).collect(),
            domains: domain_sets.map(|set| string_set(set.iter().map(Domain::as_str))).collect(),
        }
    }

    fn labels(&self, set: Labels) -> Value {
        self.labels.get(usize::from(set.bits())).cloned().unwrap_or_else(|| Value::empty_set(None))
    }

    fn domains(&self, set: Domains) -> Value {
        self.domains.get(usize::from(set.bits())).cloned().unwrap_or_else(|| Value::empty_set(None))
    }
}

fn string(text: &str) -> Value {
    Value::from(text)
}

fn string_set<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    Value::set(texts.map(string), None)
}
