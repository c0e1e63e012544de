//! From a boot bundle to a gateway that serves, or to a refusal that says what to mend.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use claim::binding::{BootBinding, boot_x};
use claim::bootlog::{BootId, BootRecord, Isolation, PreviousBoot, RecordKind};
use claim::evidence::{BootEvidence, Settings};
use claim::hashes::definition_hash;
use claim::key::Key;
use claim::sealing::Sealing;
use claim::time::Timestamp;
use claim::{Digest, json};
use tokio::task::spawn_local;
use wire::limits::EVIDENCE;
use wire::{Blob, BootBundle, BootRefusal, BootReport, Document, RefusalCode};

use crate::audit::{Audit, Sealer};
use crate::catalog::Catalog;
use crate::config::{self, AuthMode, Config, EXPECTED_MEASUREMENT, ProviderChoice};
use crate::controls::Controls;
use crate::document::refusal;
use crate::events::Events;
use crate::evidence::{AttestFailure, Attestor, DevMode, TpmPath};
use crate::freshness::{Attested, Turns};
use crate::gateway::{Clock, Gateway};
use crate::identity::Access;
use crate::limits;
use crate::operator::{self, Authority, InForce};
use crate::options::Options;
use crate::policy::Policy;
use crate::polling::Polling;
use crate::random;
use crate::secrets::{self, Secrets};
use crate::session::Sessions;
use crate::tls::{self, Inbound};
use crate::transport::Callback;
use crate::upstream::{Roots, Upstreams, trust};

/// No boot is earlier than this, whatever the host's clock says: 2026-11-22T00:00:00Z, when this version was written.
const EARLIEST: Timestamp = Timestamp::from_seconds(1_795_305_600);

/// What identifies a boot.
pub struct Boot {
    /// Random name of this boot.
    pub id: [u8; 16],
    /// The same as 32 hexadecimal digits.
    pub id_hex: String,
    /// The boot binding, everything a verifier must approve, with evidence over it as it was made last.
    pub attested: RefCell<Rc<Attested>>,
    /// X of the boot binding.
    pub x: Digest,
    /// SHA-256 of the configuration.
    pub config_hash: Digest,
    /// What vouches for it.
    pub attestor: Attestor,
    /// How agents' connections arrive.
    pub inbound: Inbound,
    /// Where the enclave opens its own streams.
    pub callback: Callback,
}

/// The documents of a boot bundle, parsed and validated.
struct Loaded {
    config: Config,
    config_hash: Digest,
    catalog: Catalog,
    in_force: Option<InForce>,
    authority: Authority,
    policy: Policy,
    controls: Controls,
    roots: Roots,
}

/// Validates a boot bundle without booting. In dev mode no hardware is looked for: whoever approves the documents of a gateway
/// on hardware has none of it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(bundle: &BootBundle, tpm: &TpmPath) -> Result<BootReport, BootRefusal> {
    let loaded = load(bundle)?;
    let (attestor, dev) = if bundle.dev {
        admit(bundle, &loaded, ProviderChoice::SoftwareOnly, tpm)?
    } else {
        admit(bundle, &loaded, loaded.config.attestation.provider, tpm)?
    };
    Access::new(&loaded.config, dev.as_ref(), Clock::starting_at(EARLIEST))?;
    Ok(report(&loaded, &attestor, [0; 16], [0; 32], &[]))
}

/// `definition_hash` of a JSON document.
///
/// # Errors
/// What is not acceptable JSON about it.
pub fn hash_definition(bytes: &[u8]) -> Result<Digest, BootRefusal> {
    json::parse(bytes).map(|definition| definition_hash(&definition)).map_err(|error| {
        let expected = "one JSON value without duplicate keys";
        refusal(RefusalCode::Malformed, &Document::None, "", &error.to_string(), expected)
    })
}

/// A Cedar schema for the tools of a catalog; only in builds with dev mode.
///
/// # Errors
/// What is wrong with the catalog.
#[cfg(feature = "software")]
pub fn schema(catalog: &[u8]) -> Result<Vec<u8>, BootRefusal> {
    Ok(crate::policy::schema_of(&Catalog::parse(catalog)?).into_bytes())
}

