//! The configuration: what an operator may set, within which bounds.
//!
//! The host turns `cmcp-config.yaml` into JSON and sends it in the boot bundle. Everything in it reaches the evidence as
//! `config_hash`, the host's own settings (`listen_addr`, paths) included.

mod attestation;
mod audit;
mod auth;
mod catalog;
mod controls;
mod jwt;
mod mtls;
mod operator;
mod tls;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

use claim::Digest;
use claim::json::Json;
use serde::Deserialize;
use wire::{BootRefusal, Document, RefusalCode};

use crate::document::{self, refusal};

pub(crate) use self::attestation::EXPECTED_MEASUREMENT;
pub use self::attestation::{Attestation, EnforcementMode, ProviderChoice};
pub use self::audit::{Audit, Durability};
pub(crate) use self::auth::no_authentication;
pub use self::auth::{Auth, AuthMode, Scope, Sensitivity, Token, TokenHash};
pub use self::catalog::{Catalog, Severity};
pub use self::controls::{KillSwitch, RateLimit, SinkPolicy};
pub use self::jwt::{Jwk, Jwks, Jwt, LONGEST_TEXT};
pub use self::mtls::Mtls;
pub use self::operator::Operator;
pub use self::tls::Tls;
pub use self::upstream::Upstream;

/// Longest text setting in bytes.
const LONGEST_SETTING: usize = 1024;

/// A validated configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the evidence comes from, how long it counts, and what a denied call means.
    #[serde(default)]
    pub attestation: Attestation,
    /// Folder of the policy bundle; resolved against the configuration file by the host.
    pub policy_bundle_path: String,
    /// The approved tools; resolved against the configuration file by the host.
    pub catalog_path: String,
    /// Whose word changes what is in force.
    #[serde(default)]
    pub operator: Operator,
    /// The operator's signed controls; resolved against the configuration file by the host.
    #[serde(default)]
    pub controls_path: Option<String>,
    /// Refuses all calls of an identity, by hand or by its deny rate.
    #[serde(default)]
    pub kill_switch: KillSwitch,
    /// Ceilings on what sensitive data may reach, in every mode.
    #[serde(default)]
    pub sink_policy: SinkPolicy,
    /// Bounds on how often an identity may call, in every mode.
    #[serde(default)]
    #[cfg_attr(test, schemars(length(max = 64)))]
    pub rate_limits: Vec<RateLimit>,
    /// Address and port that the host listens on.
    #[serde(default = "default_listen_addr")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub listen_addr: SocketAddr,
    /// TLS towards agents.
    #[serde(default)]
    pub tls: Tls,
    /// What it means that a tool server says something else of its tools than was approved.
    #[serde(default)]
    pub catalog: Catalog,
    /// The record store.
    #[serde(default)]
    pub audit: Audit,
    /// Shape of the claims.
    #[serde(default)]
    pub claim_profile: ClaimProfile,
    /// What claims contain beyond the required.
    #[serde(default)]
    pub claim: ClaimOptions,
    /// The model that the agents use, for trust records; `unspecified` without it.
    #[serde(default)]
    pub model: Option<Model>,
    /// Who may call.
    #[serde(default)]
    pub auth: Auth,
    /// How tool servers without a pin show that they are the right ones.
    #[serde(default)]
    pub upstream: Upstream,
    /// Labels of sessions.
    #[serde(default)]
    pub sensitivity: Sensitivity,
    /// Bounds on what peers can make the gateway hold or wait for.
    #[serde(default)]
    pub limits: Limits,
}

/// `claim_profile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ClaimProfile {
    /// What deployed verifiers accept.
    #[default]
    #[serde(rename = "trace-v0.2")]
    TraceV02,
    /// The first draft's shape, for archives.
    #[serde(rename = "trace-v0.1")]
    TraceV01,
}

/// What claims contain beyond the required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClaimOptions {
    /// One transcript entry per call; the claim grows with the session.
    pub entries: bool,
}

