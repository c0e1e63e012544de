//! What the report says of the guest and of the platform that it runs on, against the relying party's policy.

use claim::profile::TaggedDigest;

use super::attestation_report::{AttestationReport, Firmware, GuestPolicy};
use super::product::{Product, Tcb};
use crate::evidence::{Check, Mismatch, Report};
use crate::references::{SnpPolicy, TcbVersions};

type Finding = Result<String, Mismatch>;

/// That the platform keeps to itself what the guest has.
pub(super) fn isolated(found: &AttestationReport, policy: &SnpPolicy, report: &mut Report) {
    let bits = found.policy;
    report.check(Check::SnpPolicy, known(bits));
    report.check(Check::SnpDebug, forbidden(bits.debug(), "DEBUG"));
    report.check(Check::SnpMigration, allowed(bits.migration(), policy.allow_migration, "MIGRATE_MA"));
    report.check(Check::SnpSmt, allowed(bits.smt(), policy.allow_smt, "SMT"));
    report.check(Check::SnpAbi, supported(bits, found.current_firmware));
    report.check(Check::SnpVmpl, vmpl(found.vmpl, &policy.vmpl));
}

fn known(policy: GuestPolicy) -> Finding {
    let text = format!("0x{:X}", policy.0);
    if policy.is_known() { Ok(text) } else { Err(Mismatch::new("bit 17, and of the others none above 25", text)) }
}

fn forbidden(bit: bool, name: &str) -> Finding {
    let mismatch = || Mismatch::new(format!("{name}=0"), format!("{name}=1"));
    (!bit).then(|| format!("{name}=0")).ok_or_else(mismatch)
}

fn allowed(bit: bool, allowed: bool, name: &str) -> Finding {
    if bit && allowed { Ok(format!("{name}=1, which is accepted")) } else { forbidden(bit, name) }
}

/// The firmware refuses to launch a guest whose policy asks for more.
fn supported(policy: GuestPolicy, firmware: Firmware) -> Finding {
    let (major, minor) = policy.abi();
    let text = format!("{firmware}");
    if (firmware.major, firmware.minor) >= (major, minor) {
        return Ok(text);
    }
    Err(Mismatch::new(format!("firmware of ABI {major}.{minor}, which the guest's policy asks for"), text))
}

fn vmpl(found: u32, allowed: &[u8]) -> Finding {
    if allowed.iter().any(|level| u32::from(*level) == found) {
        return Ok(found.to_string());
    }
    let allowed: Vec<_> = allowed.iter().map(u8::to_string).collect();
    Err(Mismatch::new(format!("VMPL {}", allowed.join(" or ")), found.to_string()))
}

/// That the versions of what the platform runs are those of a platform that is kept up to date.
pub(super) fn up_to_date(found: &AttestationReport, product: Product, policy: &SnpPolicy, report: &mut Report) {
    let [current, committed] = [found.current_tcb, found.committed_tcb].map(|raw| raw.of(product));
    report.check(Check::SnpCommitted, ordered(found, current, committed));
    report.check(Check::SnpProvisional, committed_runs(found, current, committed, policy.allow_provisional_firmware));
    match minimum(product, policy) {
        Some(minimum) => drop(report.check(Check::SnpMinimumTcb, at_least(found, product, minimum))),
        None => report.open(Check::SnpMinimumTcb, no_minimum(product, found.reported_tcb.of(product))),
    }
}

/// What can be rolled back to is not above what runs.
fn ordered(found: &AttestationReport, current: Tcb, committed: Tcb) -> Finding {
    let text = format!("{committed}, firmware {}", found.committed_firmware);
    if current.is_at_least(committed) && found.current_firmware >= found.committed_firmware {
        return Ok(text);
    }
    Err(Mismatch::new(format!("at most {current}, firmware {}", found.current_firmware), text))
}

