//! The strict parser: no panic, and the canonical form parses to the same value and is its own canonical form.
#![no_main]

use claim::json::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = parse(bytes) {
        let canonical = value.sorted_ascii();
        let again = parse(canonical.as_bytes()).expect("the canonical form is JSON");
        assert_eq!(again.sorted_ascii(), canonical);
        let _ = value.jcs();
        let _ = value.require_signable();
    }
});
