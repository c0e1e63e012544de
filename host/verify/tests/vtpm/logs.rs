//! Event logs.

use verify::evidence::event_log::{EventLog, LogError, boot_applications, replay};

use crate::machine::{Event, NO_ACTION, SHA1, SHA256, SHA384, boot, event, event_bytes, header, locality, log};

#[test]
fn logs_are_read_to_their_end_or_not_at_all() {
    let bytes = log(&boot());
    let mut ends = vec![header(&[(SHA256, 32), (SHA384, 48)]).len()];
    for event in boot() {
        ends.push(ends.last().unwrap() + event_bytes(&event).len());
    }
    for length in 0..bytes.len() {
        assert_eq!(EventLog::parse(&bytes[..length]).is_ok(), ends.contains(&length), "cut at {length}");
    }
    for padding in [0, 0xff] {
        let padded = [bytes.as_slice(), &[padding; 64]].concat();
        assert_eq!(replay(&padded), replay(&bytes));
    }
    assert!(EventLog::parse(&[bytes.as_slice(), &[0, 0xff]].concat()).is_err(), "neither padding nor event");
    // Sizes that do not fit: of the header's event, of its vendor's data, of an event's digests and data.
    let first = ends[0];
    for at in [28, first - 1, first + 8, first + 12 + 34 + 50] {
        for size in [0xff_u8, 0x7f] {
            let mut wrong = bytes.clone();
            wrong[at] = size;
            assert!(EventLog::parse(&wrong).is_err(), "size {size:#x} at {at}");
        }
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let with = |algorithms: &[(u16, u16)]| EventLog::parse(&header(algorithms)).map(|log| log.banks);
    assert_eq!(with(&[(SHA1, 20), (SHA256, 32)]), Ok(vec![SHA1, SHA256]));
    assert_eq!(with(&[(0x99, 7)]), Ok(vec![0x99]), "a bank that is not known is skipped by its size");
    for wrong in [&[][..], &[(SHA256, 20)], &[(SHA256, 32), (SHA256, 32)], &[(0x99, 7); 2], &[(SHA256, 32); 17]] {
        assert!(matches!(with(wrong), Err(LogError::Header(_))), "{wrong:?}");
    }
    let mut old = header(&[(SHA1, 20)]);
    old[4] = 8;
    assert_eq!(EventLog::parse(&old), Err(LogError::NotAgile));
}

#[test]
fn the_startup_locality_is_told_once_and_first() {
    let good = [&[locality(3)][..], &boot()].concat();
    let [plain, started] = [log(&boot()), log(&good)].map(|bytes| replay(&bytes).unwrap());
    assert_ne!(plain.sha256[&0], started.sha256[&0]);
    assert_eq!(plain.sha256[&4], started.sha256[&4], "it is of PCR 0 alone");
    let late = [&boot()[..], &[locality(3)]].concat();
    let elsewhere = Event { register: 1, ..locality(3) };
    let long = Event { data: [&locality(3).data[..], &[0]].concat(), ..locality(3) };
    for (events, name) in [
        (vec![locality(3), locality(3)], "twice"),
        (late, "late"),
        (vec![elsewhere], "for PCR 1"),
        (vec![locality(1)], "a locality that starts no TPM"),
        (vec![long], "a longer event"),
    ] {
        assert!(matches!(replay(&log(&events)), Err(LogError::Event { .. })), "{name}");
    }
}

#[test]
fn events_are_extended_only_if_they_say_so_and_where_they_may() {
    let ignored = Event { register: 4, kind: NO_ACTION, hashed: Vec::new(), data: b"not extended".to_vec() };
    let with = [&boot()[..], std::slice::from_ref(&ignored)].concat();
    assert_eq!(replay(&log(&with)), replay(&log(&boot())));
    assert_eq!(boot_applications(&EventLog::parse(&log(&with)).unwrap()).unwrap().len(), 2);
    let nowhere = Event { register: u32::MAX, ..ignored };
    assert!(EventLog::parse(&log(&[nowhere])).is_ok());
    assert!(EventLog::parse(&log(&[event(24, 8, b"x")])).is_err());
    assert!(EventLog::parse(&log(&[event(u32::MAX, 8, b"x")])).is_err());
}
