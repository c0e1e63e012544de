//! Record stores: what a whole one is, and the name of everything that is not.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a broken fixture ends the test")]

mod fixture;

use claim::Digest;
use claim::bootlog::{BatchBuilder, ControlRecord, RecordKind, batch_hash};
use claim::entry::{Chain, Draft, EntryType};
use claim::json::Json;
use fixture::spoil::spoilt;
use fixture::store::{
    Rec, SECOND_BOOT, Stored, Writer, boot_record, entry, first_boot, intent, json, records, second_boot, segment,
    session, write, x_of,
};
use fixture::{SEED, SESSION, boot_id, bundle_hash, drafts, key, seconds_later, session_start};
use verify::{
    BundleOptions, ExportOptions, Head, StoreOptions, StoreReason, StoreVerdict, export_session, read_proof,
    verify_audit_bundle, verify_store,
};

fn judge_files(segments: &[Vec<u8>], heads: Vec<Head>) -> StoreVerdict {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), segments);
    verify_store(folder.path(), StoreOptions { heads, ..StoreOptions::default() }).unwrap()
}

fn judge(batches: &[Stored]) -> StoreVerdict {
    judge_files(&[segment(batches)], Vec::new())
}

fn reason(verdict: &StoreVerdict) -> Option<&'static str> {
    verdict.failure.as_ref().map(|failure| failure.reason)
}

fn assert_refused(verdict: &StoreVerdict, expected: StoreReason) {
    assert_eq!(reason(verdict), Some(expected.as_str()), "{:?}", verdict.failure);
    assert!(!verdict.verified());
}

/// A boot with these records after its boot record, each in a batch of its own, signed by its key.
fn boot_with(all: &[Vec<Rec>]) -> Vec<Stored> {
    let boot = boot_record(boot_id(), &key(), None);
    let mut writer = Writer::new(SEED, boot_id(), Digest::from_bytes([0; 32]));
    writer.batch(&[Rec { kind: RecordKind::Boot, session: 0, bytes: boot.bytes().unwrap() }]);
    for records in all {
        writer.batch(records);
    }
    writer.batches
}

fn boot_x() -> String {
    x_of(&boot_record(boot_id(), &key(), None))
}

#[test]
fn a_whole_store_is_verified_and_described() {
    let first = first_boot();
    let second = second_boot(&first);
    let verdict = judge_files(&[segment(&first.batches), segment(&second.batches)], Vec::new());
    assert!(verdict.verified(), "{:?}", verdict.failure);
    assert_eq!((verdict.segments, verdict.boots.len(), &verdict.torn), (2, 2, &None));
    let boot = &verdict.boots[0];
    assert_eq!((boot.batches, boot.sessions, boot.open_sessions), (first.batches.len() as u64, 3, 1));
    assert_eq!((boot.entries, boot.claims, boot.gaps, boot.refused_calls), (11, 4, 1, 3));
    assert_eq!(boot.public_key, key().public().hex());
    assert_eq!(boot.head, first.head().2);
    let unknown: Vec<_> =
        boot.unknown_outcomes.iter().map(|call| (call.session_id.as_str(), call.call_id.as_str())).collect();
    assert_eq!(unknown, [("cut-off", "call-x")]);
    assert!(verdict.boots[1].unknown_outcomes.is_empty());
}

#[test]
fn one_boot_can_fill_several_segments() {
    let batches = first_boot().batches;
    let (left, right) = batches.split_at(3);
    assert!(judge_files(&[segment(left), segment(right)], Vec::new()).verified());
}

#[test]
fn space_that_was_reserved_is_no_torn_tail() {
    let mut bytes = segment(&first_boot().batches);
    bytes.resize(bytes.len() + 4096, 0);
    let verdict = judge_files(&[bytes], Vec::new());
    assert!(verdict.verified());
    assert_eq!(verdict.torn, None);
}

