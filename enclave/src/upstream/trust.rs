//! Which tool servers a gateway starts with: how each shows that it is the right one.

use wire::{BootRefusal, Document, RefusalCode};

use super::tls::{Roots, missing};
use crate::catalog::{Catalog, Place, Scheme, Server};
use crate::config::{Config, EnforcementMode};
use crate::document::{one_of, refusal};
use crate::evidence::DevMode;

/// The CAs of the configuration.
///
/// # Errors
/// They cannot be read; there are none, and a server with an https url has no pin either; `upstream.allow_unpinned` names nobody.
pub fn roots(config: &Config, catalog: &Catalog) -> Result<Roots, BootRefusal> {
    let roots = Roots::parse(config.upstream.ca_roots.as_deref())?;
    let unshown = |server: &&Server| is_https(server) && server.pin().is_none();
    if let Some(server) = catalog.servers().iter().find(unshown).filter(|_| roots.is_empty()) {
        return Err(missing(&server.display_name));
    }
    let mut allowed = config.upstream.allow_unpinned.iter().enumerate();
    let Some((place, name)) = allowed.find(|(_, name)| !names(catalog).any(|known| known == name.as_str())) else {
        return Ok(roots);
    };
    let mut known: Vec<&str> = names(catalog).collect();
    known.sort_unstable();
    known.dedup();
    let expected = format!("a server.display_name of the catalog: {}", one_of(&known));
    let field = format!("upstream.allow_unpinned[{place}]");
    Err(refusal(RefusalCode::InvalidValue, &Document::Config, &field, &format!("{name:?}"), &expected))
}

/// `enforcing` outside dev mode stands for tool servers that are what the catalog says, except those that the configuration names.
///
/// # Errors
/// A server that is neither pinned nor named.
pub fn admit(config: &Config, catalog: &Catalog, dev: Option<&DevMode>) -> Result<(), BootRefusal> {
    if dev.is_some() || config.attestation.enforcement_mode != EnforcementMode::Enforcing {
        return Ok(());
    }
    let allowed = |server: &Server| config.upstream.allow_unpinned.contains(&server.display_name);
    let Some(server) = catalog.servers().iter().find(|server| server.pin().is_none() && !allowed(server)) else {
        return Ok(());
    };
    let name = &server.display_name;
    let found = format!("nothing that pins {name} ({})", server.identity);
    let expected = format!(
        "in mode enforcing an https url with a tls_fingerprint that is no placeholder; or {name} among upstream.allow_unpinned of the \
         configuration, which every claim's config_hash then stands for"
    );
    Err(refusal(RefusalCode::Missing, &Document::Catalog, "server.tls_fingerprint", &found, &expected))
}

/// What an operator may have meant otherwise.
pub fn warnings(catalog: &Catalog) -> Vec<String> {
    let idle = catalog.servers().iter().filter(|server| server.has_idle_pin());
    idle.map(|server| {
        format!("catalog: {} has a tls_fingerprint, which pins nothing over plain http", server.display_name)
    })
    .collect()
}

fn names(catalog: &Catalog) -> impl Iterator<Item = &str> {
    catalog.tools().iter().map(|tool| tool.server.display_name.as_str())
}

fn is_https(server: &Server) -> bool {
    matches!(&server.place, Place::Remote(endpoint) if endpoint.scheme == Scheme::Https)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::RefusalCode;

    use super::{admit, roots, warnings};
    use crate::catalog::Catalog;
    use crate::config::{self, Config};

    const PIN: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
    const PLACEHOLDER: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn catalog(url: &str, pin: &str) -> Catalog {
        let mut catalog: Value =
            serde_json::from_str(include_str!("../../../policies/quickstart/catalog.json")).unwrap();
        catalog[0]["server"]["url"] = json!(url);
        catalog[0]["server"]["tls_fingerprint"] = json!(pin);
        catalog[0]["server"]["display_name"] = json!("CRM");
        Catalog::parse(catalog.to_string().as_bytes()).unwrap()
    }

    fn config(mode: &str, upstream: &Value) -> Config {
        let config = json!({
            "policy_bundle_path": "a", "catalog_path": "b", "attestation": {"enforcement_mode": mode}, "upstream": upstream,
        });
        config::parse(config.to_string().as_bytes()).unwrap().0
    }

    fn dev() -> crate::evidence::DevMode {
        crate::evidence::dev_mode()
    }

    #[test]
    fn enforcing_outside_dev_mode_wants_pins_or_names() {
        let none = json!({});
        for (url, pin, admitted) in [
            ("https://tools.example/mcp", PIN, true),
            ("https://tools.example/mcp", PLACEHOLDER, false),
            ("http://tools.example/mcp", PIN, false),
            ("http://tools.example/mcp", PLACEHOLDER, false),
        ] {
            let catalog = catalog(url, pin);
            let refused = admit(&config("enforcing", &none), &catalog, None);
            assert_eq!(refused.is_ok(), admitted, "{url} {pin}");
            if let Err(refused) = refused {
                assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::Missing, "server.tls_fingerprint"));
                assert!(refused.found.0.contains("CRM") && refused.expected.0.contains("upstream.allow_unpinned"));
            }
            assert!(admit(&config("enforcing", &json!({"allow_unpinned": ["CRM"]})), &catalog, None).is_ok());
            assert!(
                admit(&config("enforcing", &json!({"allow_unpinned": ["CRM2"]})), &catalog, None).is_ok() == admitted
            );
            assert!(admit(&config("advisory", &none), &catalog, None).is_ok());
            assert!(admit(&config("enforcing", &none), &catalog, Some(&dev())).is_ok());
        }
    }

    #[test]
    fn https_without_a_pin_needs_a_ca() {
        let config = config("advisory", &json!({}));
        assert!(roots(&config, &catalog("https://tools.example/mcp", PIN)).is_ok());
        let refused = roots(&config, &catalog("https://tools.example/mcp", PLACEHOLDER)).unwrap_err();
        assert_eq!((refused.code, refused.field.0.as_str()), (RefusalCode::Missing, "upstream.ca_roots"));
        assert!(refused.found.0.contains("CRM") && refused.expected.0.contains("tls_fingerprint"), "{refused:?}");
    }

    #[test]
    fn a_name_that_is_nobody_s_is_refused() {
        let config = config("advisory", &json!({"allow_unpinned": ["CRM", "crm"]}));
        let refused = roots(&config, &catalog("http://tools.example/mcp", PLACEHOLDER)).unwrap_err();
        assert_eq!(refused.field.0, "upstream.allow_unpinned[1]");
        assert_eq!(refused.expected.0, "a server.display_name of the catalog: CRM");
    }

    #[test]
    fn a_pin_that_pins_nothing_is_pointed_out() {
        assert_eq!(warnings(&catalog("http://tools.example/mcp", PIN)).len(), 1);
        assert!(warnings(&catalog("http://tools.example/mcp", PLACEHOLDER)).is_empty());
        assert!(warnings(&catalog("https://tools.example/mcp", PIN)).is_empty());
    }
}
