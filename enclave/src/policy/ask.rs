//! Requests that are written down, for `host policy test` and `host policy explain`: the same policy, without a gateway.

use claim::json::Json;
use serde::Deserialize;
use wire::{BootRefusal, Document, PolicyFile, RefusalCode};

use super::rules::Explained;
use super::{Action, Object, Policy, Question, Verdict};
use crate::catalog::{Catalog, Server};
use crate::document::{self, join, one_of, refusal};
use crate::labels::{Domain, Domains, Label, Labels};

/// A request as its author writes it (`policies/README.md`, cases). What is left out is empty.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "call_tool")]
    action: String,
    tool: Option<String>,
    server: Option<String>,
    uri: Option<String>,
    prompt: Option<String>,
    arguments: Option<Json>,
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

fn call_tool() -> String {
    Action::CallTool.as_str().to_owned()
}

fn software_only() -> String {
    "software-only".to_owned()
}

/// Asks a bundle a JSON array of requests; answers one element for each, with all rules that the scope admits if `explain`.
///
/// # Errors
/// The first thing that is wrong with the bundle, the catalog or a request.
pub fn ask(files: &[PolicyFile], catalog: &[u8], requests: &[u8], explain: bool) -> Result<Json, BootRefusal> {
    let catalog = Catalog::parse(catalog)?;
    let policy = Policy::load(files, &catalog)?;
    let tree = document::parse(requests, &Document::None)?;
    let Some(requests) = tree.as_array() else {
        return Err(invalid("", &document::text(&tree), "an array of requests"));
    };
    let answers = requests.iter().enumerate().map(|(index, request)| {
        let at = format!("[{index}]");
        let request: Request = document::read(request, &Document::None, &at)?;
        let question = request.question(&catalog, &at)?;
        let rules = if explain { policy.explain(&question) } else { Vec::new() };
        Ok(answer(&policy.decide(&question), &rules, explain))
    });
    Ok(Json::Array(answers.collect::<Result<_, BootRefusal>>()?))
}

fn answer(verdict: &Verdict, rules: &[Explained<'_>], explain: bool) -> Json {
    let texts = |texts: &mut dyn Iterator<Item = &str>| Json::Array(texts.map(Json::from).collect());
    let mut members = vec![
        ("decision", Json::from(verdict.decision.as_str())),
        ("failed", Json::Bool(verdict.failed)),
        ("policies", texts(&mut verdict.determining.iter().map(AsRef::as_ref))),
        (
            "advice",
            Json::Array(
                verdict
                    .advice
                    .iter()
                    .map(|(key, value)| texts(&mut [key.as_str(), value.as_str()].into_iter()))
                    .collect(),
            ),
        ),
    ];
    if let Some(misfit) = &verdict.misfit {
        members.push(("reason", Json::from(misfit.to_string().as_str())));
    }
    if explain {
        let rules = rules.iter().map(|rule| {
            Json::from([
                ("policy", Json::from(rule.id)),
                ("effect", Json::from(rule.effect.to_string().as_str())),
                ("outcome", Json::from(rule.outcome)),
            ])
        });
        members.push(("rules", Json::Array(rules.collect())));
    }
    Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl Request {
    fn question<'a>(&'a self, catalog: &'a Catalog, at: &str) -> Result<Question<'a>, BootRefusal> {
        let labels = self.labels.iter().map(|name| {
            let names = Label::ALL.map(Label::as_str);
            Label::parse(name).ok_or_else(|| invalid(&join(at, "labels"), name, &one_of(&names)))
        });
        let domains = self.domains_touched.iter().map(|name| {
            let names = Domain::ALL.map(Domain::as_str);
            Domain::parse(name).ok_or_else(|| invalid(&join(at, "domains_touched"), name, &one_of(&names)))
        });
        Ok(Question {
            object: self.object(catalog, at)?,
            arguments: self.arguments.as_ref(),
            session_id: &self.session_id,
            workflow_id: &self.workflow_id,
            subject: self.subject.as_deref(),
            issuer: self.issuer.as_deref(),
            groups: &self.groups,
            labels: labels.collect::<Result<Labels, _>>()?,
            call_count: self.call_count,
            domains_touched: domains.collect::<Result<Vec<_>, _>>()?.into_iter().fold(Domains::NONE, Domains::with),
            egress: self.egress,
            attestation_platform: &self.attestation_platform,
            now: self.time,
        })
    }

    fn object<'a>(&'a self, catalog: &'a Catalog, at: &str) -> Result<Object<'a>, BootRefusal> {
        let names = Action::ALL.map(Action::as_str);
        let action = Action::ALL.into_iter().find(|action| action.as_str() == self.action);
        let action = action.ok_or_else(|| invalid(&join(at, "action"), &self.action, &one_of(&names)))?;
        if action == Action::CallTool {
            let name = self.tool.as_deref().ok_or_else(|| missing(&join(at, "tool"), "the name of a tool"))?;
            let tool = catalog.tool(name).ok_or_else(|| invalid(&join(at, "tool"), name, "a tool of the catalog"))?;
            return Ok(Object::Tool(tool));
        }
        let server = self.server(catalog, at)?;
        match (action, self.uri.as_deref(), self.prompt.as_deref()) {
            (Action::ReadResource | Action::SubscribeResource | Action::Complete, Some(uri), None) => {
                Ok(Object::resource(action, server, uri))
            }
            (Action::GetPrompt | Action::Complete, None, Some(name)) => Ok(Object::prompt(action, server, name)),
            (Action::ReadResource | Action::SubscribeResource, ..) => {
                Err(missing(&join(at, "uri"), "a resource's URI"))
            }
            (Action::GetPrompt, ..) => Err(missing(&join(at, "prompt"), "a prompt's name")),
            (Action::Complete, ..) => Err(missing(&join(at, "prompt"), "either a prompt's name or a resource's uri")),
            _ => Ok(Object::server(action, server)),
        }
    }

    /// The server of this name; of a catalog with one server, that one.
    fn server<'a>(&self, catalog: &'a Catalog, at: &str) -> Result<&'a Server, BootRefusal> {
        let mut servers: Vec<&Server> = catalog.tools().iter().map(|tool| &tool.server).collect();
        servers.dedup_by_key(|server| &server.identity);
        let wanted = |server: &&Server| self.server.as_ref().is_none_or(|name| *name == server.display_name);
        let found: Vec<_> = servers.into_iter().filter(wanted).collect();
        match (found.as_slice(), &self.server) {
            ([server, ..], Some(_)) | ([server], None) => Ok(server),
            (_, Some(name)) => Err(invalid(&join(at, "server"), name, "the display_name of a server of the catalog")),
            (_, None) => Err(missing(&join(at, "server"), "the display_name of a server: the catalog has several")),
        }
    }
}

fn invalid(field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::InvalidValue, &Document::None, field, &format!("{found:?}"), expected)
}

fn missing(field: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::Missing, &Document::None, field, "nothing", expected)
}
