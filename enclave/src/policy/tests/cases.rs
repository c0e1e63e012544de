//! `policies/*/cases/*.json`: what a bundle decides, as its author means it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wire::{Blob, PolicyFile};

use crate::catalog::Catalog;
use crate::labels::{Domain, Domains, Label, Labels};
use crate::policy::{Object, Policy, Question};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    request: Request,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    tool: String,
    #[serde(default)]
    session_id: String,
    #[serde(default)]
    workflow_id: String,
    subject: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    call_count: u64,
    #[serde(default)]
    domains_touched: Vec<String>,
    #[serde(default)]
    egress: bool,
    #[serde(default = "software_only")]
    attestation_platform: String,
    #[serde(default)]
    time: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    decision: Decision,
    policies: Option<Vec<String>>,
    advice: Option<Vec<(String, String)>>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
}

fn software_only() -> String {
    "software-only".to_owned()
}

fn files(folder: &Path, under: &Path, found: &mut Vec<PolicyFile>) {
    for path in fs::read_dir(under).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(folder, &path, found);
        } else {
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(PolicyFile { path: name.as_str().into(), bytes: Blob(fs::read(&path).unwrap()) });
        }
    }
}

fn run(policy: &Policy, catalog: &Catalog, case: &Case) {
    let request = &case.request;
    let verdict = policy.decide(&Question {
        object: Object::Tool(
            catalog.tool(&request.tool).unwrap_or_else(|| panic!("{}: no tool {}", case.name, request.tool)),
        ),
        arguments: None,
        session_id: &request.session_id,
        workflow_id: &request.workflow_id,
        subject: request.subject.as_deref(),
        issuer: request.issuer.as_deref(),
        groups: &request.groups,
        labels: request.labels.iter().map(|name| Label::parse(name).unwrap()).collect::<Labels>(),
        call_count: request.call_count,
        domains_touched: request
            .domains_touched
            .iter()
            .fold(Domains::NONE, |set, name| set.with(Domain::parse(name).unwrap())),
        egress: request.egress,
        attestation_platform: &request.attestation_platform,
        now: request.time,
    });
    let decision = if verdict.allowed() { Decision::Allow } else { Decision::Deny };
    assert_eq!(decision, case.expect.decision, "{}: {verdict:?}", case.name);
    if let Some(policies) = &case.expect.policies {
        let determining: Vec<_> = verdict.determining.iter().map(ToString::to_string).collect();
        assert_eq!(&determining, policies, "{}", case.name);
    }
    if let Some(advice) = &case.expect.advice {
        assert_eq!(&verdict.advice, advice, "{}", case.name);
    }
}

#[test]
fn every_case_of_every_bundle_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut run_cases = 0;
    for example in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let catalog = Catalog::parse(&fs::read(example.join("catalog.json")).unwrap()).unwrap();
        let folder = example.join("policies");
        let mut bundle = Vec::new();
        files(&folder, &folder, &mut bundle);
        let policy = Policy::load(&bundle, &catalog).unwrap_or_else(|refused| panic!("{example:?}: {refused:?}"));
        let cases: Vec<PathBuf> =
            fs::read_dir(example.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
        for case in cases.iter().flat_map(|path| serde_json::from_slice::<Vec<Case>>(&fs::read(path).unwrap()).unwrap())
        {
            run(&policy, &catalog, &case);
            run_cases += 1;
        }
    }
    assert!(run_cases >= 5, "only {run_cases} cases");
}
