//! A TPM that lies: each lie has its name, and none makes the reader panic, wait for ever or make room by what it says.
//! What real commands and answers look like is for the tests against swtpm (`tests/tests/attesters`).

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use claim::Digest;
use proptest::prelude::*;

use super::device::Device;
use super::{AttestFailure, Command, NvIndex, Tpm, attested, digest_of};
use crate::limits;

/// A TPM that gives these answers, one to each command, and then closes.
fn saying(answers: Vec<Vec<u8>>) -> Tpm {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        for answer in answers {
            if theirs.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let _ = theirs.write_all(&answer);
            }
        }
    });
    Tpm(Device::over(ours))
}

fn answer(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(body.len() + 10).unwrap().to_be_bytes());
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// The answer to PCR_Read: update counter, one selection, digests.
fn pcrs(mask: [u8; 3], values: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 7, 0, 0, 0, 1, 0, 0x0b, 3];
    body.extend(mask);
    body.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
    }
    answer(0x8001, 0, &body)
}

#[test]
fn what_is_no_answer_is_refused_by_name() {
    let malformed = Err(AttestFailure::Malformed(Command::PcrRead));
    let huge = [&[0x80, 0x01][..], &u32::MAX.to_be_bytes(), &[0; 4]].concat();
    let trailing = [answer(0x8001, 0, &[]), vec![0]].concat();
    for (said, failure) in [
        (vec![], Err(AttestFailure::Closed)),
        (vec![0x80, 0x01, 0], Err(AttestFailure::Closed)),
        (answer(0x8001, 0, &[1, 2, 3])[..12].to_vec(), Err(AttestFailure::Closed)),
        (huge, malformed),
        ([&[0x80, 0x01, 0, 0, 0x10, 0x01][..], &[0; 4]].concat(), malformed),
        ([&[0x80, 0x01, 0, 0, 0, 9][..], &[0; 4]].concat(), malformed),
        (trailing, malformed),
        (vec![0; 8192], malformed),
        (answer(0x8002, 0, &[]), malformed),
        (answer(0x8001, 0x101, &[]), Err(AttestFailure::Refused { command: Command::PcrRead, code: 0x101 })),
        (answer(0x8001, 0, &[]), malformed),
    ] {
        assert_eq!(saying(vec![said.clone()]).pcrs(0xff).map(drop), failure, "{said:02x?}");
    }
}

#[test]
fn pcrs_are_those_that_were_asked_for() {
    let malformed = Err(AttestFailure::Malformed(Command::PcrRead));
    let value = |byte: u8| [byte; 32];
    let good = saying(vec![pcrs([2, 0, 0], &[&value(1)]), pcrs([0, 0x80, 0], &[&value(2)])]).pcrs(0x8002).unwrap();
    assert_eq!((good[1], good[15], good[0]), (value(1), value(2), value(0)));
    assert_eq!(saying(vec![pcrs([0, 0, 0], &[])]).pcrs(0x8002), Err(AttestFailure::Bank));
    for said in [
        // Others, more than asked, one too few, one too many, the wrong length, bytes after them.
        pcrs([1, 0, 0], &[&value(1)]),
        pcrs([6, 0, 0], &[&value(1), &value(1)]),
        pcrs([2, 0, 0], &[]),
        pcrs([2, 0, 0], &[&value(1), &value(1)]),
        pcrs([2, 0, 0], &[&[1; 20]]),
        pcrs([2, 0, 0], &[&[1; 33]]),
        [pcrs([2, 0, 0], &[&value(1)])[..10].to_vec(), vec![0xff; 30]].concat(),
    ] {
        let mut said = said;
        let size = u32::try_from(said.len()).unwrap().to_be_bytes();
        said[2..6].copy_from_slice(&size);
        assert_eq!(saying(vec![said.clone()]).pcrs(0x8002).map(drop), malformed, "{said:02x?}");
    }
}

#[test]
fn a_command_is_sent_again_if_the_tpm_asks_for_it() {
    let again = |code| answer(0x8001, code, &[]);
    let mut tpm = saying(vec![again(0x922), again(0x90a), again(0x908), pcrs([1, 0, 0], &[&[9; 32]])]);
    assert_eq!(tpm.pcrs(1).unwrap()[0], [9; 32]);
    let endless = usize::try_from(limits::TPM_RETRIES).unwrap() + 5;
    let refused = AttestFailure::Refused { command: Command::PcrRead, code: 0x922 };
    assert_eq!(saying(vec![again(0x922); endless]).pcrs(1), Err(refused));
}

#[test]
fn silence_ends() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(std::time::Duration::from_millis(10))).unwrap();
    assert_eq!(Tpm(Device::over(ours)).pcrs(1), Err(AttestFailure::Silent));
}

