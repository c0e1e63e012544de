//! `cmcp-verify tpm-quote`: a TPM's quote, the key that signed it, what the PCRs say.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::answers::{Answers, Style};
use super::pcrs::{pcrs, pinned};
use super::{CliError, Exit, input};
use crate::evidence::appraise::Part;
use crate::evidence::tpm::pcrs::{self as policy, PcrPolicy};
use crate::evidence::tpm::{self, Signed, TpmPublic, Vouching};
use crate::evidence::x509::{Certificate, Chains, PublicKey};
use crate::evidence::{Check, Material, Question, Report};
use crate::references::{References, anchors};

const HELP: &str = "\
The quote must be over PCR 0 to 23 of the SHA-256 bank, in one selection. What signed it is said by
  --ak-certificate  a certificate to Microsoft's root for confidential VMs, which is built in, or to a root of type tpm in
                    the reference values; NV index 0x01C101D0 of an Azure VM can be given as it was read
  --ak              a key that you know otherwise: PEM, or TPMT_PUBLIC (tpm2_readpublic -f tpmt). Nobody then vouches
                    that it is a TPM's, so `genuine` is not judged

--pcrs is JSON: a list of 24 texts of 64 hexadecimal digits, or an object of them by number.
`ours` is asked if --nonce or --reference is given, and is yes only with both: quotes can be replayed, and hardware runs \
anybody's programs. For a quote of a gateway the nonce is SHA-256 of the binding's 64 bytes.

Exit code: 0 verified (every answer that was asked for is yes), 1 refused (one is NO; the reason is printed), 2 not judged \
(a certificate, nonce or reference values are missing, or a file cannot be read), 64 wrong usage.

Examples:
  tpm2_quote -c ak.ctx -l sha256:all -q 5a5a... -m quote.msg -s quote.sig -f tss
      On the machine; -f tss writes the signature as TPMT_SIGNATURE.
  cmcp-verify tpm-quote quote.msg --signature quote.sig --pcrs pcrs.json --ak ak.pem --nonce 5a5a...
  cmcp-verify tpm-quote quote.msg --signature quote.sig --pcrs pcrs.json --ak-certificate ak.der \
--nonce nonce.bin --reference approved.json --event-log binary_bios_measurements";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[command(group = clap::ArgGroup::new("key").required(true).multiple(true).args(["ak", "ak_certificate"]))]
pub(super) struct Args {
    /// TPMS_ATTEST, as the TPM signed it; - reads standard input
    message: PathBuf,
    /// TPMT_SIGNATURE over it
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// Values of PCR 0 to 23 of the SHA-256 bank, as JSON
    #[arg(long, value_name = "FILE")]
    pcrs: PathBuf,
    /// Attestation key: PEM or TPMT_PUBLIC
    #[arg(long, value_name = "FILE")]
    ak: Option<PathBuf>,
    /// Certificate of the attestation key: DER, with zeros behind it as in a TPM, or PEM
    #[arg(long, value_name = "FILE")]
    ak_certificate: Option<PathBuf>,
    /// Intermediate certificates, DER or PEM; can be given several times
    #[arg(long, value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// What the quote must be for (qualifyingData): hexadecimal digits, or a file with the bytes
    #[arg(long, value_name = "HEX|FILE")]
    nonce: Option<String>,
    /// The firmware's event log, for images that are known by the programs that it names
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// What you approved (docs/reference-values.schema.json); else CMCP_REFERENCE_VALUES, else ./reference-values.json
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let references = input::references(args.reference.as_deref())?.ok();
    let at = input::now(args.style.at);
    let parts = vec![key(args, references.as_ref())?, quote(args)?, image(args, references.as_ref())?];
    let ours = args.nonce.is_some() || references.is_some();
    let asked = Question::ALL.iter().copied().filter(|question| ours || *question != Question::Ours).collect();
    let subject = format!("TPM quote {}", args.message.display());
    Answers { subject, asked, says: Vec::new(), parts, at }.write(args.style, out)
}

/// Who vouches for the key.
fn key(args: &Args, references: Option<&References>) -> Result<Part, CliError> {
    let mut report = Report::default();
    if let Some(path) = &args.ak {
        attributes(&input::read(path)?, &mut report);
    }
    let Some(path) = &args.ak_certificate else {
        let missing = "--ak-certificate: without one nobody vouches that the key is a TPM's";
        report.open(Check::TpmAkVouched, missing);
        report.open(Check::TpmAkDates, missing);
        return Ok(Part { name: "key", report });
    };
    let anchors = anchors(references).map_err(|error| CliError::Input(error.to_string()))?;
    let mut certificates = Vec::new();
    for path in &args.certificates {
        let read = Certificate::from_file(&input::read(path)?);
        certificates.extend(read.map_err(|error| unreadable(path, &error))?);
    }
    let (chains, at) = (Chains::default(), input::now(args.style.at));
    let material = Material { certificates: &certificates, crls: &[], anchors: &anchors, chains: &chains, at };
    tpm::vouched(Some(&der(path)?), true, &attestation_key(args)?, Vouching::Tpm, &material, &mut report);
    Ok(Part { name: "key", report })
}

/// What a TPMT_PUBLIC says that the key may do; PEM says nothing of that.
fn attributes(bytes: &[u8], report: &mut Report) {
    if let Ok(public) = TpmPublic::parse(bytes) {
        tpm::restricted(&public, report);
    }
}

fn quote(args: &Args) -> Result<Part, CliError> {
    let (message, signature) = (input::read(&args.message)?, input::read(&args.signature)?);
    let pcrs = pcrs(&args.pcrs)?;
    let nonce = args.nonce.as_deref().map(nonce).transpose()?;
    let mut report = Report::default();
    let quote = Signed { message: &message, signature: &signature, pcrs: &pcrs };
    tpm::appraise(&quote, &attestation_key(args)?, nonce.as_deref(), &mut report);
    Ok(Part { name: "quote", report })
}

fn image(args: &Args, references: Option<&References>) -> Result<Part, CliError> {
    let log = args.event_log.as_deref().map(input::read).transpose()?;
    let images = references.map(|references| references.images.as_slice());
    let mut report = Report::default();
    policy::appraise(&pcrs(&args.pcrs)?, &PcrPolicy { images, event_log: log.as_deref() }, &mut report);
    Ok(Part { name: "PCRs", report })
}

/// The key that must have signed: the one that is known, else the certificate's.
fn attestation_key(args: &Args) -> Result<PublicKey, CliError> {
    if let Some(path) = &args.ak {
        return pinned(path);
    }
    let Some(path) = &args.ak_certificate else { return Err(CliError::Input("no key".to_owned())) };
    let certificate = Certificate::from_padded_der(&der(path)?).map_err(|error| unreadable(path, &error))?;
    certificate.key().map_err(|error| unreadable(path, &error))
}

/// The DER of a certificate's file; PEM is read as its first certificate.
fn der(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = input::read(path)?;
    if !bytes.starts_with(b"-----") {
        return Ok(bytes);
    }
    let certificates = Certificate::from_file(&bytes).map_err(|error| unreadable(path, &error))?;
    Ok(certificates.first().map(|certificate| certificate.der().to_vec()).unwrap_or_default())
}

fn nonce(text: &str) -> Result<Vec<u8>, CliError> {
    match super::pcrs::hex(text) {
        Some(bytes) => Ok(bytes),
        None => input::read(Path::new(text)),
    }
}

fn unreadable(path: &Path, error: &impl ToString) -> CliError {
    CliError::Input(format!("{}: {}", path.display(), error.to_string()))
}
