//! That the hardware made the report: the signature, the key's certificate, AMD's root.

use claim::hex;
use p384::ecdsa::Signature;
use p384::ecdsa::signature::Verifier;

use super::attestation_report::{AttestationReport, SIGNED, SigningKey};
use super::endorsement::{Endorsement, where_to_get};
use super::product::Product;
use crate::evidence::x509::{Certificate, Crl, Path, PublicKey, RootKind, build_path};
use crate::evidence::{Check, Material, Mismatch, Report};

type Finding = Result<String, Mismatch>;

/// Checks it, and tells the product, as far as it is certain.
pub(super) fn endorsed(
    bytes: &[u8],
    found: &AttestationReport,
    material: &Material<'_>,
    require_crl: bool,
    report: &mut Report,
) -> Option<Product> {
    report.check(Check::SnpAlgorithm, algorithm(found.signature_algorithm));
    let key = signing_key(found, report)?;
    let Some(endorsement) = endorsement(found, key, material, report) else {
        let missing = format!("needs the certificate of the {}", key.common_name());
        report.open(Check::SnpDates, missing);
        return found.product();
    };
    let path = chain(&endorsement, material, report);
    let product = product(found, &endorsement, path.as_ref(), report);
    if let Some(product) = product {
        report.check(Check::SnpChip, chip(found, &endorsement));
        report.check(Check::SnpKeyTcb, key_tcb(found, &endorsement, product));
    }
    report.check(Check::SnpSignature, signature(bytes, found, endorsement.certificate));
    match path {
        Some(path) => {
            report.check(Check::SnpDates, path.dates(material.at));
            revocation(&path, material, require_crl, report);
        }
        None => report.open(Check::SnpDates, "needs a path to a root key of AMD"),
    }
    product
}

fn algorithm(found: u32) -> Finding {
    let mismatch = || Mismatch::new("1 (ECDSA P-384 with SHA-384)", found.to_string());
    (found == 1).then(|| "ECDSA P-384 with SHA-384".to_owned()).ok_or_else(mismatch)
}

fn signing_key(found: &AttestationReport, report: &mut Report) -> Option<SigningKey> {
    let info = found.key_info;
    let key = info.signing_key().filter(|_| !info.masked());
    let mismatch = || Mismatch::new("a signature by a VCEK or a VLEK", format!("key information 0x{:X}", info.0));
    report.check(Check::SnpSigningKey, key.map(SigningKey::common_name).ok_or_else(mismatch));
    key
}

/// The certificate of that key. One of the other key is a mistake that can be named; none at all is something to fetch.
fn endorsement<'a>(
    found: &AttestationReport,
    key: SigningKey,
    material: &Material<'a>,
    report: &mut Report,
) -> Option<Endorsement<'a>> {
    let endorsement = Endorsement::find(found, key, material.certificates);
    match (endorsement, Endorsement::find(found, key.other(), material.certificates)) {
        (Some(endorsement), _) => {
            let provider = endorsement.provider().map(|provider| format!(" of {provider}")).unwrap_or_default();
            report.check(Check::SnpEndorsement, Ok(format!("{}{provider}", key.common_name())));
        }
        (None, Some(other)) => {
            let mismatch = Mismatch::new(key.common_name(), other.key.common_name());
            report.check(Check::SnpEndorsement, Err::<String, _>(mismatch));
        }
        (None, None) => report.open(Check::SnpEndorsement, format!("missing: {}", where_to_get(found, key))),
    }
    endorsement
}

fn chain(endorsement: &Endorsement<'_>, material: &Material<'_>, report: &mut Report) -> Option<Path> {
    let Material { certificates, anchors, chains, .. } = material;
    let path = build_path(endorsement.certificate, certificates, anchors, RootKind::AmdArk, chains);
    let path = report.read(Check::SnpChain, "a path to a root key of AMD", path)?;
    report.rely_on(&path.root);
    report.check(Check::SnpChain, Ok(path.shown()));
    Some(path)
}

/// The product in the key's certificate is the processor's, and the CA is the one that certifies such keys of it.
fn product(
    found: &AttestationReport,
    endorsement: &Endorsement<'_>,
    path: Option<&Path>,
    report: &mut Report,
) -> Option<Product> {
    let certified = report.read(Check::SnpProduct, "Milan, Genoa or Turin", endorsement.product())?;
    let cpu = found.cpu.map(|cpu| format!("a processor of family 0x{:X}, model 0x{:X}", cpu.family, cpu.model));
    let issuer = path.and_then(|path| path.certificates.get(1)).and_then(Certificate::common_name);
    let wanted = endorsement.key.issuer(certified);
    let finding = match (cpu, issuer) {
        (Some(cpu), _) if found.product() != Some(certified) => Err(Mismatch::new(certified.name(), cpu)),
        (_, Some(issuer)) if issuer != wanted => Err(Mismatch::new(format!("issued by {wanted}"), issuer)),
        _ => Ok(certified.name()),
    };
    report.check(Check::SnpProduct, finding).then_some(certified)
}

