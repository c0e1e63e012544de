//! An agent of the matrix, made with rmcp.
//!
//! usage: matrix-rmcp legacy|modern URL HEADERS PLAN      as tests/matrix/client.py has it

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction,
    ErrorData, Implementation, ProgressNotificationParam, ProtocolVersion,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

type Failed = Box<dyn Error + Send + Sync>;
type Client = RunningService<RoleClient, Agent>;

const TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Clone, Default)]
struct Agent {
    heard: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Agent {
    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let answer = json!({"username": "ada", "email": "ada@example.com"});
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(answer))
    }

    async fn on_progress(&self, heard: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.heard.lock().expect("not poisoned").push(heard.progress);
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities =
            serde_json::from_value(json!({"elicitation": {}})).expect("capabilities");
        ClientConfig::new(capabilities, Implementation::new("black-box", "1.0.0"))
    }
}

async fn connect(mode: &str, url: &str, headers: &Value) -> Result<Client, Failed> {
    let mut custom = HashMap::new();
    for (name, value) in headers.as_object().into_iter().flatten() {
        custom.insert(name.parse()?, value.as_str().unwrap_or_default().parse()?);
    }
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(custom);
    let mode = match mode {
        "modern" => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
        _ => ClientLifecycleMode::Initialize,
    };
    Ok(Agent::default().serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), mode).await?)
}

/// Calls the tool that is planned for a step.
async fn call(client: &Client, planned: &Value) -> Result<String, Failed> {
    let name = planned[0].as_str().unwrap_or_default().to_owned();
    let arguments = planned[1].as_object().cloned().unwrap_or_default();
    let result =
        timeout(TIMEOUT, client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments))).await??;
    let texts = result.content.iter().filter_map(|item| item.as_text()).map(|item| item.text.clone());
    Ok(texts.collect::<Vec<_>>().join(" "))
}

async fn step(client: &Client, name: &str, plan: &Value) -> Result<String, Failed> {
    match name {
        "list" => {
            let tools = client.list_all_tools().await?;
            Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect::<Vec<_>>().join(" "))
        }
        "progress" => {
            call(client, &plan[name]).await?;
            let heard = client.service().heard.lock().expect("not poisoned").clone();
            Ok(heard.iter().map(f64::to_string).collect::<Vec<_>>().join(" "))
        }
        // As a program stops to wait.
        "cancel" => match timeout(Duration::from_secs(1), call(client, &plan[name])).await {
            Ok(answer) => answer,
            Err(_) => Ok("cancelled".to_owned()),
        },
        "call again" => call(client, &plan["call"]).await,
        _ => call(client, &plan[name]).await,
    }
}

fn say(value: &Value) {
    println!("{value}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, url, headers, plan] = arguments.as_slice() else { return Err("usage: MODE URL HEADERS PLAN".into()) };
    let (headers, plan): (Value, Value) = (serde_json::from_str(headers)?, serde_json::from_str(plan)?);
    let mut client = connect(mode, url, &headers).await?;
    for name in ["list", "call", "progress", "elicitation", "cancel", "call again"] {
        if ["list", "call again"].contains(&name) || plan.get(name).is_some() {
            match step(&client, name, &plan).await {
                Ok(result) => say(&json!([name, result])),
                Err(error) => say(&json!([name, null, error.to_string()])),
            }
        }
    }
    say(&json!(["restart"]));
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await?;
    let mut errors = Vec::new();
    for how in ["by itself", "after an error", "connected again"] {
        match call(&client, &plan["call"]).await {
            Ok(_) => return Ok(say(&json!(["restarted", how, errors.join("; ")]))),
            Err(error) => errors.push(error.to_string()),
        }
        if how == "after an error" {
            client = connect(mode, url, &headers).await?;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(say(&json!(["restarted", null, errors.join("; ")])))
}
