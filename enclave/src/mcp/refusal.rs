//! How the agent hears that a request was refused.

use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::value::RawValue;

use super::call::Refusal;
use super::envelope::{self, Problem};
use super::members::{push_member, push_string, push_text};
use super::receipt::{self, Place};
use crate::error::Code;
use crate::gateway::Gateway;
use crate::http::{self, Body};
use crate::identity::{Access, Denied};

/// A request that was not admitted.
pub(super) fn refuse(problem: &Problem, id: Option<&RawValue>) -> Response<Body> {
    let mut message = String::new();
    push_string(&mut message, &format!("{}: {}", problem.code.message(), problem.detail));
    let mut data = String::from("{");
    push_text(&mut data, "error_code", problem.code.name());
    for (name, value) in &problem.data {
        push_member(&mut data, name, value);
    }
    data.push('}');
    let error = format!("{{\"code\":{},\"message\":{message},\"data\":{data}}}", problem.code.rpc());
    http::error(problem.code, problem.code.status(), envelope::failure(id, &error))
}

/// A request whose body was not read.
pub fn refuse_request(code: Code) -> Response<Body> {
    refuse(&Problem::new(code, "nothing was forwarded"), None)
}

/// A caller that was turned away.
pub fn refuse_caller(access: &Access, denied: Denied) -> Response<Body> {
    http::challenged(access.challenge(denied), refuse(&Problem::new(denied.code(), denied.detail()), None))
}

/// A call that was refused. MCP clients get HTTP 200: some drop the whole session on any other status.
pub(super) fn refused_call(gateway: &Gateway, refusal: &Refusal, place: Place, id: &RawValue) -> Response<Body> {
    let mut data = String::from("{");
    push_text(&mut data, "error_code", refusal.code.name());
    if let Some(call_id) = &refusal.call_id {
        push_text(&mut data, "call_id", call_id);
    }
    if let Some(decision) = refusal.decision {
        push_text(&mut data, "decision", decision.as_str());
    }
    if let Some(detail) = &refusal.detail {
        push_text(&mut data, "detail", detail);
    }
    if let Some((entry, batch)) = &refusal.recorded {
        push_text(&mut data, "audit_entry_hash", &entry.hex());
        push_text(&mut data, "boot_id", &gateway.boot.id_hex);
        push_member(&mut data, "batch", &batch.to_string());
    }
    if let Some(wait) = refusal.retry_after_ms {
        push_member(&mut data, "retry_after_ms", &wait.to_string());
    }
    if !refusal.advice.is_empty() {
        push_member(&mut data, "advice", &receipt::advice(&refusal.advice));
    }
    data.push('}');
    let error =
        format!("{{\"code\":{},\"message\":\"{}\",\"data\":{data}}}", refusal.code.rpc(), refusal.code.message());
    let status = match place {
        Place::Seed => refusal.code.status(),
        Place::Meta => StatusCode::OK,
    };
    let mut response = http::error(refusal.code, status, envelope::failure(Some(id), &error));
    if let Some(wait) = refusal.retry_after_ms.filter(|_| status == refusal.code.status()) {
        let seconds = wait.get().div_ceil(1000).to_string();
        response.headers_mut().extend(HeaderValue::from_str(&seconds).map(|seconds| (RETRY_AFTER, seconds)));
    }
    response
}