/// The model that the agents use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Who serves the model.
    pub provider: String,
    /// The model's name at its provider.
    pub model_id: String,
}

/// Bounds with their defaults, ranges and reasons, once for the type, its check and its JSON Schema.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal in $min:literal..=$max:literal, $reason:literal;)+) => {
        /// Bounds on what peers can make the gateway hold or wait for.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ #[cfg_attr(test, schemars(range(min = $min, max = $max)))] pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            const NAMES: &[&str] = &[$(stringify!($name)),+];

            fn check(&self) -> Result<(), BootRefusal> {
                $(if !($min..=$max).contains(&self.$name) {
                    return Err(invalid(
                        concat!("limits.", stringify!($name)),
                        &self.$name.to_string(),
                        &format!("{} to {}: {}", $min, $max, $reason),
                    ));
                })+
                Ok(())
            }
        }
    };
}

limits! {
    /// Largest request body in bytes.
    max_body_bytes: usize = 1_048_576 in 1024..=67_108_864, "a request is held in memory while it is decided";
    /// Largest answer of a tool server in bytes.
    max_response_bytes: usize = 2_097_152 in 1024..=67_108_864, "an answer is held in memory until it is recorded";
    /// Sessions in memory.
    max_sessions: usize = 10_000 in 1..=1_000_000, "each session takes about a kilobyte of the enclave's memory";
    /// Sessions in memory of one identity; without authentication `max_sessions` is the only bound.
    max_sessions_per_identity: usize = 1000 in 1..=1_000_000, "one identity must not fill the table";
    /// Identities that show themselves by token or certificate; those that hold nothing make room for others.
    max_identities: usize = 10_000 in 1..=1_000_000, "each takes about a kilobyte of the enclave's memory";
    /// Seconds without a call after which a session is closed.
    session_idle_seconds: u64 = 3600 in 1..=604_800, "at most a week, since a claim should be fresh";
    /// Closed sessions whose claims are found by session id.
    closed_sessions: usize = 10_000 in 0..=1_000_000, "each takes a few dozen bytes of the enclave's memory";
    /// Agent connections at once.
    max_connections: usize = 4096 in 1..=4096, "the records of all calls in flight must fit into one batch";
    /// Milliseconds that a tool server may take to answer.
    upstream_timeout_ms: u64 = 30_000 in 100..=600_000, "a call is held open meanwhile";
    /// Milliseconds that an agent may take to answer what a tool server asks of it.
    input_timeout_ms: u64 = 600_000 in 100..=3_600_000, "a person may have to be asked";
    /// Connections to one tool server at once.
    upstream_connections_per_server: usize = 64 in 1..=4096, "each is a stream between enclave and host";
    /// Milliseconds that an agent may take to send a request.
    request_timeout_ms: u64 = 30_000 in 100..=600_000, "a slow sender holds a connection";
    /// Header fields of a request.
    max_headers: usize = 100 in 10..=1000, "common clients send about ten";
    /// Milliseconds that the record store may take before calls fail closed.
    store_timeout_ms: u64 = 10_000 in 100..=600_000, "answers wait for the store";
}

/// The configuration and its `config_hash`, SHA-256 of its sorted-ASCII JSON as it was sent.
///
/// # Errors
/// The first thing that is wrong, with its field, what was found and what was expected.
pub fn parse(json: &[u8]) -> Result<(Config, Digest), BootRefusal> {
    let tree = document::parse(json, &Document::Config)?;
    refuse_flat_form(&tree)?;
    let config: Config = document::read(&tree, &Document::Config, "").map_err(attestation::name_other)?;
    config.check()?;
    Ok((config, Digest::of(tree.sorted_ascii().as_bytes())))
}

impl Limits {
    /// How long an agent may take to send a request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long an agent may take to answer what a tool server asks of it.
    pub fn input_timeout(&self) -> Duration {
        Duration::from_millis(self.input_timeout_ms)
    }
}

