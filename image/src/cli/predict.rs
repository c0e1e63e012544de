//! `image predict`.

use std::io::Write;
use std::path::PathBuf;

use super::{CliError, Exit, in_file, read};
use crate::measurements::Image;
use crate::{predict, snp, uki};

/// Name of the launch digest in `boot_paths`.
const SNP: &str = "sev-snp";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An image's folder, or its EFI program (enclave.efi)
    image: PathBuf,
    /// Firmware of an SNP guest that gets kernel, initramfs and command line from QEMU, with kernel-hashes=on: an AmdSev build
    /// of OVMF
    #[arg(long, value_name = "FILE", requires = "vcpus", requires = "vcpu_type")]
    ovmf: Option<PathBuf>,
    /// Virtual processors of that guest (QEMU's -smp)
    #[arg(long, value_name = "N", requires = "ovmf")]
    vcpus: Option<u32>,
    /// Their type (QEMU's -cpu), for example EPYC-v4
    #[arg(long, value_name = "TYPE", requires = "ovmf")]
    vcpu_type: Option<String>,
    /// SEV_FEATURES of that guest, in hexadecimal: what its kernel and QEMU set. 1 is SNP alone, 21 is SNP with debug swap
    #[arg(long, value_name = "HEX", default_value = "1", value_parser = features)]
    guest_features: u64,
}

/// Prints `images` and `boot_paths`, as in measurements.json.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, CliError> {
    let path = if args.image.is_dir() { args.image.join("enclave.efi") } else { args.image.clone() };
    let program = read(&path)?;
    let fail = in_file(&path);
    let mut prediction = predict::pcrs(&program).map_err(|error| fail(&error))?;
    if let (Some(firmware), Some(vcpus), Some(cpu)) = (&args.ovmf, args.vcpus, &args.vcpu_type) {
        let parts = uki::read(&program).map_err(|error| fail(&error))?.parts;
        let machine = snp::Machine { vcpus, cpu, features: args.guest_features };
        let measurement =
            snp::launch_digest(&read(firmware)?, &parts, machine).map_err(|error| in_file(firmware)(&error))?;
        prediction.add(SNP, Image::SevSnp { measurement });
    }
    out.write_all(prediction.text().as_bytes())?;
    Ok(Exit::Done)
}

fn features(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map_err(|_| format!("found {text}, expected hexadecimal digits, for example 1 or 0x21"))
}