fn chip(found: &AttestationReport, endorsement: &Endorsement<'_>) -> Finding {
    let actual = shown_chip(&found.chip_id);
    match endorsement.chip() {
        Ok(chip) if chip == found.chip_id => Ok(actual),
        Ok(chip) => Err(Mismatch::new(shown_chip(&chip), actual)),
        Err(why) => Err(Mismatch::new("a key's certificate for the report's chip", why)),
    }
}

fn shown_chip(chip: &[u8; 64]) -> String {
    if chip == &[0; 64] { "none".to_owned() } else { hex::encode(chip) }
}

fn key_tcb(found: &AttestationReport, endorsement: &Endorsement<'_>, product: Product) -> Finding {
    let reported = found.reported_tcb;
    match endorsement.tcb(product) {
        Ok(tcb) if tcb == reported => Ok(reported.of(product).to_string()),
        Ok(tcb) => Err(Mismatch::new(format!("{} (the key's)", tcb.of(product)), reported.of(product).to_string())),
        Err(why) => Err(Mismatch::new("a number for each byte of the TCB version", why)),
    }
}

fn signature(bytes: &[u8], found: &AttestationReport, certificate: &Certificate) -> Finding {
    let by = || "a signature by the certificate's key over the report's bytes".to_owned();
    let key = match certificate.key() {
        Ok(PublicKey::P384(key)) => key,
        Ok(other) => return Err(Mismatch::new("a key on P-384", other.shown())),
        Err(error) => return Err(Mismatch::new("a key on P-384", error.to_string())),
    };
    let [r, s] = found.signature;
    let signature = Signature::from_scalars(r, s).map_err(|_| Mismatch::new(by(), "numbers out of range"))?;
    let signed = bytes.get(..SIGNED).unwrap_or_default();
    key.verify(signed, &signature)
        .map(|()| "by the certificate's key".to_owned())
        .map_err(|_| Mismatch::new(by(), "another"))
}

/// Lists of revoked certificates are judged if they are by a CA of the path; others are about other certificates.
fn revocation(path: &Path, material: &Material<'_>, required: bool, report: &mut Report) {
    let by = |ca| material.crls.iter().filter(move |crl| crl.names(ca)).map(move |crl| (ca, crl));
    let lists: Vec<_> = path.certificates.iter().skip(1).flat_map(by).collect();
    if !lists.is_empty() {
        judge(path, &lists, material, report);
    } else if required {
        report.open(
            Check::SnpCrl,
            "missing: AMD's list of revoked certificates, https://kdsintf.amd.com/vcek/v1/PRODUCT/crl",
        );
    } else {
        report.check(Check::SnpCrl, Ok("no list of revoked certificates was given, and the references require none"));
    }
}

fn judge(path: &Path, lists: &[(&Certificate, &Crl)], material: &Material<'_>, report: &mut Report) {
    if !report.check(Check::SnpCrl, signed(lists)) {
        return;
    }
    report.check(Check::SnpRevocation, unrevoked(path, lists));
    report.check(Check::SnpCrlDates, newest(lists, material));
}

fn signed(lists: &[(&Certificate, &Crl)]) -> Finding {
    let mut names = Vec::new();
    for (ca, crl) in lists {
        crl.verify(ca).map_err(|error| Mismatch::new("a list by the CA that it names", error.to_string()))?;
        names.push(ca.common_name().unwrap_or_else(|| ca.subject()));
    }
    Ok(format!("by {}", names.join(", ")))
}

/// A CA revokes what it has issued; a serial number of another CA's means nothing in its list.
fn unrevoked(path: &Path, lists: &[(&Certificate, &Crl)]) -> Finding {
    let is_revoked = |certificate: &&Certificate| {
        lists.iter().any(|(ca, crl)| certificate.issuer() == ca.subject() && crl.revokes(certificate.serial()))
    };
    match path.certificates.iter().find(is_revoked) {
        None => Ok("none of the path's certificates".to_owned()),
        Some(certificate) => {
            let serial = hex::encode(certificate.serial());
            let revoked = format!("{}, serial {serial}", certificate.subject());
            Err(Mismatch::new("no certificate of the path", revoked))
        }
    }
}

/// One of them is current; older ones beside it do no harm.
fn newest(lists: &[(&Certificate, &Crl)], material: &Material<'_>) -> Finding {
    let mut dates = lists.iter().map(|(_, crl)| crl.dates(material.at));
    let first = dates.next().unwrap_or_else(|| Ok(String::new()));
    first.or_else(|mismatch| dates.find_map(Result::ok).ok_or(mismatch))
}
