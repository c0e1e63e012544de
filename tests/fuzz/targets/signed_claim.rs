//! Claims from strangers: no panic; whatever verifies survives a change of formatting.
#![no_main]

use claim::gateway::SignedClaim;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = SignedClaim::parse(bytes)
        && signed.verify_self().is_ok()
    {
        let again = SignedClaim::parse(&signed.bytes()).expect("its own bytes parse");
        assert!(again.verify_self().is_ok());
        assert_eq!(again.hash(), signed.hash());
    }
});
