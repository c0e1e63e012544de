//! Every vector of `SPEC.md`, in both directions, and no message without one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use wire::{
    Append, AppendAnswer, Blob, BootBundle, BootRefusal, BootReport, CodeTotal, ControlEvent, ControlRequest, Counters,
    Decision, Document, EnclaveOpen, Enforcement, HostOpen, LATENCY_BOUNDS_US, LATENCY_BUCKETS, LogEvent, Message,
    OpenAnswer, OpenRefusal, PolicyFile, PolicyQuestions, Provider, RecallItem, RefusalCode, ReloadReport, Spawned,
    StoreFailure, StoreHead, StorePosition, Text, ToolTotals, blocking,
};

const SPEC: &str = include_str!("../SPEC.md");

#[test]
fn the_specification_has_exactly_these_vectors() {
    let mut vectors = parse(SPEC);
    open(&mut vectors);
    requests(&mut vectors);
    events(&mut vectors);
    logs(&mut vectors);
    refusals(&mut vectors);
    store(&mut vectors);
    assert!(vectors.is_empty(), "vectors of no message: {:?}", vectors.keys());
}

/// Fenced blocks whose info string is `vector NAME`: hexadecimal, spaces ignored, comments after `#`.
fn parse(text: &str) -> BTreeMap<&str, Vec<u8>> {
    let blocks = text.split("\n```vector ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').expect("a name");
        let (body, _) = rest.split_once("```").expect("an end");
        let digits: String = body.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hexadecimal");
        (name.trim(), digits.chunks(2).map(byte).collect())
    });
    let mut vectors = BTreeMap::new();
    for (name, bytes) in blocks {
        assert!(vectors.insert(name, bytes).is_none(), "{name} twice");
    }
    vectors
}

fn check<M: Message + Debug + PartialEq>(vectors: &mut BTreeMap<&str, Vec<u8>>, name: &str, message: &M) {
    let mut frame = Vec::new();
    blocking::write(&mut frame, message).unwrap();
    let vector =
        vectors.remove(name).unwrap_or_else(|| panic!("no vector {name}; it would be {}", block(name, &frame)));
    assert_eq!(vector, frame, "{name} is {}", block(name, &frame));
    let mut rest = vector.as_slice();
    assert_eq!(&blocking::read::<M>(&mut rest).unwrap(), message, "{name}");
    assert!(rest.is_empty(), "{name}: bytes after the frame");
}

fn block(name: &str, frame: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let payload: Vec<_> = frame[12..].chunks(48).map(hex).collect();
    let header = [&frame[..4], &frame[4..6], &frame[6..8], &frame[8..12]].map(hex).join(" ");
    format!("\n```vector {name}\n{header}\n{}\n```\n", payload.join("\n"))
}

type Vectors<'a> = BTreeMap<&'a str, Vec<u8>>;

fn open(vectors: &mut Vectors<'_>) {
    check(vectors, "HostOpen::Control", &HostOpen::Control { callback_port: 1024 });
    check(vectors, "HostOpen::Inbound", &HostOpen::Inbound);
    check(vectors, "HostOpen::Imds", &HostOpen::Imds);
    check(vectors, "EnclaveOpen::Dial", &EnclaveOpen::Dial { host: "localhost".into(), port: 9001 });
    check(vectors, "EnclaveOpen::Records", &EnclaveOpen::Records { boot_id: [0xb0; 16], next: 3 });
    let recall = EnclaveOpen::Recall { boot_id: [0xb0; 16], first: 0, last: u64::MAX, session: 70_000 };
    check(vectors, "EnclaveOpen::Recall", &recall);
    let command = vec!["/usr/bin/python3".into(), "s.py".into()];
    let spawn =
        EnclaveOpen::Spawn { tool: 300, command, env: vec!["HOME".into()], entrypoint: Some("/srv/s.py".into()) };
    check(vectors, "EnclaveOpen::Spawn", &spawn);
    check(vectors, "Spawned", &Spawned { entrypoint_digest: [6; 32] });
    check(vectors, "OpenAnswer::Ready", &OpenAnswer::Ready);
    for refusal in [
        OpenRefusal::ControlTaken,
        OpenRefusal::NotBooted,
        OpenRefusal::Busy,
        OpenRefusal::Unreachable,
        OpenRefusal::NotAllowed,
        OpenRefusal::StoreUnavailable,
        OpenRefusal::UnknownBoot,
    ] {
        check(vectors, &format!("OpenAnswer::Refused({refusal:?})"), &OpenAnswer::Refused(refusal));
    }
}

