//! `cmcp-verify snp-report`: one report of AMD SEV-SNP by itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use claim::hex;

use super::answers::{Answers, Style};
use super::{CliError, Exit, input};
use crate::evidence::appraise::Part;
use crate::evidence::snp::{self, AttestationReport};
use crate::evidence::x509::{Certificate, Chains, Crl};
use crate::evidence::{Check, Material, Question, Report};
use crate::references::{Image, References, SnpPolicy, anchors};

const HELP: &str = "\
REPORT is the binary structure of 1184 bytes (outblob of the kernel's configfs report interface; in an Azure VM the bytes \
from 32 on of NV index 0x01400001).

AMD's roots and the CAs below them are built in. What is needed besides is the certificate of the key that signed, of the \
very chip and firmware: without it the answer names its URL at AMD's key service. Nothing here uses the network.

Exit code: 0 what was asked is yes, 1 refused (the reason is printed), 2 not judged (a certificate or a minimum TCB is \
missing, or a file cannot be read), 64 wrong usage. `ours` is asked if there are reference values or --report-data.

Examples:
  cmcp-verify snp-report report.bin --certificates vcek.der
  cmcp-verify snp-report report.bin --certificates vcek.der cert_chain.pem --crl crl.der --reference approved.json
  cmcp-verify snp-report report.bin --certificates vcek.der --at 2026-06-01T00:00:00Z --explain
      Was it right at that time, what does each check show, and what could be done without it?";

/// Where the report begins in what Azure's NV index holds.
const HCL: &[u8] = b"HCLA";

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The report; - reads standard input
    report: PathBuf,
    /// Certificates of the key and its CAs in any order, PEM or DER
    #[arg(long, value_name = "FILE", num_args = 1..)]
    certificates: Vec<PathBuf>,
    /// Lists of revoked certificates, DER
    #[arg(long, value_name = "FILE", num_args = 1..)]
    crl: Vec<PathBuf>,
    /// What you approved (docs/reference-values.schema.json); else CMCP_REFERENCE_VALUES, else ./reference-values.json
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// What the guest's 64 bytes must be, as 128 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = input::report_data)]
    report_data: Option<[u8; 64]>,
    #[command(flatten)]
    style: Style,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let bytes = input::read(&args.report)?;
    if bytes.starts_with(HCL) {
        return Err(CliError::Input(format!(
            "{}: this is what Azure's NV index holds; the report is the 1184 bytes from 32 on",
            args.report.display()
        )));
    }
    let references = input::references(args.reference.as_deref())?.ok();
    let mut asked = vec![Question::Genuine, Question::Current];
    if references.is_some() || args.report_data.is_some() {
        asked.push(Question::Ours);
    }
    let at = input::now(args.style.at);
    let mut report = Report::default();
    let found = judge(args, &bytes, references.as_ref(), &mut report)?;
    let answers = Answers {
        subject: format!("SEV-SNP report {}", args.report.display()),
        asked,
        says: found.as_ref().map(says).unwrap_or_default(),
        parts: vec![Part { name: "report", report }],
        at,
    };
    answers.write(args.style, out)
}

fn judge(
    args: &Args,
    bytes: &[u8],
    references: Option<&References>,
    report: &mut Report,
) -> Result<Option<AttestationReport>, CliError> {
    let anchors = anchors(references).map_err(|error| CliError::Input(error.to_string()))?;
    let certificates = args.certificates.iter().map(|path| certificates(path)).collect::<Result<Vec<_>, _>>()?.concat();
    let crls = args.crl.iter().map(|path| crl(path)).collect::<Result<Vec<_>, _>>()?;
    let chains = Chains::default();
    let at = input::now(args.style.at);
    let material = Material { certificates: &certificates, crls: &crls, anchors: &anchors, chains: &chains, at };
    let policy = references.map_or_else(SnpPolicy::default, |references| references.platforms.sev_snp.clone());
    let found = snp::appraise(bytes, args.report_data.as_ref(), &material, &policy, report);
    if let Some(found) = &found {
        measured(found, references, report);
    }
    Ok(found)
}

/// In an Azure VM the launch digest is the paravisor's, so references for one name none.
fn measured(found: &AttestationReport, references: Option<&References>, report: &mut Report) {
    let images = references.map(|references| references.images.as_slice()).unwrap_or_default();
    if images.iter().any(|image| matches!(image, Image::SevSnp { .. })) {
        snp::approved(found, images, report);
    } else {
        report.open(Check::SnpMeasurement, "the reference values name no image of type sev-snp");
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, CliError> {
    Certificate::from_file(&input::read(path)?).map_err(|error| unreadable(path, &error))
}

fn crl(path: &Path) -> Result<Crl, CliError> {
    Crl::from_der(&input::read(path)?).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &impl ToString) -> CliError {
    CliError::Input(format!("{}: {}", path.display(), error.to_string()))
}

fn says(found: &AttestationReport) -> Vec<(&'static str, String)> {
    let product = found.product().map_or_else(|| "not said".to_owned(), |product| product.to_string());
    vec![
        ("version", found.version.to_string()),
        ("product", product),
        ("chip", hex::encode(&found.chip_id)),
        ("measurement", hex::encode(&found.measurement)),
        ("report data", hex::encode(&found.report_data)),
        ("host data", hex::encode(&found.host_data)),
        ("family", hex::encode(&found.family_id)),
        ("image", hex::encode(&found.image_id)),
        ("report id", hex::encode(&found.report_id)),
    ]
}
