//! The documents that configure a gateway under test: the quickstart's, with changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use claim::operator::OperatorKey;
use serde_json::{Value, json};

use crate::bin;

/// SHA-256 of the quickstart's `approved_definition`, which every tool made here shares.
const DEFINITION_HASH: &str = "sha256:b42ecf14612f23456b5b0794864a00288d4038ac444cedb87fc214cefee89e35";
/// The quickstart's one tool, which its policy names.
pub const CONTACTS: &str = "salesforce.contacts";
/// A schema for policies about callers.
pub const WHO_CALLS_WHAT: &str = r"namespace cMCP {
  entity Principal = { subject: String, issuer: String, groups: Set<String> };
  entity Resource = { tool_name: String };
  action call_tool appliesTo { principal: [Principal], resource: [Resource], context: { session_max_sensitivity: String } };
}";

/// Names that share the quickstart's definition: tool servers list them all.
static NAMES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A schema with every action that the gateway knows.
const SCHEMA: &str = r"namespace cMCP {
  entity Principal = { session_id: String };
  entity Resource = { tool_name: String };
  action call_tool, list_resources, read_resource, subscribe_resource, list_prompts, get_prompt, complete, set_log_level,
    sample, elicit, list_roots
    appliesTo { principal: [Principal], resource: [Resource], context: { session_max_sensitivity: String } };
}";

/// Configuration, catalog and policy bundle.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `cmcp-config.yaml`; JSON is YAML.
    pub config: Value,
    /// `catalog.json`.
    pub catalog: Value,
    /// Files of the policy bundle by name.
    pub policies: Vec<(String, String)>,
    /// `controls.json`, if there is one.
    pub controls: Option<Value>,
}

impl Setup {
    /// The quickstart's documents with the tool server at this address.
    pub fn quickstart(upstream: &str) -> Self {
        let folder = bin::root().join("policies/quickstart");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a quickstart document");
        let file = |name: &str| (name.to_owned(), read(&format!("policies/{name}")));
        let mut catalog: Value = serde_json::from_str(&read("catalog.json")).expect("the quickstart's catalog");
        catalog.as_array_mut().expect("a list").retain(|tool| tool["tool_name"] == CONTACTS);
        catalog[0]["server"]["url"] = json!(upstream);
        Self {
            config: json!({
                "attestation": {"provider": "auto", "enforcement_mode": "advisory"},
                "policy_bundle_path": "./policies/",
                "catalog_path": "./catalog.json",
                "audit": {"store_path": "./audit-store", "durability": "process"},
            }),
            catalog,
            policies: vec![file("manifest.json"), file("schema.cedarschema"), file("demo.cedar")],
            controls: None,
        }
    }

    /// The quickstart's tool on a server that the catalog lets do this, and a policy that allows everything.
    pub fn governed(upstream: &str, capabilities: &[&str]) -> Self {
        let mut setup = Self::quickstart(upstream).mode("enforcing");
        setup.catalog[0]["server"]["capabilities"] = json!(capabilities);
        setup.policy("schema.cedarschema", SCHEMA).policy("demo.cedar", "permit (principal, action, resource);")
    }

    /// Puts another server behind every tool.
    #[must_use]
    pub fn server(mut self, server: &Value) -> Self {
        for tool in self.catalog.as_array_mut().expect("a list") {
            tool["server"] = server.clone();
        }
        self
    }

    /// Pins the server behind every tool.
    #[must_use]
    pub fn pinned(mut self, mode: &str, fingerprint: &str) -> Self {
        for tool in self.catalog.as_array_mut().expect("a list") {
            tool["server"]["tls_fingerprint"] = json!(fingerprint);
            tool["server"]["rotation_mode"] = json!(mode);
        }
        self
    }

    /// Forbids an action.
    #[must_use]
    pub fn forbid(self, action: &str) -> Self {
        let text = format!("forbid (principal, action == cMCP::Action::\"{action}\", resource);");
        self.policy("forbid.cedar", &text)
    }

