//! Results of tool servers under the bank's inspection: no panic; what is taken out leaves JSON, and nothing else changes.
#![no_main]

use std::sync::LazyLock;

use enclave::catalog::Catalog;
use enclave::policy::Policy;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wire::{Blob, PolicyFile};

const BUNDLE: [(&str, &[u8]); 3] = [
    ("manifest.json", include_bytes!("../../../policies/bfsi/policies/manifest.json")),
    ("bank.cedar", include_bytes!("../../../policies/bfsi/policies/bank.cedar")),
    ("schema.cedarschema", include_bytes!("../../../policies/bfsi/policies/schema.cedarschema")),
];

static LOADED: LazyLock<(Catalog, Policy)> = LazyLock::new(|| {
    let catalog = Catalog::parse(include_bytes!("../../../policies/bfsi/catalog.json")).expect("the bank's catalog");
    let files = BUNDLE.map(|(path, bytes)| PolicyFile { path: path.into(), bytes: Blob(bytes.to_vec()) });
    let policy = Policy::load(&files, &catalog).expect("the bank's policies");
    (catalog, policy)
});

fuzz_target!(|text: &str| {
    let (catalog, policy) = &*LOADED;
    let inspection = policy.inspection().expect("the bank inspects");
    let _ = inspection.see(text);
    let Ok(before) = serde_json::from_str::<Value>(text) else { return };
    for tool in catalog.tools() {
        let held = inspection.result(tool, text);
        let Some((without, surplus)) = held.without_surplus else { continue };
        let after: Value = serde_json::from_str(&without).expect("a result without surplus is JSON");
        assert!(surplus > 0);
        for (key, value) in before.as_object().expect("only objects lose members") {
            assert!(["content", "structuredContent"].contains(&key.as_str()) || after[key] == *value);
        }
        assert_eq!(inspection.result(tool, &without).without_surplus, None, "nothing is left to take out");
    }
});