/// What a policy bundle says of some requests, as JSON; only in builds with dev mode.
///
/// # Errors
/// The first thing that is wrong.
#[cfg(feature = "software")]
pub fn ask(questions: &wire::PolicyQuestions) -> Result<Vec<u8>, BootRefusal> {
    let wire::PolicyQuestions { policy, catalog, requests, explain } = questions;
    crate::policy::ask(policy, &catalog.0, &requests.0, *explain).map(|answers| answers.sorted_ascii().into_bytes())
}

/// Not in this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "software"))]
pub fn schema(_: &[u8]) -> Result<Vec<u8>, BootRefusal> {
    Err(not_here())
}

/// Not in this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "software"))]
pub fn ask(_: &wire::PolicyQuestions) -> Result<Vec<u8>, BootRefusal> {
    Err(not_here())
}

#[cfg(not(feature = "software"))]
fn not_here() -> BootRefusal {
    refusal(RefusalCode::State, &Document::None, "", "a request of a policy's author", "a build with dev mode")
}

/// Boots: makes the key, writes the boot record, and is ready to serve.
///
/// # Errors
/// The first thing that is wrong.
pub fn boot(
    bundle: &BootBundle,
    options: &Options,
    callback: &Callback,
    events: &Rc<Events>,
) -> Result<(Rc<Gateway>, BootReport), BootRefusal> {
    let tpm = &options.tpm;
    let loaded = load(bundle)?;
    let now = wall_time(bundle, &loaded);
    let clock = Clock::starting_at(now);
    let (attestor, dev) = admit(bundle, &loaded, loaded.config.attestation.provider, tpm)?;
    let access = Access::new(&loaded.config, dev.as_ref(), clock.clone())?;
    let id = random::bytes().map_err(|_| no_random())?;
    let key = Rc::new(Key::from_seed(random::bytes().map_err(|_| no_random())?));
    let arrival = arrival(bundle, &loaded.config, dev)?;
    let tls_spki = arrival.spki();
    let mut report = report(&loaded, &attestor, id, *key.public().bytes(), &tls_spki);
    let controls_hash = Digest::of(bundle.controls.as_ref().map_or(&[][..], |controls| &controls.0));
    let (sealer, sealing) = sealer(&loaded.config, id)?.unzip();
    let isolation = options.isolation;
    let record =
        BootRecord { isolation, sealing, ..boot_record(bundle, &loaded, &key, id, (controls_hash, tls_spki), now) };
    let binding = BootBinding {
        boot_id: record.boot_id,
        tls_spki: record.tls_spki.clone(),
        bundle_hash: record.bundle_hash,
        catalog_hash: record.catalog_hash,
        config_hash: record.config_hash,
        controls_hash,
        isolation: record.isolation,
        dev: record.dev,
        time_source: record.time_source.clone(),
    };
    let internal = |_| refusal(RefusalCode::State, &Document::None, "", "a boot record that cannot be signed", "");
    let x = boot_x(&binding).map_err(internal)?;
    let settings = Settings {
        bundle_hash: binding.bundle_hash,
        catalog_hash: binding.catalog_hash,
        config_hash: binding.config_hash,
        controls_hash,
    };
    let of_boot = claim::binding::binding(&key.public().thumbprint(), &x);
    let at = clock.now();
    let evidence = attestor.extend_at_boot(&settings.digest()).and_then(|()| attestor.boot(&key, &of_boot));
    let evidence = evidence.map_err(|failure| no_evidence(&loaded.config, tpm, failure))?;
    report.warnings.extend(crate::evidence::warning(&evidence, &settings).map(Into::into));
    let shown = BootEvidence { boot: binding, public_key: key.public().x(), evidence };
    let inbound = arrival.inbound(&shown, &key, (&loaded.config, clock.clone()))?;
    let attested = Attested::new(shown, at).map_err(internal)?;
    let Loaded { config, config_hash, catalog, in_force, authority, policy, controls, roots } = loaded;
    events.expect_tools(catalog.tools().len());
    let audit = Rc::new(Audit::new(
        id,
        sealer,
        config.audit.durability,
        callback.clone(),
        Duration::from_millis(config.limits.store_timeout_ms),
        events.clone(),
        clock.clone(),
    ));
    audit.push(RecordKind::Boot, 0, &record.bytes().map_err(internal)?);
    let previous = bundle.store_head.map_or([0; 32], |head| head.hash);
    spawn_local(audit.clone().run(key.clone(), Digest::from_bytes(previous)));
    let polling = Rc::new(Polling::default());
    spawn_local(polling.clone().run());
    let boot = Boot {
        id,
        id_hex: record.boot_id.to_string(),
        attested: RefCell::new(attested.into()),
        x,
        config_hash,
        attestor,
        inbound,
        callback: callback.clone(),
    };
    let secrets = Secrets::of(&catalog);
    let gateway = Gateway {
        sessions: RefCell::new(Sessions::new(&config)),
        collateral: RefCell::default(),
        turns: Turns::default(),
        access,
        upstreams: Upstreams::new(&catalog, callback, &config.limits, &roots, &clock, &secrets)?,
        secrets,
        config,
        catalog,
        policy: RefCell::new(Rc::new(policy)),
        settings: RefCell::new(vec![settings]),
        authority,
        in_force,
        controls,
        key,
        boot,
        clock,
        audit,
        polling,
        events: events.clone(),
        parked: Cell::new(0),
        stopping: Cell::new(false),
    };
    gateway.record_attested();
    if gateway.on_hardware() && gateway.attested().bytes().len() <= EVIDENCE {
        report.evidence = Blob(gateway.attested().bytes().to_vec());
    }
    Ok((Rc::new(gateway), report))
}