    /// Sets `attestation.enforcement_mode`.
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.with("/attestation/enforcement_mode", json!(mode))
    }

    /// Sets `audit.durability`.
    #[must_use]
    pub fn durability(self, durability: &str) -> Self {
        self.with("/audit/durability", json!(durability))
    }

    /// Has records sealed to this auditor's key.
    #[must_use]
    pub fn sealed_to(self, auditor_key: &str) -> Self {
        self.with("/audit/auditor_key", json!(auditor_key))
    }

    /// Sets one of `limits`.
    #[must_use]
    pub fn limit(self, name: &str, value: u64) -> Self {
        self.with(&format!("/limits/{name}"), json!(value))
    }

    /// Sets a field of the configuration, making the objects on the way.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            place = &mut place[key];
        }
        *place = value;
        self
    }

    /// Takes a top-level field out of the configuration.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.config.as_object_mut().expect("an object").remove(field);
        self
    }

    /// Adds a tool with the quickstart's definition.
    #[must_use]
    pub fn tool(mut self, name: &str, url: &str, domain: &str, sensitivity: &str) -> Self {
        NAMES.lock().expect("not poisoned").insert(name.to_owned());
        let mut tool = self.catalog[0].clone();
        tool["tool_name"] = json!(name);
        tool["server"]["url"] = json!(url);
        tool["compliance_domain"] = json!(domain);
        tool["sensitivity_level"] = json!(sensitivity);
        assert_eq!(tool["definition_hash"], DEFINITION_HASH);
        self.catalog.as_array_mut().expect("a list").push(tool);
        self
    }

    /// Adds a second tool like the first.
    #[must_use]
    pub fn another(mut self, name: &str) -> Self {
        let mut tool = self.catalog[0].clone();
        tool["tool_name"] = json!(name);
        self.catalog.as_array_mut().expect("a list").push(tool);
        self
    }

    /// Adds a file to the policy bundle, or replaces it.
    #[must_use]
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.retain(|(found, _)| found != name);
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Sets the policy bundle's version.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        let mut manifest = self.manifest();
        manifest["version"] = json!(version);
        self.policy("manifest.json", &manifest.to_string())
    }

    /// Lets this key change what is in force, and signs the policy bundle with it.
    #[must_use]
    pub fn operated_by(self, key: &OperatorKey) -> Self {
        self.with("/operator/public_key", json!(key.public().x())).sign_policy(key)
    }

    /// Signs the policy bundle as it is.
    #[must_use]
    pub fn sign_policy(self, key: &OperatorKey) -> Self {
        let mut manifest = self.manifest();
        manifest["signature"] = json!(key.sign_policy(self.bundle_hash()));
        self.policy("manifest.json", &manifest.to_string())
    }

    /// Adds controls, signed.
    #[must_use]
    pub fn controls(mut self, key: &OperatorKey, controls: &Value) -> Self {
        let document = claim::json::parse(controls.to_string().as_bytes()).expect("JSON");
        let mut controls = controls.clone();
        controls["signature"] = json!(key.sign_controls(&document));
        self.controls = Some(controls);
        self.with("/controls_path", json!("./controls.json"))
    }

    /// Hash of the policy bundle.
    pub fn bundle_hash(&self) -> claim::Digest {
        let text = |name: &str| self.policies.iter().find(|(found, _)| found == name).expect("a file").1.as_str();
        let manifest = claim::json::parse(text("manifest.json").as_bytes()).expect("JSON");
        let files = self.policies.iter().filter(|(name, _)| name.as_bytes().ends_with(b".cedar"));
        let files = files.map(|(name, text)| (name.as_str(), text.as_str()));
        claim::hashes::bundle_hash(&manifest, files, text("schema.cedarschema")).expect("a hash")
    }

    fn manifest(&self) -> Value {
        let (_, text) = self.policies.iter().find(|(name, _)| name == "manifest.json").expect("a manifest");
        serde_json::from_str(text).expect("JSON")
    }

    /// Lets in these agents only, each with its [`token`], group `GROUP` for agent `a` of `["a@GROUP"]`, and `operator`.
    #[must_use]
    pub fn agents(self, names: &[&str]) -> Self {
        let tokens = names.iter().map(|name| {
            let (subject, group) = name.split_once('@').unwrap_or((name, ""));
            let groups: Vec<&str> = Some(group).filter(|group| !group.is_empty()).into_iter().collect();
            json!({"subject": subject, "issuer": "tests", "groups": groups, "token_sha256": token_hash(subject)})
        });
        let auth = json!({"mode": "bearer", "tokens": tokens.collect::<Vec<_>>()});
        self.with("/auth", auth).operated()
    }

    /// Has an operator, whose token is that of `operator`.
    #[must_use]
    pub fn operated(self) -> Self {
        self.with("/operator/token_sha256", json!(token_hash("operator")))
    }

    /// Writes the documents.
    pub fn write(&self, folder: &Path) {
        let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
        std::fs::create_dir_all(folder.join("policies")).expect("a folder");
        std::fs::write(folder.join("cmcp-config.yaml"), pretty(&self.config)).expect("a file");
        std::fs::write(folder.join("catalog.json"), pretty(&self.catalog)).expect("a file");
        if let Some(controls) = &self.controls {
            std::fs::write(folder.join("controls.json"), pretty(controls)).expect("a file");
        }
        for (name, text) in &self.policies {
            std::fs::write(folder.join("policies").join(name), text).expect("a file");
        }
    }
}

/// An entry of the catalog as an element of `tools/list`.
pub fn listed(entry: &Value) -> Value {
    let definition = &entry["approved_definition"];
    let names = [("title", "title"), ("description", "description"), ("annotations", "annotations")];
    let names = names.into_iter().chain([("inputSchema", "input_schema"), ("outputSchema", "output_schema")]);
    let members = names.filter_map(|(listed, approved)| Some((listed.to_owned(), definition.get(approved)?.clone())));
    Value::Object([("name".to_owned(), entry["tool_name"].clone())].into_iter().chain(members).collect())
}

/// The result of `tools/list`: the quickstart's tool, and its definition by every other name that was approved of, and as `echo`.
pub fn listed_tools() -> String {
    let tool = listed(&Setup::quickstart("").catalog[0]);
    let mut names = NAMES.lock().expect("not poisoned").clone();
    names.extend([CONTACTS, "echo"].map(str::to_owned));
    let called = |name: &String| {
        let mut tool = tool.clone();
        tool["name"] = json!(name);
        tool
    };
    json!({"tools": names.iter().map(called).collect::<Vec<_>>()}).to_string()
}

/// The bearer token of an agent, or of `operator`.
pub fn token(name: &str) -> String {
    claim::Digest::of(format!("token of {name}")).hex()
}

/// What its `Authorization` says.
pub fn bearer(name: &str) -> String {
    format!("Bearer {}", token(name))
}

fn token_hash(name: &str) -> String {
    claim::Digest::of(token(name)).prefixed()
}

/// `params` of a call in the quickstart's shape.
pub fn call_params(tool: &str, session: &str) -> Value {
    json!({
        "name": tool,
        "arguments": {"query": "Acme Corp", "max_records": 10},
        "_cmcp": {"session_id": session, "workflow_id": "demo-agent"},
    })
}

/// A JSON-RPC request.
pub fn rpc(id: u64, method: &str, params: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().into_bytes()
}
