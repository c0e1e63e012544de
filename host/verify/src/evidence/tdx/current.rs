//! Is it current? Certificates, revocations and what Intel says of the platform's versions, at the time in question.

use claim::time::Timestamp;

use super::Identity;
use super::collateral::Collateral;
use super::document::Object;
use super::pck::{Platform, SGX};
use super::quote::{Quote, Signed};
use super::status::TcbStatus;
use super::tcb_info::{Tcb, TcbInfo};
use crate::evidence::x509::{Certificate, Crl, Path};
use crate::evidence::{Check, Material, Mismatch, Report};
use crate::references::TdxPolicy;

/// What was found genuine.
pub(super) struct Chains<'a> {
    pub(super) pck: Option<&'a Path>,
    pub(super) qe: Option<&'a Identity>,
}

/// Nothing, if the TCB could not be judged.
pub(super) fn judge(
    signed: &Signed<'_>,
    collateral: Option<&Collateral<'_>>,
    chains: &Chains<'_>,
    material: &Material<'_>,
    policy: &TdxPolicy,
    report: &mut Report,
) -> Option<()> {
    let collateral = collateral?;
    let info = tcb_info(collateral, material, report);
    let paths = [chains.pck, chains.qe.map(|identity| &identity.signer), info.as_ref().map(|(signer, _)| signer)];
    let paths: Vec<_> = paths.into_iter().flatten().collect();
    report.check(Check::TdxCertificateDates, dates(&paths, material.at));
    let (pck, identity, (_, info)) = (chains.pck?, chains.qe?, info.as_ref()?);
    revocations(collateral, pck, &paths, material.at, report)?;
    let documents = [
        ("TCB info", info.issued, info.next_update),
        ("QE identity", identity.document.issued, identity.document.next_update),
    ];
    report.check(Check::TdxCollateralDates, issued(&documents, material.at));
    let platform = platform(pck, info, report)?;
    tcb(&signed.quote, &platform, info, signed.qe.report.isv_svn, identity, policy, report)
}

/// TCB info that Intel signed, and by whom.
fn tcb_info(collateral: &Collateral<'_>, material: &Material<'_>, report: &mut Report) -> Option<(Path, TcbInfo)> {
    let expected = "TCB info signed by Intel";
    let signer = report.read(Check::TdxTcbInfoSignature, expected, collateral.tcb_info.verify(material))?;
    report.rely_on(&signer.root);
    report.check(Check::TdxTcbInfoSignature, Ok(signer.shown()));
    let document =
        collateral.tcb_info.json().and_then(|json| TcbInfo::read(Object(&json)).map_err(|error| error.to_string()));
    let document = report.read(Check::TdxTcbInfo, "TCB info of a platform for TDX, version 3", document)?;
    report.check(Check::TdxTcbInfo, Ok(format!("evaluation {} of {}", document.evaluation, document.issued)));
    Some((signer, document))
}

fn dates(paths: &[&Path], at: Timestamp) -> Result<String, Mismatch> {
    paths.iter().try_for_each(|path| path.dates(at).map(|_| ()))?;
    let all = paths.iter().flat_map(|path| &path.certificates);
    let until = all.map(|certificate| certificate.validity().1).min();
    Ok(until.map_or_else(|| "none".to_owned(), |until| format!("until {until}")))
}

/// The lists, each by the CA whose it is, then what they have.
fn revocations(
    collateral: &Collateral<'_>,
    pck: &Path,
    paths: &[&Path],
    at: Timestamp,
    report: &mut Report,
) -> Option<()> {
    let [leaf, ca, root] = pck.certificates.as_slice() else { return None };
    let lists = [(Check::TdxRootCrl, &collateral.root_crl, root), (Check::TdxPckCrl, &collateral.pck_crl, ca)];
    for (check, list, issuer) in lists {
        report.read(check, "a list by the CA that issued", list.verify(issuer))?;
        report.check(check, Ok(issuer.common_name().unwrap_or_default()));
    }
    let current =
        collateral.root_crl.dates(at).and_then(|root| Ok(format!("{root}; {}", collateral.pck_crl.dates(at)?)));
    report.check(Check::TdxCrlDates, current);
    let below_root = paths.iter().flat_map(|path| path.certificates.iter().skip(1)).chain([root]);
    let signers = paths.iter().filter(|path| path.certificates.len() == 2).filter_map(|path| path.certificates.first());
    let by_root = below_root.chain(signers).map(|certificate| (&collateral.root_crl, certificate));
    report.check(Check::TdxRevocation, none_revoked(by_root.chain([(&collateral.pck_crl, leaf)])));
    Some(())
}

fn none_revoked<'a>(pairs: impl Iterator<Item = (&'a Crl, &'a Certificate)>) -> Result<String, Mismatch> {
    let mut revoked = pairs.filter(|(list, certificate)| list.revokes(certificate.serial()));
    match revoked.next() {
        None => Ok("none revoked".to_owned()),
        Some((_, certificate)) => {
            let serial = claim::hex::encode(certificate.serial());
            Err(Mismatch::new("no revoked certificate", format!("{} {serial}", certificate.subject())))
        }
    }
}