#[test]
fn every_changed_leaf_of_every_record_is_found() {
    let batches = first_boot().batches;
    let mut tried = 0;
    for index in 0..batches.len() {
        let original = records(&batches[index].batch);
        for (at, record) in original.iter().enumerate() {
            // One of the two equal sessions is enough.
            if record.session == 2 {
                continue;
            }
            for (change, document) in spoilt(&json(record)).into_iter().step_by(9) {
                let mut changed = original.clone();
                changed[at].bytes = document.sorted_ascii().into_bytes();
                let mut batches = batches.clone();
                batches[index].batch = rebuilt(&batches, index, &changed);
                let verdict = judge(&batches);
                assert!(!verdict.verified(), "batch {index}, record {at}: {change}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200);
}

/// The batch with other records, in the place of the one that was signed.
fn rebuilt(batches: &[Stored], index: usize, records: &[Rec]) -> Vec<u8> {
    let prev = index.checked_sub(1).map_or(Digest::from_bytes([0; 32]), |before| batch_hash(&batches[before].batch));
    let mut builder = BatchBuilder::new(boot_id().0);
    for record in records {
        builder.push(record.kind, record.session, &record.bytes).unwrap();
    }
    builder.finish(index as u64, &prev)
}

#[test]
fn every_bit_of_a_batch_head_signature_and_index_counts() {
    let batches = first_boot().batches;
    for at in 0..68 {
        let mut changed = batches.clone();
        changed[2].batch[at] ^= 1;
        assert!(!judge(&changed).verified(), "byte {at} of the batch's head");
    }
    for at in 0..64 {
        let mut changed = batches.clone();
        changed[2].signature[at] ^= 1;
        assert_refused(&judge(&changed), StoreReason::BatchSignatureInvalid);
    }
    let mut changed = batches.clone();
    changed[2].sessions = vec![1];
    assert_refused(&judge(&changed), StoreReason::FrameIndexWrong);
}

#[test]
fn every_bit_of_a_file_counts() {
    let first = first_boot();
    let bytes = segment(&first.batches);
    let whole = judge_files(std::slice::from_ref(&bytes), Vec::new());
    let last = bytes.len() - fixture::store::frame(first.batches.last().unwrap()).len();
    for at in (0..bytes.len()).step_by(37) {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        let verdict = judge_files(&[changed], Vec::new());
        assert_ne!(verdict, whole, "byte {at}");
        // In the last batch it cannot be told from a torn write, and is reported as one.
        assert_eq!(verdict.verified(), at >= last, "byte {at}: {:?}", verdict.failure);
        assert_eq!(verdict.torn.is_some(), at >= last, "byte {at}");
    }
}

#[test]
fn batches_taken_out_swapped_repeated_or_from_elsewhere() {
    let batches = first_boot().batches;
    let with = |change: &dyn Fn(&mut Vec<Stored>)| {
        let mut changed = batches.clone();
        change(&mut changed);
        judge(&changed)
    };
    assert_refused(&with(&|batches| drop(batches.remove(3))), StoreReason::BatchGap);
    assert_refused(&with(&|batches| batches.swap(3, 4)), StoreReason::BatchGap);
    assert_refused(&with(&|batches| batches.insert(3, batches[3].clone())), StoreReason::BatchGap);
    assert_refused(&with(&|batches| drop(batches.remove(0))), StoreReason::BatchGap);
    assert_refused(&with(&|batches| batches.push(batches[0].clone())), StoreReason::BatchGap);
    let resign = |stored: &Stored| {
        let mut writer = Writer::new([9; 32], boot_id(), Digest::from_bytes([0; 32]));
        writer.batch(&records(&stored.batch));
        writer.batches[0].signature
    };
    assert_refused(&with(&|batches| batches[0].signature = resign(&batches[0])), StoreReason::BatchSignatureInvalid);
}

#[test]
fn a_forked_log_is_found() {
    let batches = first_boot().batches;
    let fork = boot_with(&[session(1, SESSION, &boot_x())]);
    let mixed = [&batches[..1], &fork[1..], &batches[2..3]].concat();
    assert_refused(&judge(&mixed), StoreReason::BatchLinkBroken);
}

#[test]
fn segments() {
    let first = first_boot();
    let second = second_boot(&first);
    let folder = tempfile::tempdir().unwrap();
    let verify = || verify_store(folder.path(), StoreOptions::default()).unwrap();
    assert_refused(&verify(), StoreReason::Empty);
    std::fs::write(folder.path().join("00000001.log"), segment(&second.batches)).unwrap();
    assert_refused(&verify(), StoreReason::SegmentMissing);
    std::fs::write(folder.path().join("00000000.log"), b"not a segment at all").unwrap();
    assert_refused(&verify(), StoreReason::SegmentMalformed);
    let (_, cut) = first.batches.split_last().unwrap();
    std::fs::write(folder.path().join("00000000.log"), segment(cut)).unwrap();
    assert_refused(&verify(), StoreReason::BatchLinkBroken);
    let bytes = segment(&first.batches);
    std::fs::write(folder.path().join("00000000.log"), &bytes[..bytes.len() - 1]).unwrap();
    assert_refused(&verify(), StoreReason::Damaged);
    std::fs::write(folder.path().join("00000000.log"), &bytes).unwrap();
    std::fs::write(folder.path().join("00000000.torn"), b"x").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"x").unwrap();
    std::fs::write(folder.path().join("00000002.log"), [0; 32]).unwrap();
    let verdict = verify();
    assert!(verdict.verified(), "{:?}", verdict.failure);
    assert_eq!(verdict.kept_torn, ["00000000.torn"]);
    assert_eq!(verdict.torn.map(|torn| (torn.segment, torn.offset)), Some((2, 0)));
    assert!(verify_store(&folder.path().join("nowhere"), StoreOptions::default()).is_err());
}

#[test]
fn a_torn_tail_ends_at_a_batch_wherever_it_was_cut() {
    let batches = first_boot().batches;
    let (_, before) = batches.split_last().unwrap();
    let start = segment(before).len();
    let bytes = segment(&batches);
    for cut in (start + 1..bytes.len()).step_by(7) {
        let verdict = judge_files(&[bytes[..cut].to_vec()], Vec::new());
        assert!(verdict.verified(), "cut at {cut}: {:?}", verdict.failure);
        assert_eq!(verdict.torn.map(|torn| torn.offset), Some(start), "cut at {cut}");
        assert_eq!(verdict.boots[0].batches, before.len() as u64);
    }
    let mut holes = bytes.clone();
    holes[start..start + 20].fill(0);
    assert_eq!(judge_files(&[holes], Vec::new()).torn.map(|torn| torn.offset), Some(start));
}

fn head_of(batches: &[Stored], index: usize) -> Head {
    let record = records(&batches[index].batch).into_iter().find(|record| record.kind == RecordKind::Entry).unwrap();
    let hash = json(&record).get("entry_hash").unwrap().as_str().unwrap().to_owned();
    Head::parse(&format!("{}:{index}:{hash}", boot_id())).unwrap()
}

#[test]
fn heads() {
    let batches = first_boot().batches;
    let head = head_of(&batches, 7);
    let with = |batches: &[Stored], heads: Vec<Head>| {
        let verdict = judge_files(&[segment(batches)], heads);
        assert_eq!(verdict.failure, None);
        let reasons: Vec<_> =
            verdict.heads.iter().map(|head| head.failure.as_ref().map(|(reason, _)| *reason)).collect();
        (verdict.verified(), reasons)
    };
    assert_eq!(with(&batches, vec![head.clone(), head_of(&batches, 1)]), (true, vec![None, None]));
    assert_eq!(with(&batches[..8], vec![head.clone()]), (true, vec![None]));
    let older = with(&batches[..7], vec![head_of(&batches, 1), head.clone()]);
    assert_eq!(older, (false, vec![None, Some(StoreReason::OlderThanHead)]));
    let other = Head { boot_id: SECOND_BOOT, ..head.clone() };
    assert_eq!(with(&batches, vec![other]), (false, vec![Some(StoreReason::HeadBootMissing)]));
    let moved = Head { batch: 5, ..head.clone() };
    assert_eq!(with(&batches, vec![moved]), (false, vec![Some(StoreReason::HeadEntryMissing)]));
    let unknown = Head { entry_hash: Digest::of("x"), ..head };
    assert_eq!(with(&batches, vec![unknown]), (false, vec![Some(StoreReason::HeadEntryMissing)]));
}

#[test]
fn heads_are_read_from_text_and_from_answers() {
    let hash = "ab".repeat(32);
    let boot = boot_id();
    let head = Head::parse(&format!("{boot}:7:sha256:{hash}")).unwrap();
    assert_eq!(head, Head::parse(&format!("{boot}:7:{hash}")).unwrap());
    for text in ["", "x", "x:1:y", &format!("{boot}:-1:{hash}"), &format!("{boot}:1")] {
        assert!(Head::parse(text).is_err(), "{text}");
    }
    let receipt = format!(r#"{{"boot_id":"{boot}","batch":7,"audit_entry_hash":"{hash}","call_id":"c"}}"#);
    let seed = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[],"_cmcp":{receipt}}}}}"#);
    let mcp = format!(r#"{{"result":{{"_meta":{{"io.cmcp/receipt":{receipt}}}}}}}"#);
    for document in [&receipt, &seed, &mcp, &format!("[{receipt}]")] {
        assert_eq!(Head::in_document(document.as_bytes()).unwrap(), std::slice::from_ref(&head));
    }
    assert!(Head::in_document(b"{}").is_err());
    assert!(Head::in_document(b"{").is_err());
}

#[test]
fn records_that_the_key_signed_and_that_contradict_each_other() {
    let x = boot_x();
    let good = session(1, SESSION, &x);
    let with = |change: &dyn Fn(&mut Vec<Rec>)| {
        let mut records = good.clone();
        change(&mut records);
        judge(&boot_with(&[records]))
    };
    assert!(with(&|_| {}).verified());
    let kinds: Vec<_> = good.iter().map(|record| record.kind).collect();
    let place = |kind, nth| kinds.iter().enumerate().filter(|(_, found)| **found == kind).nth(nth).unwrap().0;
    let (call_intent, call) = (place(RecordKind::Intent, 0), place(RecordKind::Entry, 1));
    let (interim, last) = (place(RecordKind::Claim, 0), place(RecordKind::Claim, 1));

    assert_refused(&with(&|records| drop(records.remove(call_intent))), StoreReason::IntentMissing);
    assert_refused(
        &with(&|records| records[call_intent] = intent(1, SESSION, "call-1", "other", 1)),
        StoreReason::IntentContradicted,
    );
    for wrong in [
        intent(2, SESSION, "call-1", "salesforce.contacts", 1),
        intent(1, "other", "call-1", "salesforce.contacts", 1),
        intent(1, SESSION, "call-1", "salesforce.contacts", 2),
    ] {
        let wrong = Rec { session: 1, ..wrong };
        assert_refused(&with(&|records| records[call_intent] = wrong.clone()), StoreReason::IntentContradicted);
    }
    assert_eq!(reason(&with(&|records| drop(records.remove(call)))), Some("SEQUENCE_GAP"));
    assert_eq!(reason(&with(&|records| records.swap(call, call + 1))), Some("SEQUENCE_GAP"));
    assert_refused(&with(&|records| drop(records.remove(0))), StoreReason::RecordOutOfPlace);
    assert_refused(&with(&|records| records[call].session = 0), StoreReason::RecordOutOfPlace);
    assert_eq!(reason(&with(&|records| records.insert(2, records[0].clone()))), Some("ENTRY_OUT_OF_PLACE"));
    assert_refused(&with(&|records| drop(records.remove(interim))), StoreReason::ClaimContradicted);
    assert_refused(&with(&|records| records.swap(interim, last)), StoreReason::ClaimContradicted);
    assert_refused(&with(&|records| records[last].bytes.push(b' ')), StoreReason::RecordMalformed);
    assert_refused(&with(&|records| records[last].bytes = b"{}".to_vec()), StoreReason::ClaimInvalid);
    assert_refused(
        &with(&|records| records[last].bytes = fixture::spoil::resigned(&records[last].bytes, [9; 32], |_| {})),
        StoreReason::ClaimInvalid,
    );
    assert_refused(
        &with(&|records| {
            records[last].bytes = fixture::spoil::resigned(&records[last].bytes, SEED, |claim| {
                fixture::spoil::set(claim, &["gateway", "catalog", "drift_detected"], true);
            });
        }),
        StoreReason::ClaimContradicted,
    );
    let after_end = good.last().unwrap().clone();
    assert_refused(&with(&|records| records.push(after_end.clone())), StoreReason::RecordOutOfPlace);
}

#[test]
fn boot_records_and_what_sessions_commit_to() {
    let boot = boot_record(boot_id(), &key(), None);
    let judge_boot = |records: &[Rec]| {
        let mut writer = Writer::new(SEED, boot_id(), Digest::from_bytes([0; 32]));
        writer.batch(records);
        judge(&writer.batches)
    };
    let first =
        |boot: &claim::bootlog::BootRecord| Rec { kind: RecordKind::Boot, session: 0, bytes: boot.bytes().unwrap() };
    assert!(judge_boot(&[first(&boot)]).verified());
    assert_refused(&judge_boot(&[]), StoreReason::BootRecordInvalid);
    assert_refused(&judge_boot(&session(1, SESSION, &boot_x())), StoreReason::BootRecordInvalid);
    assert_refused(&judge_boot(&[first(&boot), first(&boot)]), StoreReason::RecordOutOfPlace);
    let other_id = claim::bootlog::BootRecord { boot_id: SECOND_BOOT, ..boot.clone() };
    assert_refused(&judge_boot(&[first(&other_id)]), StoreReason::BootRecordInvalid);
    let previous = boot_record(boot_id(), &key(), Some((SECOND_BOOT, 3, Digest::of("x"))));
    assert_refused(&judge_boot(&[first(&previous)]), StoreReason::BootRecordInvalid);
    let mut spaced = first(&boot);
    spaced.bytes.push(b' ');
    assert_refused(&judge_boot(&[spaced]), StoreReason::RecordMalformed);

    for (number, x) in [(1, "00".repeat(32)), (2, boot_x())] {
        let detail = session_start(number, &x);
        let start = entry(1, &mut Chain::new(), &drafts(&detail, SESSION)[0]);
        assert_refused(&judge(&boot_with(&[vec![start]])), StoreReason::BootCommitmentMismatch);
    }
}

#[test]
fn a_closed_session_id_can_be_used_again_as_another_session() {
    let x = boot_x();
    let verdict = judge(&boot_with(&[session(1, SESSION, &x), session(2, SESSION, &x)]));
    assert!(verdict.verified(), "{:?}", verdict.failure);
    let verdict = judge(&boot_with(&[session(1, SESSION, &x), session(1, SESSION, &x)]));
    assert_refused(&verdict, StoreReason::RecordOutOfPlace);
}

#[test]
fn a_claim_may_be_stored_a_few_entries_late() {
    let mut records = session(1, SESSION, &boot_x());
    let interim = records.iter().position(|record| record.kind == RecordKind::Claim).unwrap();
    records.swap(interim, interim + 1);
    records.swap(interim + 1, interim + 2);
    let verdict = judge(&boot_with(&[records]));
    assert!(verdict.verified(), "{:?}", verdict.failure);
}

#[test]
fn an_exported_session_is_proven_by_its_claim_or_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let first = first_boot();
    write(folder.path(), &[segment(&first.batches), segment(&second_boot(&first).batches)]);
    let export = |session_id| {
        let options = ExportOptions { session_id, out: &out };
        let (verdict, exported) = export_session(folder.path(), options, StoreOptions::default()).unwrap();
        assert!(verdict.verified());
        exported
    };
    let exported = export(SESSION);
    let [session] = exported.as_slice() else { panic!("{exported:?}") };
    assert_eq!((session.entries, session.claims.len(), session.number), (5, 2, 1));
    let bundle = std::fs::read(&session.bundle).unwrap();
    let proof = std::fs::read(&session.proof).unwrap();
    let claim = std::fs::read(&session.claims[1]).unwrap();
    let proven = read_proof(proof.as_slice(), SESSION, &[]).unwrap();
    let options = BundleOptions { proven: Some(&proven), ..BundleOptions::default() };
    let verdict = verify_audit_bundle(&bundle, Some(&claim), options);
    assert!(verdict.verified, "{:?}", verdict.failures);
    assert!(!verify_audit_bundle(&bundle, Some(&claim), BundleOptions::default()).verified, "nobody signed it");
    let trusted = key().public().hex();
    let pinned = BundleOptions { trusted_key: Some(&trusted), ..options };
    assert!(verify_audit_bundle(&bundle, None, pinned).verified);
    let other = BundleOptions { trusted_key: Some("00"), ..options };
    assert!(!verify_audit_bundle(&bundle, None, other).verified);

    let cut_off = export("cut-off");
    assert_eq!((cut_off.len(), cut_off[0].entries, cut_off[0].claims.len()), (1, 1, 0));
    let bundle = std::fs::read(&cut_off[0].bundle).unwrap();
    assert!(!verify_audit_bundle(&bundle, None, options).verified, "the proof of another session");
    let proven = read_proof(std::fs::read(&cut_off[0].proof).unwrap().as_slice(), "cut-off", &[]).unwrap();
    let options = BundleOptions { proven: Some(&proven), ..BundleOptions::default() };
    assert!(verify_audit_bundle(&bundle, None, options).verified);
    assert!(export("nobody").is_empty());
}

