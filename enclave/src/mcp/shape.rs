//! What the modern era requires in a result, where a server of another era left it out.

use super::era::Era;
use super::receipt::Clean;

/// Methods whose results say how long they may be kept (MCP 2026-07-28, "Caching").
const CACHEABLE: [&str; 5] =
    ["tools/list", "resources/list", "resources/templates/list", "resources/read", "prompts/list"];

/// The members that the result lacks.
pub(super) fn missing(era: Era, method: &str, result: &Clean<'_>) -> Vec<(&'static str, &'static str)> {
    if era != Era::Modern {
        return Vec::new();
    }
    let mut members = vec![("resultType", "\"complete\"")];
    if CACHEABLE.contains(&method) {
        members.extend([("ttlMs", "0"), ("cacheScope", "\"private\"")]);
    }
    members.retain(|(name, _)| !result.has(name));
    members
}
