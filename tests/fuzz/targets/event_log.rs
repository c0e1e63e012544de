//! Event logs: no panic, only registers of events are extended, and padding changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::evidence::event_log::{EventLog, boot_applications, kind_name};

fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = EventLog::parse(bytes) else { return };
    let replay = log.replay();
    let named = |register: &u32| log.events.iter().any(|event| event.register == *register && *register < 24);
    assert!(replay.sha256.keys().chain(replay.sha384.keys()).all(named));
    assert!(log.events.iter().all(|event| !kind_name(event.kind).is_empty()));
    let applications = boot_applications(&log).unwrap_or_default();
    assert!(applications.len() <= log.events.len());
    let padded = [bytes, &[0xff; 64]].concat();
    if bytes.last().is_some_and(|last| *last != 0) {
        assert_eq!(EventLog::parse(&padded).map(|log| log.replay()), Ok(replay));
    }
});