#[test]
fn a_changed_proof_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[segment(&first_boot().batches)]);
    let options = ExportOptions { session_id: SESSION, out: folder.path() };
    let (_, exported) = export_session(folder.path(), options, StoreOptions::default()).unwrap();
    let proof = std::fs::read(&exported[0].proof).unwrap();
    let whole = read_proof(proof.as_slice(), SESSION, &[]).unwrap();
    assert_eq!(whole.digests.len(), 1);
    for at in (0..proof.len()).step_by(41) {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        assert!(read_proof(changed.as_slice(), SESSION, &[]).is_err(), "byte {at}");
    }
    let ends = frame_ends(&proof);
    for cut in (0..proof.len()).step_by(97).filter(|cut| !ends.contains(cut)) {
        assert!(read_proof(&proof[..cut], SESSION, &[]).is_err(), "cut at {cut}");
    }
    // The last batch holds the claim alone; without the one before, the session's end is missing.
    let [.., before_end, before_claim, _] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(read_proof(&proof[..*before_claim], SESSION, &[]).unwrap(), whole);
    assert_ne!(read_proof(&proof[..*before_end], SESSION, &[]).unwrap(), whole);
}

/// Where the frames of a segment end, and where the first begins.
fn frame_ends(segment: &[u8]) -> Vec<usize> {
    let mut ends = vec![claim::bootlog::SEGMENT_MAGIC.len()];
    while let Some(length) = segment[ends[ends.len() - 1]..].first_chunk() {
        ends.push(ends[ends.len() - 1] + claim::bootlog::FRAME_HEAD + u32::from_le_bytes(*length) as usize);
    }
    ends
}