fn load(bundle: &BootBundle) -> Result<Loaded, BootRefusal> {
    let (config, config_hash) = config::parse(&bundle.config.0)?;
    let catalog = Catalog::parse(&bundle.catalog.0)?;
    let in_force = operator::controls(bundle.controls.as_ref(), &config)?;
    let authority = Authority::of(&config, in_force.as_ref())?;
    let policy = Policy::load_admitted(&bundle.policy, &catalog, |bundle| authority.admit(bundle))?;
    let controls = Controls::new(&config, &catalog, in_force.as_ref())?;
    let roots = trust::roots(&config, &catalog)?;
    secrets::check(&config, &catalog)?;
    Ok(Loaded { config, config_hash, catalog, in_force, authority, policy, controls, roots })
}

/// The provider, and whether the documents are enough for it: outside dev mode more is asked of them.
fn admit(
    bundle: &BootBundle,
    loaded: &Loaded,
    choice: ProviderChoice,
    tpm: &TpmPath,
) -> Result<(Attestor, Option<DevMode>), BootRefusal> {
    let (attestor, dev) = Attestor::open(choice, bundle.dev, tpm)?;
    if choice == loaded.config.attestation.provider {
        expect_measurement(&loaded.config, &attestor)?;
    }
    trust::admit(&loaded.config, &loaded.catalog, dev.as_ref())?;
    loaded.config.audit.require_auditor(dev.as_ref())?;
    Ok((attestor, dev))
}

fn expect_measurement(config: &Config, attestor: &Attestor) -> Result<(), BootRefusal> {
    let found = attestor.about().measurement;
    match config.attestation.expected() {
        Some(expected) if expected != found => Err(refusal(
            RefusalCode::HashMismatch,
            &Document::Config,
            EXPECTED_MEASUREMENT,
            &format!("a machine that measures {found}"),
            &format!("{expected}, as the configuration has it"),
        )),
        _ => Ok(()),
    }
}

fn no_evidence(config: &Config, tpm: &TpmPath, failure: AttestFailure) -> BootRefusal {
    crate::evidence::failed(config.attestation.provider, tpm, failure)
}

/// How agents' connections are to arrive.
enum Arrival {
    Plain(DevMode),
    Tls(Box<tls::Keys>),
}

/// TLS keys, unless dev mode does without.
fn arrival(bundle: &BootBundle, config: &Config, dev: Option<DevMode>) -> Result<Arrival, BootRefusal> {
    match dev {
        Some(_) if !bundle.tls && config.auth.mode == AuthMode::Mtls => {
            let expected = "TLS, in which agents show their certificates: host --dev-enclave --tls";
            Err(refusal(RefusalCode::State, &Document::Config, "auth.mode", "mtls over plain HTTP", expected))
        }
        Some(dev) if !bundle.tls => Ok(Arrival::Plain(dev)),
        _ => {
            let keys = tls::Keys::generate(config.tls.public_name.as_deref());
            keys.map(|keys| Arrival::Tls(keys.into())).map_err(|error| no_tls(&error.to_string()))
        }
    }
}

