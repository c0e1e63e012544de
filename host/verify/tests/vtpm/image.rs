//! PCRs of an approved image.

use claim::Digest;
use verify::evidence::tpm::pcrs::{self, PcrPolicy};
use verify::evidence::{Answer, Question, Report};
use verify::references::Image;

use crate::machine::{ACTION, CALLING, Event, RETURNING, SEPARATOR, boot, event, log, started};
use crate::{accepted, refused, values};

/// The image of [`boot`].
fn image(applications: &[&[u8]]) -> Image {
    let value = |index: usize| (index.to_string(), Digest::from_bytes(values()[index]));
    Image::Pcrs { pcrs: [4, 9, 11].map(value).into(), boot_applications: applications.iter().map(Digest::of).collect() }
}

fn booted(events: &[Event], images: Option<&[Image]>, log: Option<&[u8]>) -> Report {
    let mut report = Report::default();
    pcrs::appraise(&crate::machine::pcrs(events), &PcrPolicy { images, event_log: log }, &mut report);
    report
}

#[test]
fn an_approved_image_is_known_by_its_pcrs_and_nothing_may_be_added() {
    let images = [Image::Software { artifact: Digest::of(b"x") }, image(&[])];
    accepted(&booted(&boot(), Some(&images), None), "as approved");
    for register in [4, 9, 11] {
        let mut events = boot();
        events.push(event(register, 0xd, b"more"));
        refused(&booted(&events, Some(&images), None), "PCR_IMAGE_NOT_APPROVED", "another image");
    }
    for register in [12, 13, 14] {
        let mut events = boot();
        events.push(event(register, 0xd, b"override"));
        refused(&booted(&events, Some(&images), None), "PCR_NOT_ZERO", "an override");
    }
    for register in [0, 1, 5, 7, 8, 10, 15, 16, 23] {
        let mut events = boot();
        events.push(event(register, 0xd, b"anything"));
        accepted(&booted(&events, Some(&images), None), "PCRs that are not the image's");
    }
    refused(&booted(&boot(), Some(&images[..1]), None), "PCR_IMAGE_NOT_APPROVED", "no image of PCRs");
    assert_eq!(booted(&boot(), None, None).answer(Question::Ours), Answer::Open);
}

type Change<'a> = &'a dyn Fn(&mut Vec<Event>);

#[test]
fn pcr_4_may_differ_if_the_log_shows_the_same_programs() {
    let images = [image(&[b"uki", b"linux"])];
    let retried = || {
        let mut events = boot();
        events.splice(3..3, [event(4, ACTION, RETURNING), event(4, ACTION, CALLING)]);
        events
    };
    let by_log = |events: &[Event]| booted(events, Some(&images), Some(&log(events)));
    accepted(&booted(&boot(), Some(&images), None), "the usual value needs no log");
    accepted(&by_log(&retried()), "another boot option was tried first");
    assert_eq!(booted(&retried(), Some(&images), None).answer(Question::Ours), Answer::Open, "the log is missing");
    let raw = booted(&retried(), Some(&[image(&[])]), Some(&log(&retried())));
    refused(&raw, "PCR_IMAGE_NOT_APPROVED", "an image that is known by PCR 4 alone");

    let changed = |change: &dyn Fn(&mut Vec<Event>)| {
        let mut events = retried();
        change(&mut events);
        by_log(&events)
    };
    let hidden = Event { hashed: b"evil".to_vec(), ..event(4, ACTION, CALLING) };
    let unusual = event(4, 0xd, b"another type");
    let cases: [(&str, Change<'_>); 9] = [
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.insert(3, started(b"evil"))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.push(started(b"linux"))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| drop(events.remove(6))),
        ("LOG_APPLICATIONS_NOT_APPROVED", &|events| events.swap(5, 6)),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(hidden.clone())),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(event(4, ACTION, b"Calling something else"))),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(unusual.clone())),
        ("LOG_BOOT_EVENT_UNKNOWN", &|events| events.push(event(4, SEPARATOR, &[0; 4]))),
        ("PCR_IMAGE_NOT_APPROVED", &|events| events.push(event(9, 0xd, b"another command line"))),
    ];
    for (index, (reason, change)) in cases.iter().enumerate() {
        refused(&changed(change), reason, &format!("case {index}"));
    }
}

#[test]
fn a_log_counts_only_as_its_replay() {
    let images = [image(&[b"uki", b"linux"])];
    let mut retried = boot();
    retried.splice(3..3, [event(4, ACTION, RETURNING), event(4, ACTION, CALLING)]);
    let with = |log: &[u8]| booted(&retried, Some(&images), Some(log));
    refused(&with(&log(&boot())), "LOG_REPLAY_MISMATCH", "of another boot");
    refused(&with(&log(&[])), "LOG_REPLAY_MISMATCH", "empty");
    let mut other = retried.clone();
    other[0] = event(0, 8, b"other firmware");
    refused(&with(&log(&other)), "LOG_REPLAY_MISMATCH", "of other firmware");
    refused(&with(b"no log"), "LOG_MALFORMED", "no log");
    // Unlike IMA's and the gateway's own, which go on after the boot.
    let mut later = retried.clone();
    later.extend([event(10, 0xd, b"boot_aggregate"), event(15, 0xd, b"settings")]);
    accepted(&booted(&later, Some(&images), Some(&log(&retried))), "later extensions");
}