#[test]
fn every_boot_has_a_key_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let first = first_boot();
    write(folder.path(), &[segment(&first.batches), segment(&second_boot(&first).batches)]);
    let second = claim::key::Key::from_seed(fixture::store::SECOND_SEED).public();
    let with =
        |trusted_keys| verify_store(folder.path(), StoreOptions { trusted_keys, ..StoreOptions::default() }).unwrap();
    assert!(with(vec![key().public(), second]).verified());
    assert_refused(&with(vec![key().public()]), StoreReason::KeyNotTrusted);
    assert_refused(&with(vec![second]), StoreReason::KeyNotTrusted);
}

#[test]
fn progress_is_told_after_each_segment() {
    let folder = tempfile::tempdir().unwrap();
    let first = first_boot();
    write(folder.path(), &[segment(&first.batches), segment(&second_boot(&first).batches)]);
    let mut told = Vec::new();
    let mut progress = |progress: verify::Progress| told.push((progress.bytes, progress.total, progress.batches));
    verify_store(folder.path(), StoreOptions { progress: Some(&mut progress), ..StoreOptions::default() }).unwrap();
    let batches = first.batches.len() as u64;
    assert_eq!(told.iter().map(|(_, _, batches)| *batches).collect::<Vec<_>>(), [batches, batches + 1]);
    assert_eq!(told[1].0, told[1].1);
}

