//! Against stand-ins of the vendors' services that answer with what those answered once.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use wire::Provider;

use super::{Collateral, Sources, amd, der, text};

/// What a service answers at a path and query: body, headers.
type Pages = BTreeMap<String, (Vec<u8>, Vec<(&'static str, String)>)>;

/// A service on this machine, and what it was asked.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(pages: impl FnOnce(&str) -> Pages) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (pages, asked) = (pages(&url), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut first, mut length, mut metadata) = (String::new(), 0, false);
                stream.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim_end().to_ascii_lowercase();
                    length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
                    metadata |= line == "metadata: true";
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let path = first.split(' ').nth(1).unwrap();
                let needs_metadata = path.starts_with("/metadata") || path.starts_with("/acc");
                let page = pages.get(path).filter(|_| metadata || !needs_metadata);
                seen.lock().unwrap().push(format!("{} {}", first.trim_end(), String::from_utf8(body).unwrap()));
                let status = if page.is_some() { "200 OK" } else { "404 Not Found" };
                let (body, headers) = page.cloned().unwrap_or_default();
                let headers =
                    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
                let head = format!(
                    "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let stream = stream.get_mut();
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { url, asked }
    }

    /// Everything from this service.
    fn sources(&self) -> Sources {
        let url = &self.url;
        let here = || url.clone();
        let issuers = vec!["127.0.0.1".to_owned()];
        Sources { collateral: None, imds: here(), kds: here(), pcs: here(), issuers, relay: None }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The recorded evidence, where it is.
fn fixture(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/evidence").join(name);
    path.exists().then_some(path)
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// What has the form of a certificate, and names where its issuer's is.
fn certificate(name: &[u8], issuer: Option<&str>) -> Vec<u8> {
    let mut body = vec![0x30, 0x82, 0, 1];
    body.extend_from_slice(name);
    if let Some(url) = issuer {
        body.extend_from_slice(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86");
        body.push(u8::try_from(url.len()).unwrap());
        body.extend_from_slice(url.as_bytes());
    }
    body.resize(body.len().max(300), 0);
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &body].concat()
}

fn pem(der: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", Base64::encode_string(der))
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// The value of an integer extension of AMD's, `1.3.6.1.4.1.3704.1.N`.
fn amd_extension(certificate: &[u8], arcs: &[u8]) -> Option<u64> {
    let length = u8::try_from(8 + arcs.len()).unwrap();
    let oid = [&[0x06, length, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01][..], arcs].concat();
    // OCTET STRING around an INTEGER.
    let rest = der::after(certificate, &oid)?.get(3..)?;
    let (length, rest) = rest.split_first()?;
    rest.get(..usize::from(*length)).map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[test]
fn amd_is_asked_for_the_key_that_signed_the_report() {
    let reports = ["milan-v3-oak-oc-release", "genoa-v5-oak-oc", "turin-v5-oak-oc"];
    for (folder, product) in reports.iter().zip(["Milan", "Genoa", "Turin"]) {
        let Some(folder) = fixture(&format!("snp/{folder}")) else { return };
        let (report, vek) = (read(&folder, "report.bin"), read(&folder, "vek.der"));
        let chain = [read(&folder, "ask.der"), read(&folder, "ark.der")];
        // What the key's own certificate says of its TCB and chip is what AMD has to be asked for.
        let spl = |name: &str, arc| format!("{name}={}", amd_extension(&vek, &[3, arc]).unwrap());
        let mut parts = vec![spl("blSPL", 1), spl("teeSPL", 2), spl("snpSPL", 3), spl("ucodeSPL", 8)];
        if product == "Turin" {
            parts.insert(0, spl("fmcSPL", 9));
        }
        let chip = &report[0x1a0..][..if product == "Turin" { 8 } else { 64 }];
        assert!(der::after(&vek, chip).is_some(), "the certificate names the chip");
        let wanted = format!("/vcek/v1/{product}/{}?{}", crate::report::hex(chip), parts.join("&"));
        let service = Service::start(|_| {
            let page = |body: Vec<u8>| (body, Vec::new());
            let chain = chain.iter().map(|one| pem(one)).collect::<String>();
            [
                (wanted.clone(), page(vek.clone())),
                (format!("/vcek/v1/{product}/cert_chain"), page(chain.into_bytes())),
                (format!("/vcek/v1/{product}/crl"), page(certificate(b"crl", None))),
            ]
            .into()
        });
        let evidence = json!({ "type": "sev-snp", "report": text(&report) });
        let found = service.sources().all(Provider::SevSnp, &evidence);
        assert_eq!(found.missing, Vec::<String>::new());
        assert_eq!(found.certificates, [&[vek][..], &chain].concat());
        assert_eq!(found.crls, [certificate(b"crl", None)]);
    }
}

#[test]
fn a_report_that_does_not_name_its_processor_may_be_of_two() {
    let mut report = vec![0; 1184];
    report[0] = 2;
    let service = Service::start(|_| Pages::new());
    let mut found = Collateral::default();
    amd::report(&super::Http::new(None), &service.url, &report, &mut found);
    let products: Vec<_> = service.asked().iter().map(|line| line.split('/').nth(3).unwrap().to_owned()).collect();
    assert_eq!(products, ["Milan", "Genoa"]);
    assert!(found.is_empty() && found.missing.len() == 2, "{:?}", found.missing);
}

/// The recorded collateral in the pieces in which Intel gives it.
fn intel_pages(collateral: &Value, ca: &str) -> Pages {
    let part = |name: &str| collateral[name].as_str().unwrap();
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
    };
    let tcb = format!(r#"{{"tcbInfo":{},"signature":"{}"}}"#, part("tcb_info"), part("tcb_info_signature"));
    let identity =
        format!(r#"{{"enclaveIdentity":{},"signature":"{}"}}"#, part("qe_identity"), part("qe_identity_signature"));
    let fmspc = serde_json::from_str::<Value>(part("tcb_info")).unwrap()["fmspc"].as_str().unwrap().to_owned();
    let chain = |name| encoded(part(name));
    [
        (
            format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
            (hex(part("pck_crl")), vec![("SGX-PCK-CRL-Issuer-Chain", chain("pck_crl_issuer_chain"))]),
        ),
        (
            format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
            (tcb.into_bytes(), vec![("TCB-Info-Issuer-Chain", chain("tcb_info_issuer_chain"))]),
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            (identity.into_bytes(), vec![("SGX-Enclave-Identity-Issuer-Chain", chain("qe_identity_issuer_chain"))]),
        ),
        ("/sgx/certification/v4/rootcacrl".to_owned(), (part("root_ca_crl").as_bytes().to_vec(), Vec::new())),
    ]
    .into()
}

#[test]
fn intel_is_asked_for_what_goes_with_the_quote() {
    for folder in ["dcap-v4-flashbots", "oak-v4", "dstack-v4-eventlog"] {
        let Some(folder) = fixture(&format!("tdx/{folder}")) else { return };
        let collateral: Value = serde_json::from_slice(&read(&folder, "collateral.json")).unwrap();
        let service = Service::start(|_| intel_pages(&collateral, "platform"));
        let evidence = json!({ "type": "tdx", "quote": text(&read(&folder, "quote.bin")) });
        let found = service.sources().all(Provider::Tdx, &evidence);
        assert_eq!(found.missing, Vec::<String>::new());
        let wanted: serde_json::Map<String, Value> = collateral
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "pck_certificate_chain")
            .collect();
        assert_eq!(found.tdx, Some(Value::Object(wanted)));
        let document: Value = serde_json::from_slice(&found.document()).unwrap();
        assert_eq!(document["tdx"], found.tdx.unwrap());
    }
}

#[test]
fn azure_gives_the_quote_and_the_issuers_of_the_tpm() {
    let Some(folder) = fixture("azure-tdx/flashbots-with-ak-intermediates-1780922561") else { return };
    let (hcl, quote) = (read(&folder, "hcl.bin"), read(&folder, "tdquote.bin"));
    let collateral: Value = serde_json::from_slice(&read(&folder, "collateral.json")).unwrap();
    let mut leaf = Vec::new();
    let root = certificate(b"root", None);
    let service = Service::start(|url| {
        let middle = certificate(b"middle", Some(&format!("{url}/root.cer")));
        leaf = certificate(b"leaf", Some(&format!("{url}/middle.cer")));
        let mut pages = intel_pages(&collateral, "platform");
        let page = |body: Vec<u8>| (body, Vec::new());
        pages.insert("/middle.cer".to_owned(), page(middle));
        pages.insert("/root.cer".to_owned(), page(root.clone()));
        pages.insert("/acc/tdquote".to_owned(), page(json!({ "quote": text(&quote) }).to_string().into_bytes()));
        pages
    });
    let evidence = json!({ "type": "azure", "hcl_report": text(&hcl), "ak_certificate": text(&leaf) });
    let found = service.sources().all(Provider::AzureTdx, &evidence);
    assert_eq!(found.missing, Vec::<String>::new());
    assert_eq!((found.certificates.len(), &found.certificates[1]), (2, &root));
    assert_eq!(found.td_quote.as_deref(), Some(&*quote));
    assert!(found.tdx.is_some());
    let report = json!({ "report": text(&hcl[0x20..][..1024]) }).to_string();
    assert!(service.asked().contains(&format!("POST /acc/tdquote HTTP/1.1 {report}")), "{:?}", service.asked());
}

#[test]
fn azure_knows_the_processors_certificates() {
    let keys = [b"vcek", b"ask-", b"ark-"].map(|name| certificate(name, None));
    let service = Service::start(|_| {
        let [vcek, ask, ark] = &keys;
        let answer = json!({
            "vcekCert": pem(vcek), "tcbm": "DB18000000000004", "certificateChain": pem(ask) + &pem(ark), "cacheControl": "86400",
        });
        [("/metadata/THIM/amd/certification".to_owned(), (answer.to_string().into_bytes(), Vec::new()))].into()
    });
    let found = service.sources().all(Provider::AzureSnp, &json!({ "type": "azure", "hcl_report": "AAAA" }));
    assert_eq!((found.missing.len(), found.certificates), (0, keys.to_vec()));
}

/// A certificate may name any place. Only Microsoft's servers are asked.
#[test]
fn issuers_are_fetched_from_microsoft_alone() {
    let service = Service::start(|_| [("/x.cer".to_owned(), (certificate(b"x", None), Vec::new()))].into());
    let places = [
        format!("{}/x.cer", service.url),
        format!("{}?.microsoft.com", service.url),
        format!("{}#.microsoft.com", service.url),
        service.url.replace("http://", "http://www.microsoft.com@"),
        service.url.replace("http://", "ftp://"),
    ];
    for place in places {
        let sources = Sources { issuers: super::azure::ISSUERS.map(str::to_owned).to_vec(), ..service.sources() };
        let leaf = certificate(b"leaf", Some(&place));
        let found = sources.all(Provider::AzureTdx, &json!({ "ak_certificate": text(&leaf) }));
        assert!(
            found.certificates.is_empty() && found.missing[0].contains("no place at Microsoft's"),
            "{:?}",
            found.missing
        );
    }
    assert_eq!(service.asked(), Vec::<String>::new());
}

#[test]
fn answers_that_are_too_long_or_something_else_are_left_out() {
    let long = vec![0x30; usize::try_from(crate::limits::COLLATERAL_ANSWER).unwrap() + 1];
    for body in [long, b"<html>".to_vec(), certificate(b"", None)[1..].to_vec()] {
        let mut report = vec![0; 1184];
        report[..1].copy_from_slice(&[3]);
        report[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
        let wanted = format!("/vcek/v1/Milan/{}?blSPL=0&teeSPL=0&snpSPL=0&ucodeSPL=0", "00".repeat(64));
        let service = Service::start(|_| [(wanted, (body, Vec::new()))].into());
        let mut found = Collateral::default();
        amd::report(&super::Http::new(None), &service.url, &report, &mut found);
        assert!(found.is_empty() && found.missing.len() == 1, "{:?}", found.missing);
    }
}
