//! The native half of the Python module `cmcp_verify`: bytes in, plain values out. The Python half (`package/`) gives
//! them the names and types of the deployed module.

use std::sync::{Arc, LazyLock};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use verify::evidence::Check;
use verify::evidence::x509::Chains;
use verify::references::References;
use verify::{
    Approval, Approved, BundleOptions, ClaimReason, Options, Profile, RecordOptions, ReferenceValues, Requirement,
    Timestamp,
};

/// Signatures of certificates that were right before: no claim after the first pays for them.
static CHAINS: LazyLock<Arc<Chains>> = LazyLock::new(Arc::default);

/// `(status, verified_fields, unverified_fields, failure_reason, age, is_fresh, details)`.
type ClaimAnswer = (String, Vec<String>, Vec<String>, Option<String>, i64, bool, Vec<(String, String)>);

/// `(verified, entry_count, failures, finality)`.
type BundleAnswer = (bool, u64, Vec<String>, Option<String>);

/// `(status, failure_reason, [(check, outcome, expected, found)])`.
type RecordAnswer = (String, Option<String>, Vec<(String, String, String, String)>);

/// Native half of `cmcp_verify`; not a public interface.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{cli, verify_audit_bundle, verify_trace_claim, verify_trust_record};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let of_claims = super::ClaimReason::ALL.iter().map(|reason| reason.as_str());
        let of_evidence = super::Check::ALL.iter().map(|check| check.reason());
        let reasons: Vec<_> = of_claims.chain(of_evidence).collect();
        module.add("CLAIM_REASONS", reasons)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

#[pyfunction]
#[pyo3(signature = (claim, *, policy_hash, catalog_hash, now_us, max_age, trusted_key, profile, requirements, reference_values, looked_in, attachment))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, named by the Python half")]
fn verify_trace_claim(
    py: Python<'_>,
    claim: Vec<u8>,
    policy_hash: Option<String>,
    catalog_hash: Option<String>,
    now_us: i64,
    max_age: i64,
    trusted_key: Option<String>,
    profile: &str,
    requirements: Vec<String>,
    reference_values: Option<Vec<u8>>,
    looked_in: String,
    attachment: Option<Vec<u8>>,
) -> PyResult<ClaimAnswer> {
    let approval = |hash: Option<String>| hash.map_or(Approval::NotGiven, Approval::Hash);
    let approved = Approved { policy_bundle_hash: approval(policy_hash), tool_catalog_hash: approval(catalog_hash) };
    let options = Options {
        now: Timestamp::from_micros(now_us),
        max_age_seconds: max_age,
        trusted_key,
        profile: profile_named(profile)?,
        reference_values: references(reference_values, looked_in),
        attachment,
        collateral: None,
        chains: Arc::clone(&CHAINS),
        requirements: requirements.iter().map(|name| requirement_named(name)).collect::<PyResult<_>>()?,
    };
    let verdict = py.detach(|| verify::verify_trace_claim(&claim, &approved, &options));
    let owned = |fields: Vec<&'static str>| fields.into_iter().map(str::to_owned).collect();
    Ok((
        verdict.status.as_str().to_owned(),
        owned(verdict.verified_fields),
        owned(verdict.unverified_fields),
        verdict.failure_reason.map(|reason| reason.as_str().to_owned()),
        verdict.attestation_age_seconds,
        verdict.is_attestation_fresh,
        verdict.details,
    ))
}

#[pyfunction]
#[pyo3(signature = (bundle, claim, *, profile, require_external_evidence))]
fn verify_audit_bundle(
    py: Python<'_>,
    bundle: Vec<u8>,
    claim: Option<Vec<u8>>,
    profile: &str,
    require_external_evidence: bool,
) -> PyResult<BundleAnswer> {
    let options =
        BundleOptions { profile: profile_named(profile)?, require_external_evidence, ..BundleOptions::default() };
    let verdict = py.detach(|| verify::verify_audit_bundle(&bundle, claim.as_deref(), options));
    Ok((
        verdict.verified,
        verdict.entry_count,
        verdict.failures.iter().map(ToString::to_string).collect(),
        verdict.finality.map(|finality| finality.as_str().to_owned()),
    ))
}

#[pyfunction]
#[pyo3(signature = (record, *, now_us, max_age, nonce, trusted_key, claim, profile))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments, named by the Python half")]
fn verify_trust_record(
    py: Python<'_>,
    record: Vec<u8>,
    now_us: i64,
    max_age: i64,
    nonce: Option<String>,
    trusted_key: Option<String>,
    claim: Option<Vec<u8>>,
    profile: &str,
) -> PyResult<RecordAnswer> {
    let options = RecordOptions {
        now: Timestamp::from_micros(now_us),
        max_age_seconds: max_age,
        nonce: nonce.as_deref(),
        trusted_key: trusted_key.as_deref(),
        claim: claim.as_deref(),
        claim_profile: profile_named(profile)?,
    };
    let verdict = py.detach(|| verify::verify_trust_record(&record, &options));
    let checks = verdict
        .checks
        .into_iter()
        .map(|check| (check.name.to_owned(), check.outcome.as_str().to_owned(), check.expected, check.actual))
        .collect();
    let reason = verdict.failure_reason.map(|reason| reason.as_str().to_owned());
    Ok((verdict.status.as_str().to_owned(), reason, checks))
}

/// Runs `cmcp-verify` with these arguments, the program's name included; the exit code.
#[pyfunction]
fn cli(py: Python<'_>, args: Vec<String>) -> u8 {
    py.detach(|| {
        let args = args.into_iter().map(Into::into);
        verify::cli::run(args, &mut std::io::stdout(), &mut std::io::stderr()).code()
    })
}

/// A file that is none leaves hardware claims without approved values; `details` says why.
fn references(bytes: Option<Vec<u8>>, looked_in: String) -> ReferenceValues {
    let Some(bytes) = bytes else { return ReferenceValues::NotGiven(looked_in) };
    match References::parse(&bytes) {
        Ok(references) => ReferenceValues::Given(Box::new(references)),
        Err(error) => ReferenceValues::NotGiven(format!("{looked_in}: {error}")),
    }
}

fn profile_named(name: &str) -> PyResult<Profile> {
    match name {
        "trace-v0.2" => Ok(Profile::TraceV02),
        "trace-v0.1" => Ok(Profile::TraceV01),
        _ => Err(PyValueError::new_err("profile is trace-v0.2 or trace-v0.1")),
    }
}

fn requirement_named(name: &str) -> PyResult<Requirement> {
    match name {
        "agent_manifest" => Ok(Requirement::AgentManifest),
        "gateway_measurement" => Ok(Requirement::GatewayMeasurement),
        "snp_platform_policy" => Ok(Requirement::SnpPlatformPolicy),
        _ => Err(PyValueError::new_err("unknown requirement")),
    }
}