fn requests(vectors: &mut Vectors<'_>) {
    let minimal = BootBundle { config: Blob(b"{}".into()), catalog: Blob(b"[]".into()), ..BootBundle::default() };
    let full = BootBundle {
        policy: vec![PolicyFile { path: "a.cedar".into(), bytes: Blob(b"permit".into()) }],
        controls: Some(Blob(b"{}".into())),
        wall_unix_ms: 1_780_617_600_000,
        dev: true,
        store_head: Some(StoreHead { boot_id: [0xb0; 16], batch: 300, hash: [0xaa; 32] }),
        tls: true,
        ..minimal.clone()
    };
    check(vectors, "ControlRequest::Boot", &ControlRequest::Boot(full));
    check(vectors, "ControlRequest::Check", &ControlRequest::Check(minimal));
    check(vectors, "ControlRequest::HashDefinition", &ControlRequest::HashDefinition(Blob(b"{\"a\":1}".into())));
    check(vectors, "ControlRequest::Shutdown", &ControlRequest::Shutdown);
    check(vectors, "ControlRequest::Schema", &ControlRequest::Schema(Blob(b"[]".into())));
    let questions = PolicyQuestions {
        policy: vec![PolicyFile { path: "a.cedar".into(), bytes: Blob(b"permit".into()) }],
        catalog: Blob(b"[]".into()),
        requests: Blob(b"[{}]".into()),
        explain: true,
    };
    check(vectors, "ControlRequest::Ask", &ControlRequest::Ask(questions));
    let files = vec![PolicyFile { path: "a.cedar".into(), bytes: Blob(b"permit".into()) }];
    check(vectors, "ControlRequest::Reload", &ControlRequest::Reload(files));
    check(vectors, "ControlRequest::Collateral", &ControlRequest::Collateral(Blob(b"{\"crls\":[]}".into())));
}

fn report(enforcement: Enforcement) -> BootReport {
    BootReport {
        boot_id: [0xb0; 16],
        provider: Provider::SoftwareOnly,
        enforcement,
        bundle_hash: [1; 32],
        catalog_hash: [2; 32],
        config_hash: [3; 32],
        public_key: [4; 32],
        tools: 1,
        policies: 3,
        warnings: Vec::new(),
        policy_signed_by: None,
        controls_epoch: None,
        halted: false,
        tls_spki: Vec::new(),
        evidence: Blob::default(),
    }
}

fn events(vectors: &mut Vectors<'_>) {
    for enforcement in [Enforcement::Enforcing, Enforcement::Advisory, Enforcement::Silent] {
        check(vectors, &format!("ControlEvent::Booted({enforcement:?})"), &ControlEvent::Booted(report(enforcement)));
    }
    for provider in [Provider::AzureSnp, Provider::AzureTdx, Provider::SevSnp, Provider::Tdx, Provider::Tpm] {
        let attested = BootReport { provider, ..report(Enforcement::Enforcing) };
        check(vectors, &format!("ControlEvent::Booted({provider:?})"), &ControlEvent::Booted(attested));
    }
    let warned = BootReport {
        warnings: vec!["w".into(), Text::default()],
        policy_signed_by: Some([6; 32]),
        controls_epoch: Some(300),
        halted: true,
        tls_spki: vec![[7; 32]],
        evidence: Blob(b"{}".into()),
        ..report(Enforcement::Enforcing)
    };
    check(vectors, "ControlEvent::Checked", &ControlEvent::Checked(warned));
    check(vectors, "ControlEvent::DefinitionHash", &ControlEvent::DefinitionHash([5; 32]));
    let counters = Counters {
        sessions_open: 1,
        sessions_total: 250,
        calls: [251, 65_536, 4_294_967_296, 0],
        batches: 2,
        records: 3,
        audit_unavailable: 4,
    };
    check(vectors, "ControlEvent::Counters", &ControlEvent::Counters(counters));
    check(vectors, "ControlEvent::Stopped", &ControlEvent::Stopped { sessions_closed: 2 });
    check(vectors, "ControlEvent::Part", &ControlEvent::Part { bytes: Blob(b"namespace".into()), last: true });
    let mut busy = ToolTotals { tool: 1, calls: [250, 251, 0, 1], latency_sum_us: 65_536, ..ToolTotals::default() };
    busy.latency[0] = 1;
    busy.latency[1] = 501;
    let other = ToolTotals { tool: u32::MAX, ..ToolTotals::default() };
    check(vectors, "ControlEvent::Tools", &ControlEvent::Tools(vec![busy, other]));
    let codes = [(7, 251), (300, 1)].map(|(code, answers)| CodeTotal { code, answers });
    check(vectors, "ControlEvent::Codes", &ControlEvent::Codes(codes.into()));
    let reloaded = ReloadReport { bundle_hash: [1; 32], signed_by: [6; 32], policies: 3, warnings: vec!["w".into()] };
    check(vectors, "ControlEvent::Reloaded", &ControlEvent::Reloaded(reloaded));
    check(vectors, "ControlEvent::CollateralKept", &ControlEvent::CollateralKept);
    // Indexes of `Counters::calls` and `ToolTotals::calls`.
    let places =
        [Decision::Allow, Decision::Deny, Decision::AdvisoryDeny, Decision::Fault].map(|decision| decision as usize);
    assert_eq!(places, [0, 1, 2, 3]);
}

