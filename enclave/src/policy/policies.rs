//! The policies of a bundle: parsed, named, validated.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use wire::{BootRefusal, RefusalCode};

use super::advice::{self, Decision};
use super::bundle::{Bundle, document_of};
use super::{diagnose, nesting};
use crate::document::refusal;
use crate::inspect::Fields;

/// The annotation that names a policy.
pub(super) const ID: &str = "id";

/// Longest policy id in bytes.
const LONGEST_ID: usize = 128;

/// The policies of a bundle in the order of files and of policies in them.
pub(super) struct Policies<'a> {
    named: Vec<Named<'a>>,
    set: PolicySet,
}

/// A policy and where it is from.
pub(super) struct Named<'a> {
    /// `@id`, or the file and the policy's number in it, from 1.
    pub(super) id: String,
    pub(super) path: &'a str,
    text: &'a str,
    pub(super) policy: cedar_policy::Policy,
    /// Its annotations for the agent.
    pub(super) advice: Vec<(String, String)>,
    /// Fields that answers go out without when it permits.
    pub(super) redact: Option<Arc<Fields>>,
    /// What it says when it forbids.
    pub(super) refusal: Decision,
}

/// Parses every file.
pub(super) fn parse(bundle: &Bundle) -> Result<Policies<'_>, BootRefusal> {
    let mut named: Vec<Named<'_>> = Vec::new();
    let mut set = PolicySet::new();
    for (path, text) in &bundle.policies {
        for policy in parse_file(path, text)? {
            set.add(policy.policy.clone()).map_err(|_| duplicate(&named, &policy))?;
            named.push(policy);
        }
    }
    Ok(Policies { named, set })
}

fn parse_file<'a>(path: &'a str, text: &'a str) -> Result<Vec<Named<'a>>, BootRefusal> {
    nesting::check(path, text)?;
    let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let first = errors.iter().next().map(DetailedError::from);
        let error = first.unwrap_or_else(|| DetailedError::from(&errors));
        diagnose::refused(path, text, "", &error, "Cedar policies")
    })?;
    if let Some(template) = set.templates().next() {
        let found = format!("a template with slots: {}", first_line(&template.to_string()));
        let expected = "policies without ?principal and ?resource: nothing links templates here";
        return Err(refusal(RefusalCode::Unsupported, &document_of(path), "", &found, expected));
    }
    // Cedar numbers the policies of a text `policy0`, `policy1` and so on.
    let mut policies: BTreeMap<usize, _> = BTreeMap::new();
    for policy in set.policies() {
        let number = policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX);
        policies.insert(number, policy);
    }
    policies
        .into_values()
        .enumerate()
        .map(|(index, policy)| name(path, text, index.saturating_add(1), policy))
        .collect()
}

fn name<'a>(
    path: &'a str,
    text: &'a str,
    number: usize,
    policy: &cedar_policy::Policy,
) -> Result<Named<'a>, BootRefusal> {
    let id = policy.annotation(ID).map_or_else(|| format!("{path}:{number}"), str::to_owned);
    if !(1..=LONGEST_ID).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let expected = format!("an @id of 1 to {LONGEST_ID} printable ASCII characters without spaces");
        let field = format!("policy {number}, @id");
        return Err(refusal(RefusalCode::InvalidValue, &document_of(path), &field, &format!("{id:?}"), &expected));
    }
    let policy = policy.new_id(PolicyId::new(&id));
    let refusal = advice::refusal_of(&policy, &id, path)?;
    let redact = advice::redaction_of(&policy, &id, path)?.map(Arc::new);
    Ok(Named { redact, advice: advice::of(&policy), id, path, text, policy, refusal })
}

fn duplicate(earlier: &[Named<'_>], policy: &Named<'_>) -> BootRefusal {
    let first = earlier.iter().find(|other| other.id == policy.id).map_or("", |other| other.path);
    let expected = format!("an @id of its own; {first} has this one already");
    refusal(RefusalCode::Duplicate, &document_of(policy.path), "@id", &policy.id, &expected)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl Policies<'_> {
    /// Validates in strict mode; answers Cedar's warnings.
    pub(super) fn validate(&self, schema: &Schema) -> Result<Vec<String>, BootRefusal> {
        let result = Validator::new(schema.clone()).validate(&self.set, ValidationMode::Strict);
        let place = |id: &PolicyId| self.named.iter().position(|named| named.policy.id() == id);
        if let Some(error) = result.validation_errors().min_by_key(|error| place(error.policy_id())) {
            let named = place(error.policy_id()).and_then(|index| self.named.get(index));
            let (path, text, id) =
                named.map_or(("*.cedar", "", ""), |named| (named.path, named.text, named.id.as_str()));
            let fallback = "a policy that fits the schema in Cedar's strict mode";
            return Err(diagnose::refused(path, text, id, &DetailedError::from(error), fallback));
        }
        let mut warnings: Vec<_> =
            result.validation_warnings().map(|warning| (place(warning.policy_id()), warning.to_string())).collect();
        warnings.sort();
        Ok(warnings.into_iter().map(|(_, warning)| warning).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Named<'_>> {
        self.named.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    pub(super) fn any_permit(&self) -> bool {
        self.named.iter().any(|named| named.policy.effect() == Effect::Permit)
    }

    #[cfg(test)]
    pub(super) fn set(&self) -> &PolicySet {
        &self.set
    }
}
