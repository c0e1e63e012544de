//! What is signed is used for what it was signed for, and for nothing else.

use claim::bootlog::BootId;
use claim::operator::{OperatorKey, ProvisionOrder};
use claim::{Digest, b64u};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use wire::RefusalCode;

use super::{Order, Refusal, Secrets, check};
use crate::catalog::Catalog;
use crate::config;

const PIN: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
const PLACEHOLDER: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const URL: &str = "https://crm.example/mcp";
const BOOT: BootId = BootId([7; 16]);

fn entry(name: &str, url: &str, pin: &str, secret: &Value) -> Value {
    let mut catalog: Value = serde_json::from_str(include_str!("../../../policies/quickstart/catalog.json")).unwrap();
    let mut entry = catalog[0].take();
    entry["tool_name"] = json!(name);
    entry["server"]["url"] = json!(url);
    entry["server"]["tls_fingerprint"] = json!(pin);
    entry["server"]["secret"] = secret.clone();
    entry
}

fn catalog(entries: &[Value]) -> Result<Catalog, wire::BootRefusal> {
    Catalog::parse(json!(entries).to_string().as_bytes())
}

fn bearer() -> Value {
    json!({"name": "crm", "use": "bearer"})
}

fn key() -> OperatorKey {
    OperatorKey::from_seed([1; 32])
}

/// A body for this value, signed for this.
fn body(value: &[u8], boot_id: BootId, name: &str, server: &str, pin: &str) -> Value {
    let order = ProvisionOrder {
        boot_id,
        name: name.to_owned(),
        value_sha256: Digest::of(value),
        server: server.to_owned(),
        pin: pin.to_owned(),
    };
    let signature = key().sign_provision(&order);
    json!({"value": b64u::encode(value), "server": server, "pin": pin, "signature": signature})
}

/// What a server is shown after this order.
fn take(catalog: &Catalog, name: &str, body: &Value) -> Result<Vec<Option<String>>, Refusal> {
    let secrets = Secrets::of(catalog);
    let order = Order::parse(body.to_string().as_bytes()).unwrap();
    secrets.admit(catalog, BOOT, Some(&key().public()), name, &order)?.put();
    let shown = |server| {
        let field = secrets.slot(server)?.with_field(|field| field.map(|(name, value)| format!("{name}: {value}")))?;
        Some(field.unwrap_or_default())
    };
    Ok((0..catalog.servers().len()).map(shown).collect())
}

#[test]
fn the_signature_says_which_server_and_nothing_else_does() {
    let two = [entry("a", URL, PIN, &bearer()), entry("b", "https://other.example/mcp", PIN, &bearer())];
    let catalog = catalog(&two).unwrap();
    let good = body(b"t0ken", BOOT, "crm", URL, PIN);
    let shown = vec![Some("authorization: Bearer t0ken".to_owned()), None];
    assert_eq!(
        take(&catalog, "crm", &good),
        Ok(shown),
        "the other server has a secret of the same name, and not this one"
    );

    let changed = |member: &str, value: &str| {
        let mut body = good.clone();
        body[member] = json!(value);
        take(&catalog, "crm", &body)
    };
    let unsigned = Err(Refusal::Signature(BOOT));
    assert_eq!(changed("value", &b64u::encode(b"t1ken")), unsigned);
    assert_eq!(changed("server", "https://other.example/mcp"), unsigned);
    assert_eq!(changed("pin", ""), unsigned);
    assert_eq!(changed("signature", &b64u::encode(&[0; 64])), unsigned);
    assert_eq!(take(&catalog, "crm2", &good), unsigned, "another name in the path");
    assert_eq!(take(&catalog, "crm", &body(b"t0ken", BootId([8; 16]), "crm", URL, PIN)), unsigned, "another boot");

    for (server, pin) in [("https://crm.example/", PIN), ("http://crm.example/mcp", PIN), (URL, ""), (URL, PLACEHOLDER)]
    {
        assert_eq!(
            take(&catalog, "crm", &body(b"t0ken", BOOT, "crm", server, pin)),
            Err(Refusal::Server),
            "{server} {pin}"
        );
    }
    assert_eq!(take(&catalog, "crm2", &body(b"t0ken", BOOT, "crm2", URL, PIN)), Err(Refusal::Name));

    let order = Order::parse(good.to_string().as_bytes()).unwrap();
    let secrets = Secrets::of(&catalog);
    assert_eq!(secrets.admit(&catalog, BOOT, None, "crm", &order).err(), Some(Refusal::NoKey));
    let stranger = OperatorKey::from_seed([2; 32]).public();
    assert_eq!(secrets.admit(&catalog, BOOT, Some(&stranger), "crm", &order).err(), Some(Refusal::Signature(BOOT)));
    assert!(secrets.slot(0).unwrap().with_field(|_| ()).is_none(), "refused, not taken");
}

#[test]
fn no_pin_is_signed_as_none() {
    let catalog = catalog(&[entry("a", URL, PLACEHOLDER, &bearer())]).unwrap();
    for pin in ["", PLACEHOLDER] {
        assert!(take(&catalog, "crm", &body(b"t", BOOT, "crm", URL, pin)).is_ok());
    }
    assert_eq!(take(&catalog, "crm", &body(b"t", BOOT, "crm", URL, PIN)), Err(Refusal::Server));
    assert_eq!(take(&catalog, "crm", &body(b"t", BOOT, "crm", URL, "none")), Err(Refusal::Server));
}

