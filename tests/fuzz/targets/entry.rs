//! Audit entries: no panic; what a reader accepts as the first of a chain has the hash that it says.
#![no_main]

use claim::entry::{Chain, Entry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = claim::json::parse(bytes)
        && let Ok(entry) = Entry::parse(&value)
    {
        let mut chain = Chain::default();
        if chain.accept(&entry).is_ok() {
            let hash = claim::Digest::of(value.without("entry_hash").sorted_ascii());
            assert_eq!(value.get("entry_hash").and_then(claim::json::Json::as_str), Some(hash.hex().as_str()));
        }
    }
});