fn policy_load(bundle_hash: Digest, version: &str) -> Rec {
    let signed_by = key().public().key_id();
    let control = ControlRecord::PolicyLoad { at: seconds_later(1), bundle_hash, version: version.into(), signed_by };
    Rec { kind: RecordKind::Control, session: 0, bytes: control.bytes().unwrap() }
}

/// The first entry of a session under this bundle.
fn start_under(number: u64, bundle: Digest) -> Rec {
    let detail = session_start(number, &boot_x()).with("policy_bundle_hash", bundle.prefixed().into());
    entry(number, &mut Chain::new(), &drafts(&detail, SESSION)[0])
}

#[test]
fn sessions_name_the_bundle_that_was_loaded_last() {
    let (old, new) = (bundle_hash(), Digest::of("reloaded"));
    let whole = judge(&boot_with(&[
        vec![start_under(1, old)],
        vec![policy_load(new, "1.10")],
        vec![start_under(2, new), policy_load(old, "1.11")],
        vec![start_under(3, old)],
    ]));
    assert!(whole.verified(), "{:?}", whole.failure);
    assert_eq!((whole.boots[0].controls.len(), whole.boots[0].sessions), (2, 3));
    let early = boot_with(&[vec![start_under(1, new)], vec![policy_load(new, "1.10")]]);
    assert_refused(&judge(&early), StoreReason::BootCommitmentMismatch);
    let late = boot_with(&[vec![policy_load(new, "1.10")], vec![start_under(1, old)]]);
    assert_refused(&judge(&late), StoreReason::BootCommitmentMismatch);
    for version in ["1.10", "1.9", "1.10.0", "next"] {
        let again = boot_with(&[vec![policy_load(new, "1.10"), policy_load(old, version)]]);
        assert_refused(&judge(&again), StoreReason::PolicyVersionNotHigher);
    }
    let mut of_a_session = policy_load(new, "2");
    of_a_session.session = 1;
    assert_refused(&judge(&boot_with(&[vec![start_under(1, old), of_a_session]])), StoreReason::RecordOutOfPlace);
    let mut spaced = policy_load(new, "2");
    spaced.bytes.push(b' ');
    assert_refused(&judge(&boot_with(&[vec![spaced]])), StoreReason::RecordMalformed);
}

