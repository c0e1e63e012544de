//! What any message survives, and what no bytes can do.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fmt::Debug;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};
use wire::{
    Append, AppendAnswer, Blob, BootBundle, BootRefusal, BootReport, CodeTotal, CodecError, ControlEvent,
    ControlRequest, Counters, Document, EnclaveOpen, Enforcement, HEADER_LEN, Header, HostOpen, LATENCY_BUCKETS,
    LogEvent, MAGIC, Message, OpenAnswer, OpenRefusal, PolicyFile, PolicyQuestions, Provider, RecallItem, RefusalCode,
    ReloadReport, Spawned, StoreFailure, StoreHead, StorePosition, Text, ToolTotals, VERSION, WireError, blocking,
    decode, encode, limits,
};

fn blob() -> impl Strategy<Value = Blob> {
    vec(any::<u8>(), 0..300).prop_map(Blob)
}

fn text() -> impl Strategy<Value = Text> {
    ".{0,40}".prop_map(Text)
}

fn host_open() -> impl Strategy<Value = HostOpen> {
    prop_oneof![
        any::<u32>().prop_map(|callback_port| HostOpen::Control { callback_port }),
        Just(HostOpen::Inbound),
        Just(HostOpen::Imds),
    ]
}

fn enclave_open() -> impl Strategy<Value = EnclaveOpen> {
    prop_oneof![
        (text(), any::<u16>()).prop_map(|(host, port)| EnclaveOpen::Dial { host, port }),
        any::<([u8; 16], u64)>().prop_map(|(boot_id, next)| EnclaveOpen::Records { boot_id, next }),
        any::<([u8; 16], u64, u64, u64)>().prop_map(|(boot_id, first, last, session)| EnclaveOpen::Recall {
            boot_id,
            first,
            last,
            session
        }),
        (any::<u32>(), vec(text(), 0..4), vec(text(), 0..4), prop::option::of(text()))
            .prop_map(|(tool, command, env, entrypoint)| EnclaveOpen::Spawn { tool, command, env, entrypoint }),
    ]
}

fn open_answer() -> impl Strategy<Value = OpenAnswer> {
    let refusals = [OpenRefusal::ControlTaken, OpenRefusal::Busy, OpenRefusal::NotAllowed, OpenRefusal::UnknownBoot];
    prop_oneof![Just(OpenAnswer::Ready), prop::sample::select(refusals.to_vec()).prop_map(OpenAnswer::Refused)]
}

fn bundle() -> impl Strategy<Value = BootBundle> {
    let file = (text(), blob()).prop_map(|(path, bytes)| PolicyFile { path, bytes });
    let head = any::<([u8; 16], u64, [u8; 32])>().prop_map(|(boot_id, batch, hash)| StoreHead { boot_id, batch, hash });
    let parts =
        (blob(), vec(file, 0..4), blob(), prop::option::of(blob()), any::<(u64, bool, bool)>(), prop::option::of(head));
    parts.prop_map(|(config, policy, catalog, controls, (wall_unix_ms, dev, tls), store_head)| BootBundle {
        config,
        policy,
        catalog,
        controls,
        wall_unix_ms,
        dev,
        store_head,
        tls,
    })
}

fn control_request() -> impl Strategy<Value = ControlRequest> {
    prop_oneof![
        bundle().prop_map(ControlRequest::Boot),
        bundle().prop_map(ControlRequest::Check),
        blob().prop_map(ControlRequest::HashDefinition),
        Just(ControlRequest::Shutdown),
        blob().prop_map(ControlRequest::Schema),
        (bundle(), blob(), any::<bool>()).prop_map(|(bundle, requests, explain)| ControlRequest::Ask(
            PolicyQuestions { policy: bundle.policy, catalog: bundle.catalog, requests, explain }
        )),
        bundle().prop_map(|bundle| ControlRequest::Reload(bundle.policy)),
        blob().prop_map(ControlRequest::Collateral),
    ]
}

fn report() -> impl Strategy<Value = BootReport> {
    (any::<([u8; 16], [u8; 32], [u8; 32], u32, u32)>(), vec(text(), 0..3), any::<Option<u64>>()).prop_map(
        |((boot_id, bundle_hash, public_key, tools, policies), warnings, controls_epoch)| BootReport {
            boot_id,
            provider: Provider::SoftwareOnly,
            enforcement: Enforcement::Silent,
            bundle_hash,
            catalog_hash: public_key,
            config_hash: bundle_hash,
            public_key,
            tools,
            policies,
            warnings,
            policy_signed_by: controls_epoch.map(|_| bundle_hash),
            controls_epoch,
            halted: controls_epoch.is_none(),
            tls_spki: controls_epoch.map(|_| public_key).into_iter().collect(),
            evidence: Blob(public_key.into()),
        },
    )
}

