//! An enclave that decides nothing: it boots with whatever it is given and obeys the lines that agents send.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::thread;

use wire::{
    Append, AppendAnswer, Blob, BootBundle, BootRefusal, BootReport, ControlEvent, ControlRequest, Counters, Document,
    EnclaveOpen, Enforcement, HostOpen, LogEvent, OpenAnswer, Provider, RecallItem, RefusalCode, StoreHead,
    StorePosition, blocking,
};

/// Not a test: what the `enclave` script runs. Modes: `refuse` the bundle, `exit` at once, `deaf` to the request to stop,
/// `azure` has hardware, `picky` has it too and takes no collateral.
#[test]
fn enclave() {
    let Ok(listen) = std::env::var("FAKE_ENCLAVE") else { return };
    let mode = std::env::var("FAKE_MODE").unwrap();
    if mode == "exit" {
        exit(3);
    }
    let path = listen.strip_prefix("unix:").unwrap().to_owned();
    let listener = UnixListener::bind(&path).unwrap();
    let mut control = listener.accept().unwrap().0;
    let HostOpen::Control { callback_port } = blocking::read(&mut control).unwrap() else {
        panic!("no control stream")
    };
    blocking::write(&mut control, &OpenAnswer::Ready).unwrap();
    let bundle = boot(&mut control, &mode);
    let fake = Arc::new(Fake {
        callback: format!("{path}_{callback_port}"),
        boot_id: u128::from(std::process::id()).to_le_bytes(),
        store_head: bundle.store_head,
        control: Mutex::new(control.try_clone().unwrap()),
        records: Mutex::new(None),
        collateral: Mutex::default(),
    });
    let serving = Arc::clone(&fake);
    thread::spawn(move || serve(&serving, &listener));
    obey(&fake, &mut control, &mode);
}

struct Fake {
    callback: String,
    boot_id: [u8; 16],
    store_head: Option<StoreHead>,
    control: Mutex<UnixStream>,
    records: Mutex<Option<(UnixStream, u64)>>,
    collateral: Mutex<Vec<String>>,
}

fn boot(control: &mut UnixStream, mode: &str) -> BootBundle {
    loop {
        match blocking::read(control).unwrap_or_else(|_| exit(0)) {
            ControlRequest::Boot(_) | ControlRequest::Check(_) if mode == "refuse" => {
                refuse(control, RefusalCode::Cedar);
            }
            ControlRequest::Boot(bundle) if !bundle.dev && !has_hardware(mode) => refuse(control, RefusalCode::NoTee),
            ControlRequest::Boot(bundle) => {
                let report = if bundle.dev { report() } else { azure() };
                blocking::write(control, &ControlEvent::Booted(report)).unwrap();
                return bundle;
            }
            ControlRequest::Check(_) => blocking::write(control, &ControlEvent::Checked(report())).unwrap(),
            ControlRequest::HashDefinition(_) => {
                blocking::write(control, &ControlEvent::DefinitionHash([5; 32])).unwrap();
            }
            ControlRequest::Schema(_) | ControlRequest::Ask(_) => {
                for last in [false, true] {
                    blocking::write(control, &ControlEvent::Part { bytes: Blob(b"part".into()), last }).unwrap();
                }
            }
            ControlRequest::Reload(_) | ControlRequest::Collateral(_) => refuse(control, RefusalCode::State),
            ControlRequest::Shutdown => exit(0),
        }
    }
}