fn logs(vectors: &mut Vectors<'_>) {
    let denied = LogEvent::Denied { session: 1, tool: u32::MAX, advisory: true };
    let faulted = LogEvent::Faulted { session: 2, tool: 0, code: 503 };
    for (name, event) in [
        ("Denied", denied),
        ("Faulted", faulted),
        ("StoreUnavailable", LogEvent::StoreUnavailable),
        ("StoreRecovered", LogEvent::StoreRecovered { refused: 9 }),
        ("StoreLost", LogEvent::StoreLost { batch: 8 }),
        ("Dropped", LogEvent::Dropped { events: 7 }),
        ("Unapproved", LogEvent::Unapproved { session: 3, tool: 1, code: 34 }),
        ("AttestationStale", LogEvent::AttestationStale),
        ("AttestationRenewed", LogEvent::AttestationRenewed),
    ] {
        check(vectors, &format!("ControlEvent::Log({name})"), &ControlEvent::Log(event));
    }
}

fn refusals(vectors: &mut Vectors<'_>) {
    let codes = [
        RefusalCode::Malformed,
        RefusalCode::UnknownKey,
        RefusalCode::Missing,
        RefusalCode::InvalidValue,
        RefusalCode::Duplicate,
        RefusalCode::HashMismatch,
        RefusalCode::Cedar,
        RefusalCode::Unsupported,
        RefusalCode::NoTee,
        RefusalCode::State,
        RefusalCode::Signature,
        RefusalCode::Version,
        RefusalCode::Attestation,
    ];
    let documents =
        [Document::None, Document::Config, Document::Policy("a.cedar".into()), Document::Catalog, Document::Controls];
    for (code, document) in codes.into_iter().zip(documents.into_iter().cycle()) {
        let refusal = BootRefusal { code, document, field: "f".into(), found: "é".into(), expected: "x".into() };
        check(vectors, &format!("ControlEvent::Refused({code:?})"), &ControlEvent::Refused(refusal));
    }
}

fn store(vectors: &mut Vectors<'_>) {
    check(vectors, "StorePosition", &StorePosition { next: 65_536 });
    let bytes = Blob(b"cMCPbat1".into());
    let append = Append { batch: 12, sync: true, sessions: vec![1, 300], signature: [0x51; 64], bytes };
    check(vectors, "Append", &append);
    check(vectors, "AppendAnswer::Stored", &AppendAnswer::Stored { batch: 12 });
    for failure in [StoreFailure::Full, StoreFailure::Io, StoreFailure::OutOfOrder] {
        check(vectors, &format!("AppendAnswer::Failed({failure:?})"), &AppendAnswer::Failed(failure));
        check(vectors, &format!("RecallItem::Failed({failure:?})"), &RecallItem::Failed(failure));
    }
    check(vectors, "RecallItem::Batch", &RecallItem::Batch(Blob(b"cMCPbat1".into())));
    check(vectors, "RecallItem::End", &RecallItem::End);
}