#[test]
fn a_value_is_shown_as_the_catalog_says_or_refused() {
    let header = json!({"name": "crm", "use": "header", "header": "X-Api-Key"});
    let refused = |shown: &Value, value: &[u8]| {
        let catalog = catalog(&[entry("a", URL, PIN, shown)]).unwrap();
        match take(&catalog, "crm", &body(value, BOOT, "crm", URL, PIN)) {
            Ok(shown) => Ok(shown[0].clone().unwrap()),
            Err(Refusal::Value(expected)) => Err(expected),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refused(&header, b"a b"), Ok("x-api-key: a b".to_owned()));
    assert_eq!(refused(&bearer(), b"a.b~c="), Ok("authorization: Bearer a.b~c=".to_owned()));
    for value in [&b""[..], b"a\n", b"a\r\nx: y", b"a b", b" a", b"\xff", b"\0", &[b'a'; 9000]] {
        assert!(refused(&bearer(), value).is_err(), "{value:?}");
        assert!(refused(&header, value).is_err() || value == b"a b", "{value:?}");
    }
    let certificate = json!({"name": "crm", "use": "client-certificate"});
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = |key: &KeyPair| {
        let block = |label: &str, der: &[u8]| {
            use base64ct::{Base64, Encoding};
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(der))
        };
        block("CERTIFICATE", leaf.der()) + &block("PRIVATE KEY", &key.serialize_der())
    };
    assert_eq!(refused(&certificate, pem(&key).as_bytes()), Ok(String::new()));
    assert!(refused(&certificate, pem(&other).as_bytes()).unwrap_err().contains("another's"));
    for value in ["", "t0ken", &pem(&key)[..200]] {
        assert!(refused(&certificate, value.as_bytes()).is_err(), "{value}");
    }
}

#[test]
fn orders_that_are_none_are_not_repeated() {
    let good = body(b"t0ken", BOOT, "crm", URL, PIN);
    let mut more = good.clone();
    more["name"] = json!("crm");
    let mut padded = good.clone();
    padded["value"] = json!("dDBrZW4=");
    for wrong in [json!({}), json!([]), more, padded, json!({"value": 1})] {
        let error = Order::parse(wrong.to_string().as_bytes()).err().expect("refused");
        assert!(!error.to_string().contains("dDBrZW4"), "{error}");
    }
    assert!(Order::parse(b"{").is_err());
}

#[test]
fn the_catalog_says_nothing_that_would_give_a_secret_away() {
    use RefusalCode::{InvalidValue, Missing, UnknownKey};
    let refused = |url: &str, secret: &Value| {
        let refused = catalog(&[entry("a", url, PIN, secret)]).unwrap_err();
        (refused.code, refused.field.0)
    };
    let at = |code, field: &str| (code, format!("[0].server.secret{field}"));
    assert_eq!(refused("http://crm.example/mcp", &bearer()), at(InvalidValue, ".name"));
    for (secret, code, field) in [
        (json!({"name": "crm"}), Missing, ".use"),
        (json!({"name": "", "use": "bearer"}), InvalidValue, ".name"),
        (json!({"name": "a/b", "use": "bearer"}), InvalidValue, ".name"),
        (json!({"name": "crm", "use": "query"}), InvalidValue, ".use"),
        (json!({"name": "crm", "use": "bearer", "value": "x"}), UnknownKey, ".value"),
        (json!({"name": "crm", "use": "bearer", "header": "X"}), InvalidValue, ".header"),
        (json!({"name": "crm", "use": "header"}), InvalidValue, ".header"),
    ] {
        assert_eq!(refused(URL, &secret), at(code, field), "{secret}");
    }
    for header in
        ["Host", "content-length", "Transfer-Encoding", "Mcp-Session-Id", "mcp-param-x", "traceparent", "a b", ""]
    {
        let secret = json!({"name": "crm", "use": "header", "header": header});
        assert_eq!(refused(URL, &secret), at(InvalidValue, ".header"), "{header}");
    }
    let two = [entry("a", URL, PIN, &bearer()), entry("b", URL, PIN, &json!({"name": "b", "use": "bearer"}))];
    assert_eq!(catalog(&two).unwrap_err().field.0, "b.server.secret");
}

#[test]
fn a_catalog_with_secrets_needs_an_operator() {
    let catalog = catalog(&[entry("a", URL, PIN, &bearer())]).unwrap();
    let checked = |operator: &Value| {
        let config = json!({"policy_bundle_path": "a", "catalog_path": "b", "operator": operator}).to_string();
        check(&config::parse(config.as_bytes()).unwrap().0, &catalog).map_err(|refused| refused.field.0)
    };
    let (key, token) = (key().public().x(), Digest::of("a").prefixed());
    assert_eq!(checked(&json!({"public_key": key, "token_sha256": token})), Ok(()));
    assert_eq!(checked(&json!({"token_sha256": token})), Err("operator.public_key".to_owned()));
    assert_eq!(checked(&json!({"public_key": key})), Err("operator.token_sha256".to_owned()));
}