#[test]
fn nv_is_read_in_bounds() {
    let nv = |size| NvIndex { index: 0x0140_0001, attributes: 0x0002_0002, size };
    let malformed = Err(AttestFailure::Malformed(Command::NvRead));
    let chunk = |length: usize| {
        let mut body = u32::try_from(length + 2).unwrap().to_be_bytes().to_vec();
        body.extend(u16::try_from(length).unwrap().to_be_bytes());
        body.extend(vec![7; length]);
        body.extend([0, 0, 0, 0, 0]);
        answer(0x8002, 0, &body)
    };
    assert_eq!(saying(vec![chunk(1024), chunk(1)]).nv_read(nv(1025)), Ok(vec![7; 1025]));
    // Less and more than was asked for, a size that is never read, nothing.
    assert_eq!(saying(vec![chunk(1023)]).nv_read(nv(1024)), malformed);
    assert_eq!(saying(vec![chunk(1025)]).nv_read(nv(1024)), malformed);
    assert_eq!(saying(vec![]).nv_read(nv(u16::MAX)), malformed);
    assert_eq!(saying(vec![answer(0x8002, 0, &[0xff; 8])]).nv_read(nv(8)), malformed);
    assert_eq!(saying(vec![answer(0x8002, 0, &[0, 0, 0, 2, 0xff, 0xff])]).nv_read(nv(8)), malformed);
}

#[test]
fn an_index_is_the_one_that_was_asked_for() {
    let public = |index: u32| {
        let mut public = index.to_be_bytes().to_vec();
        public.extend([0, 0x0b, 0, 2, 0, 2, 0, 0, 0, 64]);
        let mut body = u16::try_from(public.len()).unwrap().to_be_bytes().to_vec();
        body.extend(public);
        body.extend([0, 0]);
        answer(0x8001, 0, &body)
    };
    let found = saying(vec![public(5)]).nv_index(5).unwrap().unwrap();
    assert_eq!((found.size, found.attributes), (64, 0x0002_0002));
    assert_eq!(saying(vec![public(6)]).nv_index(5), Err(AttestFailure::Malformed(Command::NvReadPublic)));
    assert_eq!(saying(vec![answer(0x8001, 0x18b, &[])]).nv_index(5), Ok(None));
    let refused = AttestFailure::Refused { command: Command::NvReadPublic, code: 0x120 };
    assert_eq!(saying(vec![answer(0x8001, 0x120, &[])]).nv_index(5), Err(refused));
}

/// TPMS_ATTEST of a quote.
fn attest(magic: u32, kind: u16, extra: &[u8], mask: [u8; 3], digest: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 2, 0xaa, 0xaa]);
    bytes.extend(u16::try_from(extra.len()).unwrap().to_be_bytes());
    bytes.extend(extra);
    bytes.extend([0; 25]);
    bytes.extend([0, 0, 0, 1, 0, 0x0b, 3]);
    bytes.extend(mask);
    bytes.extend(u16::try_from(digest.len()).unwrap().to_be_bytes());
    bytes.extend(digest);
    bytes
}

#[test]
fn a_quote_is_the_one_that_was_asked_for() {
    let nonce = Digest::of("nonce");
    let values = [[3; 32]; 24];
    let quoted = digest_of(&values, 0xff);
    assert_eq!(quoted, Digest::of([3; 32 * 8]));
    let good = attest(0xff54_4347, 0x8018, nonce.bytes(), [0xff, 0, 0], quoted.bytes());
    assert_eq!(attested(&good, &nonce, 0xff), Ok(quoted));
    for lie in [
        attest(0xff54_4348, 0x8018, nonce.bytes(), [0xff, 0, 0], quoted.bytes()),
        attest(0xff54_4347, 0x8017, nonce.bytes(), [0xff, 0, 0], quoted.bytes()),
        attest(0xff54_4347, 0x8018, &[0; 32], [0xff, 0, 0], quoted.bytes()),
        attest(0xff54_4347, 0x8018, nonce.bytes(), [0, 0xff, 0], quoted.bytes()),
        attest(0xff54_4347, 0x8018, nonce.bytes(), [0xff, 0, 0], &[0; 20]),
        [good.clone(), vec![0]].concat(),
        good[..good.len() - 1].to_vec(),
        vec![],
    ] {
        assert_eq!(attested(&lie, &nonce, 0xff), Err(AttestFailure::Misquoted), "{lie:02x?}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), framed: bool) {
        let said = if framed { answer(0x8002, 0, &bytes) } else { bytes };
        for plain in [false, true] {
            let mut said = said.clone();
            if let (true, Some(tag)) = (plain, said.get_mut(1)) {
                *tag = 1;
            }
            let one = || saying(vec![said.clone()]);
            let _ = one().pcrs(0xffff);
            let _ = one().nv_index(1);
            let _ = one().nv_read(NvIndex { index: 1, attributes: 0, size: 64 });
            let _ = one().attestation_key();
            let _ = one().quote_once(1, &Digest::of(""), 1);
            let _ = attested(&said, &Digest::of(""), 1);
        }
    }
}