impl Arrival {
    fn spki(&self) -> Vec<Digest> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Tls(keys) => keys.spki(),
        }
    }

    /// TLS with the evidence in the certificate.
    fn inbound(
        self,
        shown: &BootEvidence,
        key: &Key,
        (config, clock): (&Config, Clock),
    ) -> Result<Inbound, BootRefusal> {
        let keys = match self {
            Self::Plain(dev) => return Ok(Inbound::Plain(dev)),
            Self::Tls(keys) => keys,
        };
        let extension = shown.extension().map_err(|error| no_tls(&error.to_string()))?;
        let clients =
            config.auth.mtls.as_ref().map(|mtls| tls::issuers("auth.mtls.client_ca", &mtls.client_ca)).transpose()?;
        let server = keys.serve(&key.public(), extension, clients, clock);
        let server = server.map_err(|error| no_tls(&error.to_string()))?;
        Ok(Inbound::Tls(server.into()))
    }
}

fn no_tls(found: &str) -> BootRefusal {
    refusal(RefusalCode::State, &Document::None, "", found, "TLS keys with certificates")
}

fn no_random() -> BootRefusal {
    refusal(RefusalCode::State, &Document::None, "", "no random bytes", "a kernel with getrandom(2)")
}

/// What seals the records of this boot, if they are to be sealed.
fn sealer(config: &Config, id: [u8; 16]) -> Result<Option<(Sealer, Sealing)>, BootRefusal> {
    let auditor = config.audit.auditor()?;
    auditor.map(|key| Sealer::new(&key, id).map_err(|_| no_random())).transpose()
}

/// The host's clock, but never before this version, the policy bundle or the newest approval in the catalog.
fn wall_time(bundle: &BootBundle, loaded: &Loaded) -> Timestamp {
    let host = Timestamp::from_millis(i64::try_from(bundle.wall_unix_ms).unwrap_or(i64::MAX / 1000));
    let dates = loaded.catalog.tools().iter().map(|tool| tool.added_at.as_str());
    let newest = dates.filter_map(|date| Timestamp::parse(date).ok()).max().unwrap_or(EARLIEST);
    host.max(newest).max(loaded.policy.authored_at()).max(EARLIEST)
}

fn boot_record(
    bundle: &BootBundle,
    loaded: &Loaded,
    key: &Key,
    id: [u8; 16],
    (controls_hash, tls_spki): (Digest, Vec<Digest>),
    now: Timestamp,
) -> BootRecord {
    BootRecord {
        boot_id: BootId(id),
        public_key: key.public().x(),
        isolation: Isolation::Process,
        dev: bundle.dev,
        tls_spki,
        bundle_hash: loaded.policy.bundle_hash(),
        catalog_hash: loaded.catalog.hash(),
        config_hash: loaded.config_hash,
        controls_hash,
        time_source: "host".to_owned(),
        started_at: now,
        gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
        previous: bundle.store_head.map(|head| PreviousBoot {
            boot_id: BootId(head.boot_id),
            batch: head.batch,
            hash: Digest::from_bytes(head.hash),
        }),
        sealing: None,
    }
}

fn report(
    loaded: &Loaded,
    attestor: &Attestor,
    boot_id: [u8; 16],
    public_key: [u8; 32],
    tls_spki: &[Digest],
) -> BootReport {
    BootReport {
        boot_id,
        provider: attestor.about().provider,
        enforcement: loaded.config.attestation.enforcement_mode.into(),
        bundle_hash: *loaded.policy.bundle_hash().bytes(),
        catalog_hash: *loaded.catalog.hash().bytes(),
        config_hash: *loaded.config_hash.bytes(),
        public_key,
        tools: u32::try_from(loaded.catalog.tools().len()).unwrap_or(u32::MAX),
        policies: u32::try_from(loaded.policy.policies()).unwrap_or(u32::MAX),
        warnings: (trust::warnings(&loaded.catalog).iter())
            .chain(loaded.controls.warnings())
            .chain(loaded.policy.warnings())
            .take(limits::MAX_WARNINGS)
            .map(|text| text.as_str().into())
            .collect(),
        policy_signed_by: loaded.policy.signed_by().map(|key| *key.bytes()),
        halted: loaded.controls.halted,
        controls_epoch: loaded.in_force.as_ref().map(|in_force| in_force.controls.epoch),
        tls_spki: tls_spki.iter().map(|key| *key.bytes()).collect(),
        evidence: Blob::default(),
    }
}