/// The table of the specification is the constant.
#[test]
fn the_specification_has_these_latency_buckets() {
    let row = SPEC.lines().find(|line| line.starts_with("| upper bound in microseconds |")).expect("a row");
    let cells: Vec<&str> = row.trim_matches('|').split('|').skip(1).map(str::trim).collect();
    let bounds: Vec<String> = LATENCY_BOUNDS_US.iter().map(u64::to_string).collect();
    assert_eq!(cells, [bounds, vec!["none".to_owned()]].concat());
    assert!(LATENCY_BOUNDS_US.is_sorted_by(|a, b| a < b));
    assert_eq!(cells.len(), LATENCY_BUCKETS);
}

/// Stops compiling when a message gets a variant: add it here, in its function above, and in `SPEC.md`.
#[test]
fn no_variant_is_forgotten() {
    fn host_open(message: &HostOpen) {
        match message {
            HostOpen::Control { .. } | HostOpen::Inbound | HostOpen::Imds => {}
        }
    }
    fn enclave_open(message: &EnclaveOpen) {
        match message {
            EnclaveOpen::Dial { .. }
            | EnclaveOpen::Records { .. }
            | EnclaveOpen::Recall { .. }
            | EnclaveOpen::Spawn { .. } => {}
        }
    }
    fn open_refusal(refusal: OpenRefusal) {
        use OpenRefusal::{Busy, ControlTaken, NotAllowed, NotBooted, StoreUnavailable, UnknownBoot, Unreachable};
        match refusal {
            ControlTaken | NotBooted | Busy | Unreachable | NotAllowed | StoreUnavailable | UnknownBoot => {}
        }
    }
    fn request(message: &ControlRequest) {
        use ControlRequest::{Ask, Boot, Check, Collateral, HashDefinition, Reload, Schema, Shutdown};
        match message {
            Boot(_) | Check(_) | HashDefinition(_) | Shutdown | Schema(_) | Ask(_) | Reload(_) | Collateral(_) => {}
        }
    }
    fn event(message: &ControlEvent) {
        use ControlEvent::{
            Booted, Checked, Codes, CollateralKept, Counters, DefinitionHash, Log, Part, Refused, Reloaded, Stopped,
            Tools,
        };
        match message {
            Booted(_)
            | Refused(_)
            | Checked(_)
            | DefinitionHash(_)
            | Counters(_)
            | Log(_)
            | Stopped { .. }
            | Part { .. }
            | Tools(_)
            | Codes(_)
            | Reloaded(_)
            | CollateralKept => {}
        }
    }
    fn log(event: LogEvent) {
        use LogEvent::{
            AttestationRenewed, AttestationStale, Denied, Dropped, Faulted, StoreLost, StoreRecovered,
            StoreUnavailable, Unapproved,
        };
        match event {
            Denied { .. }
            | Faulted { .. }
            | StoreUnavailable
            | StoreRecovered { .. }
            | StoreLost { .. }
            | Dropped { .. }
            | Unapproved { .. }
            | AttestationStale
            | AttestationRenewed => {}
        }
    }
    fn refusal(code: RefusalCode, document: &Document) {
        use RefusalCode::{
            Attestation, Cedar, Duplicate, HashMismatch, InvalidValue, Malformed, Missing, NoTee, Signature, State,
            UnknownKey, Unsupported, Version,
        };
        match code {
            Malformed | UnknownKey | Missing | InvalidValue | Duplicate | HashMismatch | Cedar | Unsupported
            | NoTee | State | Signature | Version | Attestation => {}
        }
        match document {
            Document::None | Document::Config | Document::Policy(_) | Document::Catalog | Document::Controls => {}
        }
    }
    fn rest(
        provider: Provider,
        enforcement: Enforcement,
        failure: StoreFailure,
        answer: AppendAnswer,
        item: &RecallItem,
    ) {
        use Provider::{AzureSnp, AzureTdx, SevSnp, SoftwareOnly, Tdx, Tpm};
        match provider {
            SoftwareOnly | AzureSnp | AzureTdx | SevSnp | Tdx | Tpm => {}
        }
        match enforcement {
            Enforcement::Enforcing | Enforcement::Advisory | Enforcement::Silent => {}
        }
        match failure {
            StoreFailure::Full | StoreFailure::Io | StoreFailure::OutOfOrder => {}
        }
        match answer {
            AppendAnswer::Stored { .. } | AppendAnswer::Failed(_) => {}
        }
        match item {
            RecallItem::Batch(_) | RecallItem::End | RecallItem::Failed(_) => {}
        }
    }
    let _ = (host_open, enclave_open, open_refusal, request, event, log, refusal, rest);
}
