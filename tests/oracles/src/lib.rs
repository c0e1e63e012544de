//! Recorded evidence, and where it is: the collection beside the repository, and the sources of published crates. None of it
//! is copied into the repository.

use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

/// The recorded evidence beside the repository, if it is there.
pub fn fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/evidence");
    path.is_dir().then_some(path)
}

/// The source folder of a crate that this workspace names.
///
/// # Panics
/// Without such a crate.
pub fn crate_source(name: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .exec()
        .expect("cargo metadata");
    let package =
        metadata.packages.iter().find(|package| package.name.as_str() == name).expect("a crate of this workspace");
    package.manifest_path.parent().expect("a folder").into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn crates_bring_their_samples() {
        for (name, sample) in [
            ("sev", "tests/certs_data/report_milan.hex"),
            ("dcap-qvl", "sample/tdx_quote"),
            ("az-cvm-vtpm", "test/hcl-report-snp.bin"),
        ] {
            assert!(super::crate_source(name).join(sample).is_file(), "{name} has no {sample}");
        }
    }
}
