//! Every message type, from bytes: no panic, and what decodes encodes to bytes that decode to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    Append, AppendAnswer, ControlEvent, ControlRequest, EnclaveOpen, HostOpen, Message, OpenAnswer, RecallItem,
    Spawned, StorePosition,
};

fn check<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = wire::blocking::read::<M>(&mut &*bytes) {
        let mut frame = Vec::new();
        wire::blocking::write(&mut frame, &message).expect("what decodes encodes");
        assert_eq!(wire::blocking::read::<M>(&mut frame.as_slice()).expect("it reads back"), message);
    }
}

fuzz_target!(|bytes: &[u8]| {
    check::<HostOpen>(bytes);
    check::<EnclaveOpen>(bytes);
    check::<OpenAnswer>(bytes);
    check::<ControlRequest>(bytes);
    check::<ControlEvent>(bytes);
    check::<StorePosition>(bytes);
    check::<Append>(bytes);
    check::<AppendAnswer>(bytes);
    check::<RecallItem>(bytes);
    check::<Spawned>(bytes);
});
