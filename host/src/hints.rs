//! The commands to try next, ready to paste.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value, json};
use wire::BootReport;

use crate::documents::{Documents, Tool};
use crate::report::sha256;

const SESSION: &str = "demo-session-001";
const WORKFLOW: &str = "demo-agent";

/// A call, the session's claim, and its check.
pub fn first_steps(address: SocketAddr, documents: &Documents, report: &BootReport) -> String {
    let body = documents.catalog.tools.first().map_or_else(list_request, call_request);
    let verify = verify_program();
    let store = documents.settings.store.display();
    let (bundle, catalog) = (sha256(report.bundle_hash), sha256(report.catalog_hash));
    let (with_token, token) = match documents.settings.auth.as_str() {
        "none" => ("", ""),
        "mtls" => (", with an agent's certificate and key", " --cert agent.pem --key agent.key"),
        _ => (", with an agent's token in $TOKEN", " -H \"Authorization: Bearer $TOKEN\""),
    };
    let (scheme, pinned) = address_of(report);
    format!(
        "\nTry it, from another terminal{with_token}:\n\
         \n  curl -s{pinned} {scheme}://{address}/mcp{token} -H 'Content-Type: application/json' \\\
         \n    -d '{body}'\n\
         \nThe session's claim, and its check:\n\
         \n  curl -s{pinned} {scheme}://{address}/session/{SESSION}/claim{token} -o claim.json\
         \n  {verify} claim.json \\\
         \n    --policy-hash {bundle} \\\
         \n    --catalog-hash {catalog}\n\
         \nRecords are stored in {store}; an interrupt stops the gateway in order.\n",
        verify = verify.display(),
    )
}

/// The scheme, and how curl knows the enclave's own key: no CA vouches for it.
fn address_of(report: &BootReport) -> (&'static str, String) {
    match report.tls_spki.first() {
        None => ("http", String::new()),
        Some(spki) => ("https", format!(" -k --pinnedpubkey sha256//{}", Base64::encode_string(spki))),
    }
}

fn list_request() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string()
}

/// Written by hand for the order of its keys, which is the quickstart's.
fn call_request(tool: &Tool) -> String {
    let (name, arguments) = (Value::from(tool.name.as_str()), arguments(tool));
    let request = format!(
        r#"{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {{"name": {name}, "arguments": {arguments}, "_cmcp": {{"session_id": "{SESSION}", "workflow_id": "{WORKFLOW}"}}}}}}"#
    );
    request.replace('\'', r"'\''")
}

/// The quickstart's arguments for its tool; for others the required ones, with the simplest value of their type.
fn arguments(tool: &Tool) -> String {
    if tool.name == "salesforce.contacts" {
        return r#"{"query": "Acme Corp", "max_records": 10}"#.to_owned();
    }
    let required = tool.input_schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let arguments: Map<_, _> = required
        .filter_map(Value::as_str)
        .map(|name| (name.to_owned(), example(tool.input_schema.pointer(&format!("/properties/{name}")))))
        .collect();
    Value::Object(arguments).to_string()
}

fn example(schema: Option<&Value>) -> Value {
    let of = |key| schema.and_then(|schema| schema.get(key)).cloned();
    let first = |values: Value| values.get(0).cloned();
    of("default").or_else(|| of("enum").and_then(first)).unwrap_or_else(|| {
        match of("type").as_ref().and_then(Value::as_str) {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("example"),
        }
    })
}

/// The verifier beside this program, spelled from the current folder if it is below it; else by its name.
fn verify_program() -> PathBuf {
    let name = Path::new("cmcp-verify");
    let Some(program) = env::current_exe().ok().map(|exe| exe.with_file_name(name)).filter(|path| path.exists()) else {
        return name.to_owned();
    };
    match env::current_dir().ok().and_then(|folder| program.strip_prefix(folder).ok().map(Path::to_owned)) {
        Some(relative) if relative.components().count() > 1 => relative,
        _ => program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_any_tool() {
        let schema = json!({
            "required": ["a", "b", "c"],
            "properties": { "a": { "type": "integer" }, "b": { "enum": ["x'y"] } },
        });
        let request =
            call_request(&Tool { name: "t".into(), input_schema: schema, launch: None }).replace(r"'\''", "'");
        let request: Value = serde_json::from_str(&request).unwrap();
        assert_eq!(request["params"]["arguments"], json!({ "a": 1, "b": "x'y", "c": "example" }));
        assert_eq!(request["params"]["_cmcp"]["session_id"], SESSION);
    }
}
