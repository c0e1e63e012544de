//! Every error that an agent can see: one list, from which the answers and `docs/errors.md` are made.

use hyper::StatusCode;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $http:literal, $rpc:literal, $message:literal;)+) => {
        /// An error code. The number crosses the boundary, the name reaches the agent as `data.error_code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name in `data.error_code`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// HTTP status.
            pub fn status(self) -> StatusCode {
                StatusCode::from_u16(match self { $(Self::$variant => $http,)+ }).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// JSON-RPC error code.
            pub fn rpc(self) -> i32 {
                match self { $(Self::$variant => $rpc,)+ }
            }

            /// Message for people.
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }

            /// What it means, for the documentation.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

codes! {
    /// The body is not UTF-8 JSON, is nested too deeply, or has a key twice.
    ParseError = 1, "MCP_PARSE_FAILURE", 400, -32700, "request body is not acceptable JSON";
    /// The body is not one JSON-RPC 2.0 request (batches are not accepted).
    InvalidRequest = 2, "MCP_INVALID_REQUEST", 400, -32600, "not a JSON-RPC 2.0 request";
    /// The method is not one that this gateway serves.
    MethodNotFound = 3, "MCP_METHOD_NOT_FOUND", 404, -32601, "method not found";
    /// The parameters are not those of the method: see the message.
    InvalidParams = 4, "MCP_INVALID_PARAMS", 400, -32602, "invalid params";
    /// The body is over `limits.max_body_bytes`.
    BodyTooLarge = 5, "MCP_BODY_TOO_LARGE", 413, -32600, "request body is over limits.max_body_bytes";
    /// The request did not arrive within `limits.request_timeout_ms`.
    SlowRequest = 6, "REQUEST_TIMEOUT", 408, -32000, "request did not arrive in time";
    /// The policy denied the call; it was not forwarded.
    PolicyDeny = 7, "POLICY_DENY", 403, -32000, "Request denied by policy";
    /// The tool is not in the approved catalog; it was not forwarded.
    ToolNotInCatalog = 8, "TOOL_NOT_IN_CATALOG", 403, -32000, "Tool is not in the approved catalog";
    /// The tool server could not be reached; the call did not run.
    UpstreamUnavailable = 9, "UPSTREAM_UNAVAILABLE", 502, -32000, "tool server is unavailable";
    /// The tool server did not answer within `limits.upstream_timeout_ms`; the call may have run.
    UpstreamTimeout = 10, "UPSTREAM_TIMEOUT", 504, -32000, "tool server did not answer in time";
    /// The tool server's answer is not an answer to this call; the call may have run.
    UpstreamInvalid = 11, "UPSTREAM_INVALID", 502, -32000, "tool server gave no valid answer";
    /// The tool server's answer is over `limits.max_response_bytes`; the call may have run.
    UpstreamTooLarge = 12, "UPSTREAM_RESPONSE_TOO_LARGE", 502, -32000, "tool server's answer is over limits.max_response_bytes";
    /// The tool server's result carries keys that only the gateway may set, or a key twice; the call may have run.
    UpstreamForgedReceipt = 13, "UPSTREAM_FORGED_RECEIPT", 502, -32000, "tool server's result carries a gateway receipt";
    /// The tool server answered with a JSON-RPC error, which is passed on as it is.
    UpstreamToolError = 14, "UPSTREAM_TOOL_ERROR", 200, -32000, "tool server answered with an error";
    /// The audit store did not answer. If the call had been forwarded, it may have run.
    AuditUnavailable = 15, "AUDIT_UNAVAILABLE", 503, -32000, "audit store is unavailable (the call may have run)";
    /// What the audit store gave back is not what was stored.
    AuditMismatch = 16, "AUDIT_MISMATCH", 502, -32000, "audit store did not return what was stored";
    /// No such session in this boot. Claims of earlier boots are in the store: `cmcp-verify store export`.
    SessionUnknown = 17, "SESSION_UNKNOWN", 404, -32000, "no such session";
    /// The session table is full; or the caller's part of it; close sessions or raise `limits.max_sessions`, `limits.max_sessions_per_identity`.
    SessionLimit = 18, "SESSION_LIMIT", 503, -32000, "no room for another session";
    /// The session is being closed.
    SessionClosing = 19, "SESSION_CLOSING", 409, -32000, "session is closing";
    /// A fault inside the gateway halted this session; its chain ends there.
    SessionHalted = 20, "SESSION_HALTED", 500, -32000, "session was halted by an internal fault";
    /// No such path.
    NotFound = 21, "NOT_FOUND", 404, -32000, "no such path";
    /// The path exists, the method does not.
    MethodNotAllowed = 22, "METHOD_NOT_ALLOWED", 405, -32000, "method not allowed";
    /// The browser origin is not this gateway's own.
    OriginRefused = 23, "ORIGIN_REFUSED", 403, -32000, "origin is not allowed";
    /// The query is missing or malformed: see the message.
    InvalidQuery = 24, "INVALID_QUERY", 400, -32000, "invalid query";
    /// The gateway is stopping.
    ShuttingDown = 25, "SHUTTING_DOWN", 503, -32000, "gateway is stopping";
    /// A fault inside the gateway.
    Internal = 26, "INTERNAL_ERROR", 500, -32603, "internal error";
    /// The agent cancelled the call, closed its connection (MCP 2026-07-28) or ended its session; the call may have run.
    CallCancelled = 27, "CALL_CANCELLED", 409, -32000, "call was cancelled (it may have run)";
    /// A header of MCP 2026-07-28 is missing or says something else than the body.
    HeaderMismatch = 28, "MCP_HEADER_MISMATCH", 400, -32020, "header does not match the body";
    /// The protocol version is not one that this gateway serves: see `error.data.supported`.
    UnsupportedVersion = 29, "MCP_UNSUPPORTED_VERSION", 400, -32022, "unsupported protocol version";
    /// The MCP session has an open event stream already.
    StreamTaken = 30, "MCP_STREAM_TAKEN", 409, -32000, "session has an event stream already";
    /// The response would be an event stream, which the request does not accept.
    NotAcceptable = 31, "MCP_NOT_ACCEPTABLE", 406, -32000, "Accept must name text/event-stream";
    /// The host found another file than the catalog pins in `entrypoint_digest`; the process was not used.
    EntrypointMismatch = 32, "UPSTREAM_ENTRYPOINT_MISMATCH", 502, -32000, "tool server's entrypoint is not the one in the catalog";
    /// The host runs as many processes of tool servers as its limits allow: close sessions, or give servers `process: shared`.
    ProcessLimit = 33, "UPSTREAM_PROCESS_LIMIT", 503, -32000, "no room for another process of a tool server";
    /// What the tool server says of the tool now is not what was approved; the call was not forwarded. Approve the new definition in
    /// the catalog, or have the server put right.
    CatalogDrift = 34, "CATALOG_DRIFT", 403, -32000, "tool's definition is not the approved one";
    /// The tool server did not list its tools, so that nothing shows that the tool is still what was approved; the call was not
    /// forwarded.
    CatalogUnconfirmed = 35, "CATALOG_UNCONFIRMED", 503, -32000, "tool server did not list its tools";
    /// The arguments are not those of the approved `input_schema`: see `error.data.detail`; the call was not forwarded.
    ArgumentsRefused = 36, "ARGUMENTS_REFUSED", 400, -32602, "arguments do not fit the tool's approved definition";
    /// The tool server's answer failed inspection and is withheld; the call has run. The audit entry says what was found.
    ResultRefused = 37, "RESULT_REFUSED", 502, -32000, "tool server's answer failed inspection (the call has run)";
    /// The chain is not one for `tls.public_name` and this boot's key: see the message; nothing changed.
    TlsChainRefused = 38, "TLS_CHAIN_REFUSED", 400, -32000, "certificate chain is not for this name and key";
    /// The caller did not say who it is, or with a token that is not known: `Authorization: Bearer TOKEN`, once.
    Unauthenticated = 39, "UNAUTHENTICATED", 401, -32000, "authentication required";
    /// Only the operator may do this, with the token of `operator.token_sha256`.
    OperatorRequired = 40, "OPERATOR_REQUIRED", 403, -32000, "only the operator may do this";
    /// The operator's token is no agent's: it calls no tools.
    AgentRequired = 41, "AGENT_REQUIRED", 403, -32000, "the operator is not an agent";
    /// `kill_switch.enabled`, and no `controls.json`: nothing says who is blocked, so every call is refused until a start with one.
    GatewayHalted = 42, "GATEWAY_HALTED", 503, -32000, "gateway is halted: it has no operator controls";
    /// The operator's controls or the kill switch block this identity; it was not forwarded.
    KillSwitch = 43, "KILL_SWITCH", 403, -32000, "calls of this identity are blocked";
    /// The session holds what `sink_policy` does not let reach this tool; it was not forwarded.
    SinkCeiling = 44, "SINK_CEILING", 403, -32000, "session holds data too sensitive for this tool";
    /// More calls than `rate_limits` allows; the same call may be made in `error.data.retry_after_ms` milliseconds (outside MCP sessions also `Retry-After`).
    RateLimited = 45, "RATE_LIMITED", 429, -32000, "too many calls";
    /// The result is above `sink_policy.response_max_sensitivity` and was withheld; the call has run.
    ResponseCeiling = 46, "RESPONSE_CEILING", 403, -32000, "result is too sensitive and was withheld (the call has run)";
    /// The kill switch is not enabled, or the identity is not in the state that this would change: see the message.
    KillSwitchState = 47, "KILL_SWITCH_STATE", 409, -32000, "kill switch cannot do this now";
    /// There is no inbound TLS (dev mode without `--tls`), or no `tls.public_name` in the configuration.
    TlsState = 48, "TLS_STATE", 409, -32000, "this gateway has no certificate for a public name";
    /// There is no secure connection to the tool server: another key or certificate than the catalog pins, one that no CA of
    /// `upstream.ca_roots` vouches for, or no TLS 1.3. Nothing was sent; the audit entry says what was expected and found.
    UpstreamTls = 49, "UPSTREAM_TLS", 502, -32000, "no secure connection to the tool server (nothing was sent)";
    /// The tool server wants a secret (`server.secret` in the catalog) that the operator has not provisioned since the start; nothing
    /// was sent. `cmcp-verify provision` brings it.
    SecretNotProvisioned = 50, "SECRET_NOT_PROVISIONED", 503, -32000, "tool server's secret has not been provisioned";
    /// `PUT /secrets/{name}` was not signed by `operator.public_key` for this boot, name, value, server and pin, or the catalog has no such
    /// secret, or the value cannot be shown as the catalog says: see the message. Nothing has changed.
    SecretRefused = 51, "SECRET_REFUSED", 403, -32000, "secret is refused";
    /// The identity has not called before, and all `limits.max_identities` places are taken by identities that hold sessions, labels, blocks or
    /// counted calls.
    IdentityLimit = 52, "IDENTITY_LIMIT", 503, -32000, "no room for another identity";
    /// The boot's evidence has outlived `attestation.validity_seconds`, and the hardware does not answer so that it could be renewed; the call was not
    /// forwarded. Calls go on by themselves once it answers (`attestation.staleness_policy: warn_only` lets them go on without).
    AttestationStale = 53, "ATTESTATION_STALE", 503, -32000, "evidence has outlived its validity";
    /// The hardware gave no evidence, or too many ask it at once; nothing else has changed. Ask again.
    AttestationFailed = 54, "ATTESTATION_FAILED", 503, -32000, "evidence could not be made";
}

impl Code {
    /// Number that crosses the boundary.
    pub fn number(self) -> u16 {
        self as u16
    }
}

/// The table in `docs/errors.md`.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Error codes\n\nMade from `enclave/src/error.rs`. In `POST /mcp` the code is `error.data.error_code` of a JSON-RPC \
         error; elsewhere it is\n`error.code` of a JSON body. A denied or failed call inside an MCP session (header \
         `Mcp-Session-Id` or `MCP-Protocol-Version`) is\nanswered with HTTP 200 and the same JSON-RPC error, because some \
         clients drop the whole session on any other status.\n\n| code | number | HTTP | JSON-RPC | meaning |\n|---|---|---|---|---|\n",
    );
    let rows = Code::ALL.iter().map(|code| {
        let (name, number, status) = (code.name(), code.number(), code.status().as_u16());
        format!("| {name} | {number} | {status} | {} |{} |\n", code.rpc(), code.explanation())
    });
    text.extend(rows);
    text
}

#[cfg(test)]
mod tests {
    use super::{Code, documentation};

    #[test]
    fn documentation_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, documentation()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, documentation(), "run UPDATE_DOCS=1 cargo test -p enclave documentation");
    }

    #[test]
    fn numbers_and_names_are_unique() {
        let mut numbers: Vec<_> = Code::ALL.iter().map(|code| code.number()).collect();
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (Code::ALL.len(), Code::ALL.len()));
    }
}