fn report() -> BootReport {
    BootReport {
        boot_id: [0; 16],
        provider: Provider::SoftwareOnly,
        enforcement: Enforcement::Advisory,
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

fn has_hardware(mode: &str) -> bool {
    matches!(mode, "azure" | "picky")
}

/// Of an Azure VM whose attestation key has no certificate.
fn azure() -> BootReport {
    let evidence = serde_json::json!({ "evidence": { "type": "azure", "hcl_report": "AAAA" } });
    BootReport { provider: Provider::AzureSnp, evidence: Blob(evidence.to_string().into_bytes()), ..report() }
}

fn refuse(control: &mut UnixStream, code: RefusalCode) {
    let refusal = BootRefusal {
        code,
        document: Document::Policy("demo.cedar".into()),
        field: "policy0".into(),
        found: "rubbish".into(),
        expected: "Cedar".into(),
    };
    blocking::write(control, &ControlEvent::Refused(refusal)).unwrap();
}

/// The control stream after the boot; its end is the enclave's.
fn obey(fake: &Fake, control: &mut UnixStream, mode: &str) {
    loop {
        match blocking::read(control) {
            Ok(ControlRequest::Shutdown) if mode == "deaf" => {}
            Ok(ControlRequest::Shutdown) => {
                fake.append(1);
                fake.tell(&ControlEvent::Stopped { sessions_closed: 7 });
                exit(0);
            }
            Ok(ControlRequest::Collateral(_)) if mode == "picky" => refuse(control, RefusalCode::Malformed),
            Ok(ControlRequest::Collateral(document)) => {
                fake.collateral.lock().unwrap().push(String::from_utf8(document.0).unwrap());
                fake.tell(&ControlEvent::CollateralKept);
            }
            _ => exit(0),
        }
    }
}

fn serve(fake: &Arc<Fake>, listener: &UnixListener) {
    for stream in listener.incoming() {
        let (fake, mut stream) = (Arc::clone(fake), stream.unwrap());
        thread::spawn(move || {
            assert_eq!(blocking::read::<HostOpen>(&mut stream).unwrap(), HostOpen::Inbound);
            blocking::write(&mut stream, &OpenAnswer::Ready).unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = fake.answer(line.trim());
            stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
        });
    }
}

impl Fake {
    fn answer(&self, line: &str) -> String {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["echo", text] => (*text).to_owned(),
            ["boot"] => {
                let head = self.store_head.map_or_else(|| "none".to_owned(), |head| head.batch.to_string());
                format!("{} {head}", std::process::id())
            }
            ["collateral"] => self.collateral.lock().unwrap().join(" "),
            ["append", count] => format!("stored {}", self.append(count.parse().unwrap())),
            ["recall", session] => self.recall(session.parse().unwrap()),
            ["dial", host, port] => self.dial(host, port.parse().unwrap()),
            ["counters", open] => {
                let counters = Counters { sessions_open: open.parse().unwrap(), ..Counters::default() };
                self.tell(&ControlEvent::Counters(counters));
                String::new()
            }
            ["log"] => {
                self.tell(&ControlEvent::Log(LogEvent::Denied { session: 1, tool: 0, advisory: true }));
                String::new()
            }
            ["die"] => exit(9),
            other => panic!("unknown line {other:?}"),
        }
    }

    fn tell(&self, event: &ControlEvent) {
        blocking::write(&mut *self.control.lock().unwrap(), event).unwrap();
    }

    fn open(&self, open: &EnclaveOpen) -> (UnixStream, OpenAnswer) {
        let mut stream = UnixStream::connect(&self.callback).unwrap();
        blocking::write(&mut stream, open).unwrap();
        let answer = blocking::read(&mut stream).unwrap();
        (stream, answer)
    }

    /// Appends this many batches; how many the store then holds. Batch n names the sessions n % 2.
    fn append(&self, count: u64) -> u64 {
        let mut records = self.records.lock().unwrap();
        let (stream, next) = records.get_or_insert_with(|| {
            let (mut stream, answer) = self.open(&EnclaveOpen::Records { boot_id: self.boot_id, next: 0 });
            assert_eq!(answer, OpenAnswer::Ready);
            let position: StorePosition = blocking::read(&mut stream).unwrap();
            (stream, position.next)
        });
        for batch in *next..*next + count {
            let mut bytes = b"cMCPbat1".to_vec();
            bytes.extend(self.boot_id);
            bytes.extend(batch.to_le_bytes());
            let append =
                Append { batch, sync: true, sessions: vec![batch % 2], signature: [6; 64], bytes: Blob(bytes) };
            blocking::write(stream, &append).unwrap();
            assert_eq!(blocking::read::<AppendAnswer>(stream).unwrap(), AppendAnswer::Stored { batch });
        }
        *next += count;
        *next
    }

    fn recall(&self, session: u64) -> String {
        let (mut stream, answer) =
            self.open(&EnclaveOpen::Recall { boot_id: self.boot_id, first: 0, last: u64::MAX, session });
        assert_eq!(answer, OpenAnswer::Ready);
        let mut said = "batches".to_owned();
        loop {
            match blocking::read(&mut stream).unwrap() {
                RecallItem::Batch(bytes) => {
                    let number = u64::from_le_bytes(bytes.0[24..32].try_into().unwrap());
                    said = format!("{said} {number}");
                }
                RecallItem::End => return said,
                RecallItem::Failed(failure) => return format!("{failure:?}"),
            }
        }
    }

    fn dial(&self, host: &str, port: u16) -> String {
        let (mut stream, answer) = self.open(&EnclaveOpen::Dial { host: host.into(), port });
        if answer != OpenAnswer::Ready {
            return format!("{answer:?}");
        }
        stream.write_all(b"ping\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }
}