#[test]
fn sessions_name_the_controls_of_their_boot() {
    for change in [None, Some(Digest::of("other"))] {
        let detail = session_start(1, &boot_x());
        let detail = match change {
            None => detail.without("controls_hash"),
            Some(hash) => detail.with("controls_hash", hash.prefixed().into()),
        };
        let start = entry(1, &mut Chain::new(), &drafts(&detail, SESSION)[0]);
        assert_refused(&judge(&boot_with(&[vec![start]])), StoreReason::BootCommitmentMismatch);
    }
}

fn evidence(session: u64, text: &str) -> Rec {
    Rec { kind: RecordKind::Evidence, session, bytes: text.into() }
}

#[test]
fn a_refresh_names_the_evidence_that_was_recorded_before_it() {
    let (of_boot, of_session) = (r#"{"boot":1}"#, r#"{"session":1}"#);
    let detail = |boot: &str, session: &str| {
        Json::from([
            ("boot_evidence", Digest::of(boot).prefixed().into()),
            ("session_evidence", Digest::of(session).prefixed().into()),
        ])
    };
    // The first entry, then what is recorded, then the entry that names evidence.
    let log = |recorded: &[Rec], named: &Json| {
        let start = session_start(1, &boot_x());
        let drafts = drafts(&start, SESSION);
        let mut chain = Chain::new();
        let first = entry(1, &mut chain, &drafts[0]);
        let draft = Draft { entry_type: EntryType::AttestationRefresh, detail: Some(named), ..drafts[0] };
        let refresh = entry(1, &mut chain, &draft);
        judge(&boot_with(&[vec![evidence(0, of_boot)], vec![first], recorded.to_vec(), vec![refresh]]))
    };
    let good = detail(of_boot, of_session);
    let verdict = log(&[evidence(1, of_session)], &good);
    assert!(verdict.verified(), "{:?}", verdict.failure);
    let renewed = [evidence(0, r#"{"boot":2}"#), evidence(1, of_session)];
    assert!(log(&renewed, &detail(r#"{"boot":2}"#, of_session)).verified());
    for (recorded, named) in [
        (vec![], good.clone()),
        (vec![evidence(1, r#"{"session":2}"#)], good.clone()),
        (vec![evidence(1, of_session)], detail(of_session, of_session)),
        (renewed.to_vec(), good.clone()),
        (vec![evidence(2, of_session)], good.clone()),
    ] {
        assert_refused(&log(&recorded, &named), StoreReason::RecordOutOfPlace);
    }
    assert_refused(&log(&[evidence(1, r#"{"session": 1}"#)], &good), StoreReason::RecordMalformed);
}
