//! Reference values: the published schema accepts exactly what is read.
#![expect(clippy::unwrap_used, reason = "a broken fixture ends the test")]

mod fixture;
mod scene;
#[path = "vtpm/machine.rs"]
mod vtpm_machine;

use std::path::Path;

use claim::Digest;
use claim::json::{Json, parse};
use scene::Scene;
use verify::references::References;

fn schema_text() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference-values.schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the schema and the program say of it.
fn agree(document: &Json, good: bool) {
    let text = document.sorted_ascii();
    let schema = jsonschema::validator_for(&schema_text()).unwrap();
    assert_eq!(schema.is_valid(&serde_json::from_str(&text).unwrap()), good, "the schema: {text}");
    let read = References::parse(text.as_bytes());
    assert_eq!(read.is_ok(), good, "{read:?}: {text}");
}

fn json(text: &str) -> Json {
    parse(text.as_bytes()).unwrap()
}

fn sha384() -> Json {
    format!("sha384:{}", "a".repeat(96)).into()
}

/// With everything that the file can say.
fn full() -> Json {
    let digests = || Json::Array(vec![sha384()]);
    let tcb = json(r#"{"bootloader":4,"tee":0,"snp":24,"microcode":219}"#);
    let minimum =
        Json::from([("milan", tcb.clone()), ("genoa", tcb.clone()), ("turin", tcb.with("fmc", Json::Int(1)))]);
    let snp = json(
        r#"{"vmpl":[0,1],"allow_migration":true,"allow_smt":false,"allow_provisional_firmware":true,"require_crl":true,"minimum_guest_svn":3}"#,
    );
    let snp = snp.with("minimum_tcb", minimum).with("id_key_digests", digests()).with("author_key_digests", digests());
    let tdx = json(r#"{"accept_tcb":["UpToDate","OutOfDate"],"accept_advisories":["INTEL-SA-00837"]}"#);
    let azure = json(
        r#"{"minimum_guest_svn":8,"require_ak_certificate":false,"allow_console":true,"require_secure_boot":true}"#,
    );
    let azure = azure.with("id_key_digests", digests()).with("mrtds", digests());
    let mut images = Scene::new().references().get("images").unwrap().as_array().unwrap().to_vec();
    let applications = Json::Array(vec![Digest::of("uki").prefixed().into()]);
    images.push(images.first().unwrap().clone().with("boot_applications", applications));
    images.push(Json::from([("type", "software".into()), ("artifact", Digest::of("enclave").prefixed().into())]));
    images.push(Json::from([("type", "sev-snp".into()), ("measurement", sha384())]));
    let tdx_image = ["mrtd", "rtmr0", "rtmr1", "rtmr2"].map(|register| (register, sha384()));
    images.push(Json::from(tdx_image).with("type", "tdx".into()));
    Scene::new()
        .references()
        .with("images", Json::Array(images))
        .with("isolation", json(r#"["vm","process"]"#))
        .with("platforms", Json::from([("sev_snp", snp), ("tdx", tdx), ("azure", azure)]))
}

#[test]
fn the_schema_accepts_what_is_read() {
    agree(&full(), true);
    agree(&full().without("platforms").without("roots"), true);
    agree(&full().with("platforms", json("{}")), true);
    let examples = schema_text()["examples"].as_array().unwrap().clone();
    assert!(!examples.is_empty());
    for example in examples {
        agree(&json(&example.to_string()), true);
    }
}

#[test]
fn the_schema_refuses_what_is_not_read() {
    let good = full();
    for member in ["version", "images", "config_hashes", "bundle_hashes", "catalog_hashes"] {
        agree(&good.without(member), false);
        if member != "version" {
            agree(&good.clone().with(member, Json::Array(Vec::new())), false);
        }
    }
    agree(&good.clone().with("isolation", Json::Array(Vec::new())), false);
    agree(&good.clone().with("isolation", json(r#"["container"]"#)), false);
    for wrong in [
        good.clone().with("version", Json::Int(2)),
        good.clone().with("more", Json::Int(1)),
        good.clone().with("config_hashes", Json::Array(vec![Digest::of("a").hex().into()])),
        good.clone().with("config_hashes", Digest::of("a").prefixed().into()),
    ] {
        agree(&wrong, false);
    }
    assert!(References::parse(br#"{"version":1,"version":1}"#).is_err());
    let error = References::parse(good.with("config_hashes", Json::Array(Vec::new())).sorted_ascii().as_bytes());
    assert!(error.unwrap_err().to_string().contains("config_hashes"));
}

#[test]
fn images_have_all_that_they_are_known_by_and_no_more() {
    let good = full();
    let images = good.get("images").unwrap().as_array().unwrap().to_vec();
    for image in images {
        let alone = |image: Json| good.clone().with("images", Json::Array(vec![image]));
        agree(&alone(image.clone()), true);
        agree(&alone(image.clone().with("more", Json::Int(1))), false);
        for member in image.as_object().unwrap().keys().filter(|member| *member != "boot_applications") {
            agree(&alone(image.without(member)), false);
            agree(&alone(image.clone().with(member, "sha256:00".into())), false);
        }
        if let Some(pcrs) = image.get("pcrs") {
            for number in ["4", "9", "11"] {
                agree(&alone(image.clone().with("pcrs", pcrs.without(number))), false);
            }
            let value = pcrs.get("4").unwrap();
            agree(&alone(image.clone().with("pcrs", pcrs.clone().with("7", value.clone()))), true);
            for strange in ["12", "04", "-1", "x"] {
                agree(&alone(image.clone().with("pcrs", pcrs.clone().with(strange, value.clone()))), false);
            }
        }
    }
}

#[test]
fn policies_of_platforms_are_closed() {
    let good = full();
    let platforms = good.get("platforms").unwrap().clone();
    for (name, platform) in platforms.as_object().unwrap() {
        let with = |platform: Json| good.clone().with("platforms", platforms.clone().with(name, platform));
        agree(&with(json("{}")), true);
        agree(&with(platform.clone().with("more", Json::Int(1))), false);
        for member in platform.as_object().unwrap().keys() {
            agree(&with(platform.without(member)), true);
            agree(&with(platform.clone().with(member, "text".into())), false);
        }
    }
    for (platform, wrong) in [
        ("sev_snp", r#"{"vmpl":[4]}"#),
        ("sev_snp", r#"{"minimum_tcb":{"milan":{"snp":256}}}"#),
        ("sev_snp", r#"{"minimum_tcb":{"rome":{}}}"#),
        ("sev_snp", r#"{"minimum_guest_svn":-1}"#),
        ("tdx", r#"{"accept_tcb":["Revoked"]}"#),
        ("tdx", r#"{"accept_tcb":["uptodate"]}"#),
        ("azure", r#"{"mrtds":["sha256:00"]}"#),
    ] {
        agree(&good.clone().with("platforms", platforms.clone().with(platform, json(wrong))), false);
    }
}

#[test]
fn roots_are_certificates_of_a_kind() {
    let good = full();
    let root = good.get("roots").unwrap().as_array().unwrap().first().unwrap().clone();
    let with = |root: Json| good.clone().with("roots", Json::Array(vec![root]));
    for kind in ["amd-ark", "intel-sgx", "azure-vtpm", "tpm"] {
        agree(&with(root.clone().with("type", kind.into())), true);
    }
    agree(&with(root.without("test_only")), true);
    agree(&with(root.clone().with("type", "web".into())), false);
    agree(&with(root.without("certificate")), false);
    agree(&with(root.clone().with("certificate", "not base64url!".into())), false);
    // A schema cannot tell what is a certificate.
    let error = References::parse(with(root.with("certificate", "AAAA".into())).sorted_ascii().as_bytes());
    assert!(error.unwrap_err().to_string().contains("roots[0].certificate"));
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tls.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    agree(&json(example), true);
}

#[test]
fn they_are_made_of_measurements_and_documents() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string()
    };
    let run = |words: &[std::ffi::OsString]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = [&["cmcp-verify".into(), "reference".into()], words].concat();
        let exit = verify::cli::run(words, &mut out, &mut err);
        (exit.code(), out, String::from_utf8(err).unwrap())
    };
    let digest = |text: &str| Digest::of(text).prefixed();
    let image = |text: &str| {
        let pcr = digest(text);
        format!(r#"{{"type":"pcrs","pcrs":{{"4":"{pcr}","9":"{pcr}","11":"{pcr}"}},"boot_applications":["{pcr}"]}}"#)
    };
    let measured = |text: &str| format!(r#"{{"version":1,"flavour":"metal","images":[{}],"parts":{{}}}}"#, image(text));
    let checked = |text: &str| {
        let [config, bundle, catalog] = ["config", "bundle", "catalog"].map(|what| digest(&format!("{what} {text}")));
        format!(
            r#"{{"ok":true,"config_hash":"{config}","policy_bundle_hash":"{bundle}","tool_catalog_hash":"{catalog}"}}"#
        )
    };
    let (old, new) = (write("old.json", &measured("old")), write("new.json", &measured("new")));
    let documents = write("documents.json", &checked("a"));
    let flag = |name: &str, path: &std::ffi::OsString| vec![name.into(), path.clone()];
    let words = [flag("--measurements", &old), flag("--measurements", &new), flag("--documents", &documents)].concat();
    let (code, made, err) = run(&words);
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = format!(
        r#"{{"version":1,"images":[{},{}],"config_hashes":["{}"],"bundle_hashes":["{}"],"catalog_hashes":["{}"]}}"#,
        image("old"),
        image("new"),
        digest("config a"),
        digest("bundle a"),
        digest("catalog a"),
    );
    assert_eq!(parse(&made).unwrap(), json(&expected));
    agree(&parse(&made).unwrap(), true);

    let process = [words.clone(), vec!["--accept-process-isolation".into()]].concat();
    let accepted = run(&process).1;
    assert_eq!(parse(&accepted).unwrap(), json(&expected).with("isolation", json(r#"["vm","process"]"#)));

    let refused = write("refused.json", r#"{"ok":false,"file":"cmcp-config.yaml"}"#);
    for (measurements, documents, names) in [
        (&old, &refused, ["refused.json", "`config_hash`"]),
        (&documents, &documents, ["documents.json", "`images`"]),
        (&write("text", "measurements"), &documents, ["text", ""]),
        (
            &write("odd.json", &measured("old").replace("\"parts\"", "\"unreleasable\":true,\"parts\"")),
            &documents,
            ["odd.json", "not the pinned ones"],
        ),
        (&folder.path().join("nowhere").into_os_string(), &documents, ["nowhere", ""]),
    ] {
        let (code, out, err) = run(&[flag("--measurements", measurements), flag("--documents", documents)].concat());
        assert!(code == 2 && out.is_empty() && names.iter().all(|name| err.contains(name)), "{code}: {err}");
    }
}