fn issued(documents: &[(&str, Timestamp, Timestamp)], at: Timestamp) -> Result<String, Mismatch> {
    let wrong = documents.iter().find(|(_, issued, next)| at < *issued || at > *next);
    if let Some((name, issued, next)) = wrong {
        return Err(Mismatch::new(format!("{name} for {at}"), format!("{name} of {issued}, next due {next}")));
    }
    let next = documents.iter().map(|(_, _, next)| *next).min();
    Ok(next.map_or_else(String::new, |next| format!("next due {next}")))
}

/// The platform by its certificate, and that the TCB info is about such platforms.
fn platform(pck: &Path, info: &TcbInfo, report: &mut Report) -> Option<Platform> {
    let leaf = pck.certificates.first()?;
    let expected = "a PCK certificate that describes its platform";
    let platform = report.read(Check::TdxPckExtension, expected, Platform::read(leaf.extension(&SGX)))?;
    report.check(Check::TdxPckExtension, Ok(format!("FMSPC {}", claim::hex::encode(&platform.fmspc))));
    let name =
        |fmspc: &[u8], pce: &[u8]| format!("FMSPC {}, PCEID {}", claim::hex::encode(fmspc), claim::hex::encode(pce));
    let (wanted, found) = (name(&platform.fmspc, &platform.pce_id), name(&info.fmspc, &info.pce_id));
    let result = if wanted == found { Ok(found) } else { Err(Mismatch::new(format!("TCB info of {wanted}"), found)) };
    report.check(Check::TdxPlatform, result).then_some(platform)
}

fn tcb(
    quote: &Quote,
    platform: &Platform,
    info: &TcbInfo,
    qe_svn: u16,
    identity: &Identity,
    policy: &TdxPolicy,
    report: &mut Report,
) -> Option<()> {
    let now = quote.tdx_1_5.as_ref().map_or(&quote.tee_tcb_svn, |later| &later.tee_tcb_svn_now);
    report.check(Check::TdxModule, module(quote, info)).then_some(())?;
    let reached = info.appraise(&platform.tcb, &quote.tee_tcb_svn).zip(info.appraise(&platform.tcb, now));
    let (launch, now) = report.read(
        Check::TdxTcbLevel,
        "versions that reach a level",
        reached.ok_or_else(|| {
            let svn = claim::hex::encode(&quote.tee_tcb_svn);
            format!("TEE_TCB_SVN {svn} on SGX components {}, below every level", claim::hex::encode(&platform.tcb.sgx))
        }),
    )?;
    let qe = identity.document.levels.reached(qe_svn);
    let qe = report.read(
        Check::TdxTcbLevel,
        "a quoting enclave that reaches a level",
        qe.ok_or(format!("ISVSVN {qe_svn}")),
    )?;
    let tcb = launch.join(qe).after_update(&now.join(qe));
    report.check(Check::TdxTcbLevel, Ok(format!("of {}", tcb.date)));
    report.check(Check::TdxTcbStatus, accepted(tcb.status, policy));
    report.check(Check::TdxAdvisories, advisories(&tcb, policy));
    Some(())
}

/// The modules of launch and now are ones that Intel knows.
fn module(quote: &Quote, info: &TcbInfo) -> Result<String, Mismatch> {
    let now = quote.tdx_1_5.as_ref().map(|later| &later.tee_tcb_svn_now);
    let named = |svn: &[u8; 16]| format!("TDX module {}, SVN {}", svn[1], svn[0]);
    for svn in [Some(&quote.tee_tcb_svn), now].into_iter().flatten() {
        let module = info.module(svn);
        if !module.is_some_and(|module| module.is(&quote.mr_signer_seam, quote.seam_attributes)) {
            return Err(Mismatch::new("a module whose signer and attributes TCB info names", named(svn)));
        }
    }
    Ok(named(now.unwrap_or(&quote.tee_tcb_svn)))
}

/// No policy accepts revoked platforms.
fn accepted(status: TcbStatus, policy: &TdxPolicy) -> Result<String, Mismatch> {
    if policy.accept_tcb.iter().any(|name| name == status.as_str()) && status != TcbStatus::REVOKED {
        return Ok(status.to_string());
    }
    Err(Mismatch::new(policy.accept_tcb.join(" or "), status.to_string()))
}

/// A status other than up to date is accepted for what is known to be wrong, not for what may become known.
fn advisories(tcb: &Tcb, policy: &TdxPolicy) -> Result<String, Mismatch> {
    let all = tcb.advisories.join(", ");
    if tcb.advisories.iter().all(|advisory| policy.accept_advisories.contains(advisory)) {
        return Ok(if all.is_empty() { "none".to_owned() } else { all });
    }
    let accepted = policy.accept_advisories.join(", ");
    Err(Mismatch::new(if accepted.is_empty() { "none".to_owned() } else { format!("at most {accepted}") }, all))
}