impl Config {
    fn check(&self) -> Result<(), BootRefusal> {
        check_text("policy_bundle_path", &self.policy_bundle_path)?;
        check_text("catalog_path", &self.catalog_path)?;
        self.attestation.check()?;
        self.audit.check()?;
        self.controls_path.as_deref().map_or(Ok(()), |path| check_text("controls_path", path))?;
        self.operator.signers()?;
        controls::check(&self.kill_switch, &self.rate_limits)?;
        if let Some(model) = &self.model {
            check_text("model.provider", &model.provider)?;
            check_text("model.model_id", &model.model_id)?;
        }
        auth::check(&self.auth, &self.operator)?;
        self.tls.check()?;
        self.catalog.check()?;
        self.upstream.check()?;
        self.limits.check()
    }

    /// How far labels reach.
    pub fn scope(&self) -> Scope {
        let usual = if self.auth.mode == AuthMode::None { Scope::Session } else { Scope::Identity };
        self.sensitivity.scope.unwrap_or(usual)
    }

    /// Open sessions that one identity may have.
    pub fn max_sessions_per_identity(&self) -> usize {
        match self.auth.mode {
            AuthMode::None => self.limits.max_sessions,
            _ => self.limits.max_sessions_per_identity,
        }
    }
}

fn default_listen_addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}

fn check_text(field: &str, value: &str) -> Result<(), BootRefusal> {
    if (1..=LONGEST_SETTING).contains(&value.len()) && !value.chars().any(char::is_control) {
        return Ok(());
    }
    let expected = format!("1 to {LONGEST_SETTING} bytes of text without control characters");
    Err(invalid(field, &format!("{value:?}"), &expected))
}

pub(crate) fn invalid(field: &str, found: &str, expected: &str) -> BootRefusal {
    refusal(RefusalCode::InvalidValue, &Document::Config, field, found, expected)
}

/// Keys of the sections, for whoever lost the indentation.
const SECTIONS: [(&str, &[&str]); 13] = [
    ("attestation", &["provider", "enforcement_mode", "expected_measurement", "validity_seconds", "staleness_policy"]),
    ("tls", &["public_name"]),
    ("catalog", &["drift_policy", "unanswered_list", "recheck_seconds"]),
    ("audit", &["store_path", "durability", "auditor_key"]),
    ("claim", &["entries"]),
    ("model", &["model_id"]),
    ("auth", &["mode", "tokens", "resource", "authorization_servers", "jwt", "mtls"]),
    ("sensitivity", &["scope"]),
    ("limits", Limits::NAMES),
    ("operator", &["token_sha256", "public_key", "policy_keys"]),
    ("kill_switch", &["enabled", "window_seconds", "deny_rate_percent", "min_calls"]),
    ("sink_policy", &["tools", "response_max_sensitivity"]),
    ("upstream", &["ca_roots", "allow_unpinned"]),
];

/// YAML without its indentation puts a section's keys at the top level and leaves the section empty.
fn refuse_flat_form(tree: &Json) -> Result<(), BootRefusal> {
    for (section, keys) in SECTIONS {
        let lost: Vec<_> = keys.iter().filter_map(|key| Some((*key, tree.get(key)?))).collect();
        let Some((first, _)) = lost.first() else { continue };
        let lines: Vec<_> = lost.iter().map(|(key, value)| format!("  {key}: {}", yaml(value))).collect();
        let expected =
            format!("the key {first} inside {section}, indented by two spaces:\n{section}:\n{}", lines.join("\n"));
        let found = format!("{first} at the top level");
        return Err(refusal(RefusalCode::UnknownKey, &Document::Config, first, &found, &expected));
    }
    Ok(())
}

fn yaml(value: &Json) -> String {
    value.as_str().map_or_else(|| document::text(value), str::to_owned)
}

#[cfg(test)]
mod tests;
