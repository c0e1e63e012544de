//! What the gateway says of itself as a protected resource (RFC 9728): where tokens for it come from.

use claim::json::Json;
use hyper::Uri;
use wire::{BootRefusal, Document, RefusalCode};

use crate::config::{Auth, invalid};
use crate::document::refusal;

/// Path of the metadata; that of the resource may follow.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Where the gateway serves MCP.
const ENDPOINT: &str = "/mcp";
/// Authorization servers of one gateway.
const MAX_SERVERS: usize = 8;
/// Longest URL in bytes.
const LONGEST_URL: usize = 512;

/// The metadata, and where it is.
#[derive(Debug)]
pub struct Resource {
    /// The document, JSON.
    pub metadata: String,
    /// Its URL, for `WWW-Authenticate`.
    pub url: String,
}

impl Resource {
    /// As configured; nothing without `auth.resource`.
    ///
    /// # Errors
    /// URLs that agents could not use.
    pub fn of(auth: &Auth) -> Result<Option<Self>, BootRefusal> {
        let Some(resource) = &auth.resource else {
            let lone = auth.authorization_servers.first().map(|_| "auth.authorization_servers alone");
            let expected = "the URL of this gateway's /mcp, which the servers issue tokens for";
            return lone.map_or(Ok(None), |lone| {
                Err(refusal(RefusalCode::Missing, &Document::Config, "auth.resource", lone, expected))
            });
        };
        let uri = url("auth.resource", resource)?;
        let path = uri.path().trim_end_matches('/');
        if !["", ENDPOINT].contains(&path) {
            return Err(invalid(
                "auth.resource",
                resource,
                "https://NAME/mcp: the gateway serves MCP at no other path",
            ));
        }
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Ok(None) };
        Ok(Some(Self {
            metadata: Json::from([
                ("resource", Json::from(resource.as_str())),
                ("authorization_servers", Json::Array(servers(auth)?)),
                ("bearer_methods_supported", Json::Array(vec![Json::from("header")])),
            ])
            .sorted_ascii(),
            url: format!("{scheme}://{authority}{WELL_KNOWN}{path}"),
        }))
    }
}

fn servers(auth: &Auth) -> Result<Vec<Json>, BootRefusal> {
    const FIELD: &str = "auth.authorization_servers";
    let servers = match (auth.authorization_servers.as_slice(), &auth.jwt) {
        ([], Some(jwt)) => std::slice::from_ref(&jwt.issuer),
        ([], None) => {
            let expected = "the issuers of tokens for auth.resource; agents have nowhere to go without";
            return Err(refusal(RefusalCode::Missing, &Document::Config, FIELD, "nothing", expected));
        }
        (named, _) => named,
    };
    if servers.len() > MAX_SERVERS {
        return Err(invalid(FIELD, &servers.len().to_string(), &format!("at most {MAX_SERVERS}")));
    }
    let checked = servers.iter().map(|server| url(FIELD, server).map(|_| Json::from(server.as_str())));
    checked.collect()
}

/// An https URL without query and fragment (RFC 9728 section 1.2, RFC 8414 section 2); plain http on this machine.
fn url(field: &str, text: &str) -> Result<Uri, BootRefusal> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\<>^`{|}#?".contains(&byte);
    let uri = text.parse::<Uri>().ok().filter(|_| text.len() <= LONGEST_URL && text.bytes().all(plain));
    let local = |host: &str| ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    uri.filter(|uri| match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => local(host),
        _ => false,
    })
    .ok_or_else(|| invalid(field, &format!("{text:?}"), "an https URL without query and fragment"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Resource;
    use crate::config::Auth;

    fn resource(auth: Value) -> Result<Option<Resource>, String> {
        let auth: Auth = serde_json::from_value(auth).unwrap();
        Resource::of(&auth).map_err(|refused| format!("{}: {}", refused.field.0, refused.expected.0))
    }

    fn with(url: &str) -> Value {
        json!({"resource": url, "authorization_servers": ["https://login.bank.example/realms/agents"]})
    }

    #[test]
    fn metadata_stand_where_rfc_9728_looks_for_them() {
        for (url, at) in [
            (
                "https://gateway.bank.example/mcp",
                "https://gateway.bank.example/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://gateway.bank.example:8443",
                "https://gateway.bank.example:8443/.well-known/oauth-protected-resource",
            ),
            ("http://127.0.0.1:8443/mcp", "http://127.0.0.1:8443/.well-known/oauth-protected-resource/mcp"),
        ] {
            let resource = resource(with(url)).unwrap().unwrap();
            assert_eq!(resource.url, at);
            let metadata: Value = serde_json::from_str(&resource.metadata).unwrap();
            assert_eq!(
                metadata,
                json!({"resource": url, "bearer_methods_supported": ["header"],
                       "authorization_servers": ["https://login.bank.example/realms/agents"]})
            );
        }
        assert!(resource(json!({})).unwrap().is_none());
    }

    #[test]
    fn urls_that_mislead_are_refused() {
        for url in [
            "gateway.bank.example/mcp",
            "http://gateway.bank.example/mcp",
            "https:///mcp",
            "https://gateway.bank.example/mcp?a=b",
            "https://gateway.bank.example/mcp#a",
            "https://gateway.bank.example/other",
            "https://gateway.bank.example/m\"cp",
            "https://gateway.bank.example/mcp\r\nX: y",
            "ftp://127.0.0.1/mcp",
        ] {
            assert!(resource(with(url)).unwrap_err().starts_with("auth.resource: "), "{url}");
        }
        for auth in [
            json!({"resource": "https://gateway.bank.example/mcp"}),
            json!({"resource": "https://gateway.bank.example/mcp", "authorization_servers": ["http://login.example"]}),
            json!({"resource": "https://gateway.bank.example/mcp", "authorization_servers": vec!["https://a.example"; 9]}),
        ] {
            assert!(resource(auth.clone()).unwrap_err().starts_with("auth.authorization_servers: "), "{auth}");
        }
        let lone = resource(json!({"authorization_servers": ["https://login.example"]})).unwrap_err();
        assert!(lone.starts_with("auth.resource: "), "{lone}");
    }
}