fn refusal() -> impl Strategy<Value = BootRefusal> {
    let document = prop_oneof![Just(Document::Config), text().prop_map(Document::Policy)];
    (document, text(), text(), text()).prop_map(|(document, field, found, expected)| BootRefusal {
        code: RefusalCode::InvalidValue,
        document,
        field,
        found,
        expected,
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    any::<(u64, u64, [u64; 4], u64, u64, u64)>().prop_map(
        |(sessions_open, sessions_total, calls, batches, records, audit_unavailable)| Counters {
            sessions_open,
            sessions_total,
            calls,
            batches,
            records,
            audit_unavailable,
        },
    )
}

fn tool_totals() -> impl Strategy<Value = ToolTotals> {
    (any::<(u32, [u64; 4], u64)>(), any::<[u64; LATENCY_BUCKETS]>())
        .prop_map(|((tool, calls, latency_sum_us), latency)| ToolTotals { tool, calls, latency, latency_sum_us })
}

fn control_event() -> impl Strategy<Value = ControlEvent> {
    prop_oneof![
        report().prop_map(ControlEvent::Booted),
        refusal().prop_map(ControlEvent::Refused),
        any::<[u8; 32]>().prop_map(ControlEvent::DefinitionHash),
        counters().prop_map(ControlEvent::Counters),
        any::<(u64, u32, bool)>().prop_map(|(session, tool, advisory)| ControlEvent::Log(LogEvent::Denied {
            session,
            tool,
            advisory
        })),
        any::<u64>().prop_map(|sessions_closed| ControlEvent::Stopped { sessions_closed }),
        (blob(), any::<bool>()).prop_map(|(bytes, last)| ControlEvent::Part { bytes, last }),
        vec(tool_totals(), 0..4).prop_map(ControlEvent::Tools),
        vec(any::<(u16, u64)>().prop_map(|(code, answers)| CodeTotal { code, answers }), 0..4)
            .prop_map(ControlEvent::Codes),
        (report(), vec(text(), 0..3)).prop_map(|(report, warnings)| ControlEvent::Reloaded(ReloadReport {
            bundle_hash: report.bundle_hash,
            signed_by: report.public_key,
            policies: report.policies,
            warnings,
        })),
    ]
}

fn append() -> impl Strategy<Value = Append> {
    (any::<(u64, bool)>(), vec(any::<u64>(), 0..20), vec(any::<u8>(), 64), blob()).prop_map(
        |((batch, sync), sessions, signature, bytes)| Append {
            batch,
            sync,
            sessions,
            signature: signature.try_into().unwrap(),
            bytes,
        },
    )
}

fn append_answer() -> impl Strategy<Value = AppendAnswer> {
    prop_oneof![
        any::<u64>().prop_map(|batch| AppendAnswer::Stored { batch }),
        Just(AppendAnswer::Failed(StoreFailure::OutOfOrder)),
    ]
}

fn recall_item() -> impl Strategy<Value = RecallItem> {
    prop_oneof![blob().prop_map(RecallItem::Batch), Just(RecallItem::End), Just(RecallItem::Failed(StoreFailure::Io))]
}

/// Round trip through blocking and asynchronous streams; every shorter frame and every longer payload is refused.
fn survives<M: Message + Debug + PartialEq>(message: &M) {
    let mut frame = Vec::new();
    blocking::write(&mut frame, message).unwrap();
    assert_eq!(&blocking::read::<M>(&mut frame.as_slice()).unwrap(), message);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut written = Vec::new();
        wire::write(&mut written, message).await.unwrap();
        assert_eq!(written, frame);
        assert_eq!(&wire::read::<M>(&mut Dribble(&frame)).await.unwrap(), message);
        for length in 0..frame.len() {
            let error = wire::read::<M>(&mut &frame[..length]).await.unwrap_err();
            assert_eq!(matches!(error, WireError::Closed), length == 0, "{length}: {error}");
        }
    });
    for length in 0..frame.len() {
        let error = blocking::read::<M>(&mut &frame[..length]).unwrap_err();
        assert!(matches!(error, WireError::Closed | WireError::Truncated), "{length}: {error}");
    }
    let mut payload = encode(message).unwrap();
    for length in 0..payload.len() {
        assert!(decode::<M>(&payload[..length]).is_err(), "{length} of {}", payload.len());
    }
    payload.push(0);
    assert!(matches!(decode::<M>(&payload), Err(CodecError::Trailing(1))));
}

/// One byte at a time.
struct Dribble<'a>(&'a [u8]);

impl AsyncRead for Dribble<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first() {
            buffer.put_slice(&[*first]);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn messages_survive(
        (host_open, enclave_open, answer) in (host_open(), enclave_open(), open_answer()),
        (request, event) in (control_request(), control_event()),
        (append, append_answer, item) in (append(), append_answer(), recall_item()),
        next in any::<u64>(),
    ) {
        survives(&host_open);
        survives(&enclave_open);
        survives(&answer);
        survives(&request);
        survives(&event);
        survives(&append);
        survives(&append_answer);
        survives(&item);
        survives(&StorePosition { next });
        survives(&Spawned { entrypoint_digest: [next.to_le_bytes()[0]; 32] });
    }
}