/// Firmware that is loaded but not committed can be taken back to what is committed.
fn committed_runs(found: &AttestationReport, current: Tcb, committed: Tcb, provisional: bool) -> Finding {
    let running = format!("{current}, firmware {}", found.current_firmware);
    if current == committed && found.current_firmware == found.committed_firmware {
        return Ok(running);
    }
    if provisional {
        return Ok(format!("{running}, not committed, which is accepted"));
    }
    Err(Mismatch::new(format!("what is committed: {committed}, firmware {}", found.committed_firmware), running))
}

fn minimum(product: Product, policy: &SnpPolicy) -> Option<Tcb> {
    let minimum = &policy.minimum_tcb;
    let versions = match product {
        Product::Milan => minimum.milan,
        Product::Genoa => minimum.genoa,
        Product::Turin => minimum.turin,
    };
    versions.map(|TcbVersions { fmc, bootloader, tee, snp, microcode }| Tcb {
        fmc: (product == Product::Turin).then_some(fmc),
        bootloader,
        tee,
        snp,
        microcode,
    })
}

fn at_least(found: &AttestationReport, product: Product, minimum: Tcb) -> Finding {
    let all = [
        ("reported", found.reported_tcb),
        ("committed", found.committed_tcb),
        ("launch", found.launch_tcb),
        ("current", found.current_tcb),
    ];
    let below = all.iter().find(|(_, raw)| !raw.of(product).is_at_least(minimum));
    match below {
        None => Ok(format!("{} or higher", lowest(all.map(|(_, raw)| raw.of(product))))),
        Some((name, raw)) => Err(Mismatch::new(format!("at least {minimum}"), format!("{name}: {}", raw.of(product)))),
    }
}

/// The lowest of each number: what the platform has had since the guest was launched, whatever was rolled back.
fn lowest(all: [Tcb; 4]) -> Tcb {
    all.into_iter().reduce(Tcb::lowest).unwrap_or_default()
}

fn no_minimum(product: Product, found: Tcb) -> String {
    let name = product.name().to_ascii_lowercase();
    format!("{found}; the references name no minimum: platforms.sev_snp.minimum_tcb.{name}")
}

/// What the platform says of itself, for people to read.
pub(super) fn shown(found: &AttestationReport, report: &mut Report) {
    let names: Vec<_> = found.platform.names().collect();
    report.check(Check::SnpPlatform, Ok(format!("0x{:X}: {}", found.platform.0, names.join(", "))));
    if let Some(mitigations) = found.mitigations {
        let text = format!("at launch 0x{:X}, now 0x{:X}", mitigations.launch, mitigations.current);
        report.check(Check::SnpMitigations, Ok(text));
    }
}

/// That the guest is one that was approved, as far as its ID block tells: who signed it, which version it is.
pub(super) fn identified(found: &AttestationReport, policy: &SnpPolicy, report: &mut Report) {
    let author = if found.key_info.author_key() { found.author_key_digest } else { [0; 48] };
    report.check(Check::SnpIdKey, signer(found.id_key_digest, &policy.id_key_digests));
    report.check(Check::SnpAuthorKey, signer(author, &policy.author_key_digests));
    report.check(Check::SnpGuestSvn, guest_svn(found.guest_svn, policy.minimum_guest_svn));
}

fn signer(digest: [u8; 48], approved: &[TaggedDigest]) -> Finding {
    let key = TaggedDigest::Sha384(digest);
    let text = if digest == [0; 48] { "none".to_owned() } else { key.to_string() };
    match approved {
        [] => Ok(format!("{text} (the references ask for none)")),
        approved if approved.contains(&key) => Ok(text),
        approved => Err(Mismatch::new(super::one_of(approved), text)),
    }
}

fn guest_svn(found: u32, minimum: u32) -> Finding {
    let mismatch = || Mismatch::new(format!("at least {minimum}"), found.to_string());
    (found >= minimum).then(|| found.to_string()).ok_or_else(mismatch)
}
