//! Platforms made here: what a signature would forbid to change in recorded evidence is free, so each check is asked alone.

use serde_json::json;
use verify::evidence::{Answer, Question};
use verify::references::TdxPolicy;

use crate::judges::{Judges, Statuses};
use crate::pki::{Issue, World, anchor, level, seq, svn_level};

/// Changes one thing.
type Change = fn(&mut World);

/// What each change alone is refused for. Both verifiers refuse, but for what [`crate::judges::STRICTER`] explains.
const REFUSED: &[(&str, &str, Change)] = &[
    ("another TEE", "TDX_TEE_TYPE_WRONG", |world| world.tee_type = 0x82),
    ("version 6", "TDX_QUOTE_MALFORMED", |world| world.version = 6),
    ("an enclave's body", "TDX_QUOTE_MALFORMED", |world| (world.version, world.body_type) = (5, 1)),
    ("another vendor", "TDX_QE_VENDOR_UNKNOWN", |world| world.qe_vendor[0] ^= 1),
    ("another key signs", "TDX_SIGNATURE_INVALID", |world| world.quote_key = 6),
    ("bytes behind the hash", "TDX_ATTESTATION_KEY_NOT_BOUND", |world| world.qe_report_data_end = 1),
    ("certified by nobody", "TDX_PCK_CHAIN_INVALID", |world| world.ca.issuer_key = 6),
    ("PCK by another", "TDX_PCK_CHAIN_INVALID", |world| world.pck.issuer_key = 6),
    ("a CA of another name", "TDX_PCK_CHAIN_INVALID", |world| {
        (world.ca.subject, world.pck.issuer, world.pck_crl.issuer) = ("CA", "CA", "CA");
    }),
    ("the CA is none", "TDX_PCK_CHAIN_INVALID", |world| world.ca.ca = None),
    ("another PCK signs", "TDX_QE_SIGNATURE_INVALID", |world| world.qe_key = 6),
    ("identity altered", "TDX_QE_IDENTITY_SIGNATURE_INVALID", |world| {
        world.after = |text| text.replace("\"isvprodid\":2", "\"isvprodid\":3");
    }),
    ("identity for SGX", "TDX_QE_IDENTITY_MALFORMED", |world| world.qe_identity["id"] = "QE".into()),
    ("identity of version 1", "TDX_QE_IDENTITY_MALFORMED", |world| world.qe_identity["version"] = 1.into()),
    ("an enclave of the owner's", "TDX_QE_NOT_INTELS", |world| world.qe_mr_signer = [0xdd; 32]),
    ("another product", "TDX_QE_NOT_INTELS", |world| world.qe_isv_prod_id = 1),
    ("another MISCSELECT", "TDX_QE_NOT_INTELS", |world| world.qe_misc_select = 1),
    ("no INIT", "TDX_QE_NOT_INTELS", |world| world.qe_attributes = 0x14),
    ("an enclave under debug", "TDX_QE_NOT_INTELS", |world| world.qe_attributes |= 2),
    ("debug that the identity allows", "TDX_QE_NOT_INTELS", |world| {
        world.qe_attributes |= 2;
        world.qe_identity["attributesMask"] = format!("F9{}", "F".repeat(30)).into();
        world.qe_identity["attributes"] = "1100000000000000E700000000000000".into();
    }),
    ("a module of somebody's", "TDX_MODULE_NOT_INTELS", |world| world.mr_signer_seam[47] = 1),
    ("a module under debug", "TDX_MODULE_NOT_INTELS", |world| world.seam_attributes = 1),
    ("DEBUG", "TDX_DEBUG", |world| world.td_attributes |= 1),
    ("profiling", "TDX_DEBUG", |world| world.td_attributes |= 1 << 5),
    ("MIGRATABLE", "TDX_MIGRATABLE", |world| world.td_attributes |= 1 << 29),
    ("no SEPT_VE_DISABLE", "TDX_SEPT_VE_ENABLED", |world| world.td_attributes = 0),
    ("a service TD", "TDX_SERVICE_TD", |world| (world.version, world.mr_service_td[5]) = (5, 1)),
    ("TCB info altered", "TDX_TCB_INFO_SIGNATURE_INVALID", |world| {
        world.after = |text| text.replace("\"pceId\":\"0000\"", "\"pceId\":\"0001\"");
    }),
    ("TCB info for SGX", "TDX_TCB_INFO_MALFORMED", |world| world.tcb_info["id"] = "SGX".into()),
    ("TCB info of version 2", "TDX_TCB_INFO_MALFORMED", |world| world.tcb_info["version"] = 2.into()),
    ("TCB info without a module", "TDX_TCB_INFO_MALFORMED", |world| {
        world.tcb_info.as_object_mut().unwrap().remove("tdxModule");
    }),
    ("a status that is none", "TDX_TCB_INFO_MALFORMED", |world| {
        world.tcb_info["tcbLevels"][0]["tcbStatus"] = "Fine".into();
    }),
    ("15 components", "TDX_TCB_INFO_MALFORMED", |world| {
        world.tcb_info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop();
    }),
    ("a number in text", "TDX_TCB_INFO_MALFORMED", |world| {
        world.tcb_info["tcbLevels"][0]["tcb"]["pcesvn"] = "13".into();
    }),
    ("a member twice", "TDX_TCB_INFO_MALFORMED", |world| {
        world.before = |text| text.replace("\"fmspc\":", "\"fmspc\":\"00806F050000\",\"fmspc\":");
    }),
    ("collateral signed below a CA", "TDX_QE_IDENTITY_SIGNATURE_INVALID", |world| {
        let issue = Issue { subject: "CA", key: 8, ca: Some(0), ..world.signer.clone() };
        (world.signer.issuer, world.signer.issuer_key, world.signer_ca) = ("CA", 8, Some(issue));
    }),
    ("collateral signed by the PCK", "TDX_QE_IDENTITY_SIGNATURE_INVALID", |world| {
        (world.signer, world.signer_ca) = (world.pck.clone(), Some(world.ca.clone()));
    }),
    ("PCK before its time", "TDX_CERTIFICATE_EXPIRED", |world| world.pck.years.0 = 2027),
    ("PCK expired", "TDX_CERTIFICATE_EXPIRED", |world| world.pck.years.1 = 2026),
    ("CA expired", "TDX_CERTIFICATE_EXPIRED", |world| world.ca.years.1 = 2026),
    ("signer expired", "TDX_CERTIFICATE_EXPIRED", |world| world.signer.years.1 = 2026),
    ("root's list by another", "TDX_ROOT_CRL_INVALID", |world| world.root_crl.key = 6),
    ("root's list of another", "TDX_ROOT_CRL_INVALID", |world| world.root_crl = world.pck_crl.clone()),
    ("CA's list by another", "TDX_PCK_CRL_INVALID", |world| world.pck_crl.key = 6),
    ("CA's list of another", "TDX_PCK_CRL_INVALID", |world| world.pck_crl = world.root_crl.clone()),
    ("root's list expired", "TDX_CRL_EXPIRED", |world| world.root_crl.years = (2025, 2026)),
    ("CA's list expired", "TDX_CRL_EXPIRED", |world| world.pck_crl.years = (2025, 2026)),
    ("PCK revoked", "TDX_CERTIFICATE_REVOKED", |world| world.pck_crl.revoked.push(3)),
    ("CA revoked", "TDX_CERTIFICATE_REVOKED", |world| world.root_crl.revoked.push(2)),
    ("signer revoked", "TDX_CERTIFICATE_REVOKED", |world| world.root_crl.revoked.push(4)),
    ("root revoked", "TDX_CERTIFICATE_REVOKED", |world| world.root_crl.revoked.push(1)),
    ("TCB info expired", "TDX_COLLATERAL_EXPIRED", |world| {
        world.tcb_info["nextUpdate"] = "2026-05-31T23:59:59Z".into();
    }),
    ("TCB info of tomorrow", "TDX_COLLATERAL_EXPIRED", |world| {
        world.tcb_info["issueDate"] = "2026-06-01T00:00:01Z".into();
    }),
    ("identity expired", "TDX_COLLATERAL_EXPIRED", |world| {
        world.qe_identity["nextUpdate"] = "2026-05-31T23:59:59Z".into();
    }),
    ("no SGX extension", "TDX_PCK_EXTENSION_MALFORMED", |world| world.extension = |_| None),
    ("an empty SGX extension", "TDX_PCK_EXTENSION_MALFORMED", |world| world.extension = |_| Some(seq(&[]))),
    ("a SGX extension cut off", "TDX_PCK_EXTENSION_MALFORMED", |world| {
        world.extension = |value| Some(value[..value.len() - 9].to_vec());
    }),
    ("another FMSPC", "TDX_PLATFORM_MISMATCH", |world| world.fmspc[5] = 1),
    ("another PCEID", "TDX_PLATFORM_MISMATCH", |world| world.pce_id[1] = 1),
    ("an unknown module", "TDX_MODULE_UNKNOWN", |world| world.tee_tcb_svn[1] = 2),
    ("an unknown module now", "TDX_MODULE_UNKNOWN", |world| (world.version, world.tee_tcb_svn_now[1]) = (5, 2)),
    ("another module's attributes", "TDX_MODULE_UNKNOWN", |world| {
        world.tcb_info["tdxModuleIdentities"][0]["attributes"] = "0100000000000000".into();
    }),
    ("SGX below all", "TDX_TCB_UNMATCHED", |world| world.sgx[3] = 2),
    ("PCE below all", "TDX_TCB_UNMATCHED", |world| world.pce = 10),
    ("TDX below all", "TDX_TCB_UNMATCHED", |world| world.tee_tcb_svn[2] = 2),
    ("TDX now below all", "TDX_TCB_UNMATCHED", |world| (world.version, world.tee_tcb_svn_now[2]) = (5, 2)),
    ("module below all", "TDX_TCB_UNMATCHED", |world| world.tee_tcb_svn[0] = 1),
    ("old module below all", "TDX_TCB_UNMATCHED", |world| world.tee_tcb_svn = *b"\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("quoting enclave below all", "TDX_TCB_UNMATCHED", |world| world.qe_isv_svn = 1),
    ("revoked", "TDX_TCB_STATUS_REFUSED", |world| world.tcb_info["tcbLevels"][0]["tcbStatus"] = "Revoked".into()),
];

/// What both accept, as up to date.
const ACCEPTED: &[(&str, Change)] = &[
    ("as it is", |_| {}),
    ("version 5, TDX 1.0", |world| (world.version, world.body_type) = (5, 2)),
    ("version 5, TDX 1.5", |world| world.version = 5),
    ("version 5, extended", |world| (world.version, world.body_type) = (5, 4)),
    ("the chain in the collateral", |world| (world.certification, world.chain_in_collateral) = (3, true)),
    ("a processor's CA", |world| {
        let name = "Intel SGX PCK Processor CA";
        (world.ca.subject, world.pck.issuer, world.pck_crl.issuer) = (name, name, name);
    }),
    ("levels in another order", |world| {
        world.tcb_info["tcbLevels"].as_array_mut().unwrap().reverse();
    }),
    ("spaces in documents", |world| world.before = |text| text.replace("{", "{ \n")),
    ("members that Intel adds", |world| world.before = |text| text.replacen('{', "{\"later\":[1.5],", 1)),
    ("hexadecimal in lower case", |world| {
        world.tcb_info["fmspc"] = "00806f050000".into();
    }),
    ("an old module", |world| world.tee_tcb_svn = *b"\x05\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("harmless attributes", |world| world.td_attributes |= 1 << 16 | 1 << 27 | 1 << 30 | 1 << 63),
];

fn judges() -> Judges {
    Judges::of(anchor())
}

#[test]
fn each_thing_that_is_wrong_is_refused_for_its_own_reason() {
    let judges = judges();
    for (name, reason, change) in REFUSED {
        let mut world = World::default();
        change(&mut world);
        let case = world.case(name);
        let report = judges.ours(&case, false, &TdxPolicy::default());
        assert_eq!(report.reason(), Some(*reason), "{name}: {report:#?}");
        judges.agree(&case, false);
    }
}

#[test]
fn what_is_right_is_accepted() {
    let judges = judges();
    for (name, change) in ACCEPTED {
        let mut world = World::default();
        change(&mut world);
        let case = world.case(name);
        let report = judges.ours(&case, false, &TdxPolicy::default());
        let answers = [Question::Genuine, Question::Current].map(|question| report.answer(question));
        assert_eq!(answers, [Answer::Yes, Answer::Yes], "{name}: {report:#?}");
        assert!(judges.agree(&case, false), "{name}");
    }
    judges.differed(&[]);
}

#[test]
fn every_attribute_of_a_td_is_judged() {
    let judges = judges();
    for (version, bit) in [4, 5].into_iter().flat_map(|version| (0..64).map(move |bit| (version, bit))) {
        let world = World { version, td_attributes: 1 << 28 ^ 1 << bit, ..World::default() };
        let accepted = judges.agree(&world.case(&format!("version {version}, attribute {bit}")), false);
        assert_eq!(accepted, [16, 27, 30, 63].contains(&bit), "{bit}");
    }
    judges.differed(&["tdx.attributes"]);
}

#[test]
fn service_tds_of_extended_reports_are_refused() {
    let judges = judges();
    for place in 0..2 {
        let mut world = World { version: 5, body_type: 4, ..World::default() };
        world.service_td_hashes[place][9] = 1;
        let case = world.case("a service TD");
        assert_eq!(judges.ours(&case, false, &TdxPolicy::default()).reason(), Some("TDX_SERVICE_TD"));
        judges.agree(&case, false);
    }
    judges.differed(&["tdx.service_td"]);
}

/// Statuses of the platform's level.
const PLATFORM: [&str; 7] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
];

/// Statuses that Intel gives TDX modules, and quoting enclaves as far as they count there.
const COMPONENT: [&str; 3] = ["UpToDate", "OutOfDate", "Revoked"];

fn with_statuses(platform: &str, module: &str, qe: &str) -> World {
    let mut world = World::default();
    world.tcb_info["tcbLevels"] = json!([level(4, 13, [5, 0, 4], platform, &["INTEL-SA-3", "INTEL-SA-1"])]);
    world.tcb_info["tdxModuleIdentities"][0]["tcbLevels"] =
        json!([svn_level(5, module, &["INTEL-SA-1", "INTEL-SA-2"])]);
    world.qe_identity["tcbLevels"] = json!([svn_level(6, qe, &["INTEL-SA-4"])]);
    world
}

#[test]
fn statuses_of_all_components_count() {
    let judges = judges();
    for platform in PLATFORM {
        for (module, qe) in COMPONENT.into_iter().flat_map(|module| COMPONENT.map(|qe| (module, qe))) {
            judges.agree(&with_statuses(platform, module, qe).case(&format!("{platform} {module} {qe}")), false);
        }
        for qe in ["ConfigurationNeeded", "OutOfDateConfigurationNeeded"] {
            let case = with_statuses(platform, "UpToDate", qe).case(&format!("{platform}, QE {qe}"));
            judges.agree_up_to(&case, false, Statuses::OursWorse);
        }
    }
    judges.differed(&[]);
}

#[test]
fn what_runs_now_counts_beside_what_was_launched() {
    let judges = judges();
    for (launch, now) in PLATFORM.into_iter().flat_map(|launch| PLATFORM.map(|now| (launch, now))) {
        let mut world = World { version: 5, ..World::default() };
        world.tcb_info["tcbLevels"] =
            json!([level(4, 13, [5, 0, 4], now, &["INTEL-SA-3"]), level(4, 13, [5, 0, 3], launch, &["INTEL-SA-1"])]);
        world.tee_tcb_svn[2] = 3;
        let statuses = if launch.starts_with("OutOfDate") { Statuses::Equal } else { Statuses::OursWorse };
        // Of two that are out of date, theirs passes over what configuration the one that runs needs.
        let both = launch == "OutOfDate" && now == "OutOfDateConfigurationNeeded";
        let statuses = if both { Statuses::OursWorse } else { statuses };
        judges.agree_up_to(&world.case(&format!("{launch}, now {now}")), false, statuses);
    }
}

#[test]
fn a_policy_accepts_statuses_and_advisories_by_name() {
    let judges = judges();
    let case = with_statuses("OutOfDate", "UpToDate", "UpToDate").case("out of date");
    let all = ["INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3", "INTEL-SA-4"];
    let policy = |tcb: &[&str], advisories: &[&str]| TdxPolicy {
        accept_tcb: tcb.iter().map(ToString::to_string).collect(),
        accept_advisories: advisories.iter().map(ToString::to_string).collect(),
    };
    for (policy, reason) in [
        (policy(&["UpToDate"], &all), Some("TDX_TCB_STATUS_REFUSED")),
        (policy(&["UpToDate", "OutOfDate"], &all), None),
        (policy(&["OutOfDate"], &all[1..]), Some("TDX_ADVISORIES_REFUSED")),
        (policy(&["OutOfDate"], &[]), Some("TDX_ADVISORIES_REFUSED")),
        (policy(&[], &all), Some("TDX_TCB_STATUS_REFUSED")),
    ] {
        assert_eq!(judges.ours(&case, false, &policy).reason(), reason, "{policy:?}");
    }
    let revoked = with_statuses("Revoked", "UpToDate", "UpToDate").case("revoked");
    let report = judges.ours(&revoked, false, &policy(&["Revoked"], &all));
    assert_eq!(report.reason(), Some("TDX_TCB_STATUS_REFUSED"), "no policy accepts it");
}

#[test]
fn a_root_for_tests_is_no_root_by_itself() {
    let case = World::default().case("no root");
    let report = Judges::of_intel().ours(&case, false, &TdxPolicy::default());
    assert_eq!(report.reason(), Some("TDX_PCK_CHAIN_INVALID"));
    assert_eq!(report.answer(Question::Genuine), Answer::No);
}

#[test]
fn what_is_missing_leaves_the_answer_open() {
    let judges = judges();
    let mut case = World::default().case("no collateral");
    case.collateral = b"null".to_vec();
    assert_eq!(judges.ours(&case, false, &TdxPolicy::default()).reason(), Some("TDX_COLLATERAL_MALFORMED"));
    let unnamed = World { certification: 3, ..World::default() }.case("no PCK");
    let report = judges.ours(&unnamed, false, &TdxPolicy::default());
    assert_eq!([Question::Genuine, Question::Current].map(|it| report.answer(it)), [Answer::Open, Answer::Open]);
    assert_eq!(report.reason(), None, "{report:#?}");
}