/// Decodes as every message. Whatever is understood is written back and understood alike.
fn decode_as_everything(bytes: &[u8]) {
    fn one<M: Message + Debug + PartialEq>(bytes: &[u8]) {
        if let Ok(message) = decode::<M>(bytes) {
            assert_eq!(decode::<M>(&encode(&message).unwrap()).unwrap(), message);
        }
    }
    one::<HostOpen>(bytes);
    one::<EnclaveOpen>(bytes);
    one::<OpenAnswer>(bytes);
    one::<ControlRequest>(bytes);
    one::<ControlEvent>(bytes);
    one::<StorePosition>(bytes);
    one::<Append>(bytes);
    one::<AppendAnswer>(bytes);
    one::<RecallItem>(bytes);
    one::<Spawned>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
        let _ = blocking::read::<ControlRequest>(&mut bytes.as_slice());
    }

    /// Small numbers first, so that variants and lengths are often plausible.
    #[test]
    fn plausible_bytes_never_panic(start in vec(0_u8..8, 1..12), rest in vec(prop_oneof![0_u8..4, any::<u8>(), Just(0xfd)], 0..60)) {
        decode_as_everything(&[start, rest].concat());
    }

    #[test]
    fn a_changed_byte_never_panics(append in append(), request in control_request(), at in any::<usize>(), byte in any::<u8>()) {
        for mut payload in [encode(&append).unwrap(), encode(&request).unwrap()] {
            let at = at % payload.len();
            payload[at] = byte;
            decode_as_everything(&payload);
        }
    }
}

/// A stream that ends the test if it is read past the header.
struct HeaderOnly<'a>(&'a [u8]);

impl Read for HeaderOnly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(!self.0.is_empty(), "read past the header");
        self.0.read(buffer)
    }
}

#[test]
fn a_length_over_the_limit_is_refused_unread() {
    fn one<M: Message + Debug>() {
        for length in [u32::try_from(M::MAX).unwrap() + 1, u32::MAX] {
            let header = Header { kind: M::KIND, length }.to_bytes();
            let error = blocking::read::<M>(&mut HeaderOnly(&header)).unwrap_err();
            assert!(matches!(error, WireError::TooLarge { .. }), "{error}");
        }
    }
    one::<HostOpen>();
    one::<EnclaveOpen>();
    one::<OpenAnswer>();
    one::<ControlRequest>();
    one::<ControlEvent>();
    one::<StorePosition>();
    one::<Append>();
    one::<AppendAnswer>();
    one::<RecallItem>();
    one::<Spawned>();
}

#[test]
fn a_message_over_the_limit_is_not_written() {
    let host = Text("x".repeat(EnclaveOpen::MAX));
    let error = encode(&EnclaveOpen::Dial { host, port: 1 }).unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { .. }), "{error}");
}

#[test]
fn as_many_tools_as_allowed_fit_one_event() {
    let largest = ToolTotals {
        tool: u32::MAX,
        calls: [u64::MAX; 4],
        latency: [u64::MAX; LATENCY_BUCKETS],
        latency_sum_us: u64::MAX,
    };
    let event = ControlEvent::Tools(vec![largest; limits::TOOLS]);
    assert_eq!(decode::<ControlEvent>(&encode(&event).unwrap()).unwrap(), event);
}

#[test]
fn a_header_of_something_else_is_refused() {
    let good = Header { kind: OpenAnswer::KIND, length: 1 }.to_bytes();
    let with = |at: usize, byte: u8| {
        let mut header = good;
        header[at] = byte;
        blocking::read::<OpenAnswer>(&mut HeaderOnly(&header)).unwrap_err()
    };
    for at in 0..MAGIC.len() {
        assert!(matches!(with(at, b'x'), WireError::Magic));
    }
    assert!(matches!(with(4, 2), WireError::Version(2)));
    assert!(matches!(with(5, 1), WireError::Version(version) if version == VERSION + 256));
    assert!(matches!(with(6, 9), WireError::Kind { found: 9, expected: 3 }));
    assert_eq!(HEADER_LEN, good.len());
}

/// Lengths that the payload cannot hold, up to the largest that can be written, at every place where one can stand.
#[test]
fn lengths_that_lie_are_refused() {
    for length in [vec![251, 255, 255], vec![252, 255, 255, 255, 127], [vec![253], vec![255; 8]].concat()] {
        for payload in [
            [vec![0], length.clone()].concat(),
            [vec![0, 0], length.clone()].concat(),
            [vec![0, 0, 0], length.clone()].concat(),
            [vec![0, 0, 1, 0], length.clone()].concat(),
            [vec![2], length.clone()].concat(),
        ] {
            assert!(decode::<ControlRequest>(&payload).is_err());
            assert!(decode::<RecallItem>(&payload).is_err());
        }
        assert!(decode::<Append>(&[vec![0, 1], length.clone()].concat()).is_err());
        assert!(decode::<EnclaveOpen>(&[vec![0], length].concat()).is_err());
    }
}
