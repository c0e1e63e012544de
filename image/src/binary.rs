//! The enclave's executable: static, without paths of whoever built it, without dev mode.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout::Checkout;
use crate::elf;
use crate::error::{BuildError, folder, read};
use crate::flavour::Flavour;
use crate::run::{logged, output, program};
use crate::tools::Rust;

/// The only target: with it, flags for the enclave are not flags for programs that run while it is built.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const COMPILER: &str = "gcc-12";
/// A text that is in every enclave with dev mode, and in no other (enclave/src/evidence/mod.rs).
pub const DEV_MODE: &str = "cmcp-enclave-dev-mode-is-linked";

/// Builds the enclave of a flavour.
///
/// # Errors
/// A build that fails, or an executable that must not be in an image.
pub fn build(checkout: &Checkout, rust: &Rust, flavour: Flavour) -> Result<Vec<u8>, BuildError> {
    let target = target(checkout)?;
    let remaps = remaps(checkout, rust, &target)?;
    logged(&mut cargo(checkout, rust, flavour, &target, &remaps), &log(checkout, flavour))?;
    let enclave = read(&target.join(TARGET).join("release/enclave"))?;
    let paths = remaps.iter().map(|(path, _)| path.as_path());
    check(&enclave, paths.chain([checkout.root()]).chain(home().as_deref()))?;
    Ok(enclave)
}

/// What cargo says.
pub(crate) fn log(checkout: &Checkout, flavour: Flavour) -> PathBuf {
    checkout.log(&format!("enclave-{}", flavour.name()))
}

/// Where cargo builds, as its paths will be called.
fn target(checkout: &Checkout) -> Result<PathBuf, BuildError> {
    let path = checkout.target();
    folder(&path)?;
    path.canonicalize().map_err(|error| BuildError::File { what: "find", path, error })
}

/// Folders and what stands for them in the executable. The last that fits is used.
type Remaps = Vec<(PathBuf, &'static str)>;

fn cargo(checkout: &Checkout, rust: &Rust, flavour: Flavour, target: &Path, remaps: &Remaps) -> Command {
    let option = |option: &str| {
        remaps.iter().map(move |(from, to)| format!("{option}={}={to}", from.display())).collect::<Vec<_>>()
    };
    let rustflags = [vec!["-Ctarget-feature=+crt-static".to_owned()], option("--remap-path-prefix")].concat();
    let cflags = option("-ffile-prefix-map").join(" ");
    let mut cargo = program("cargo", &rust.path);
    cargo.current_dir(checkout.root());
    cargo.args(["build", "--locked", "--release", "--package", "enclave", "--bin", "enclave", "--target", TARGET]);
    cargo.args(["--no-default-features", "--features", flavour.features(), "--target-dir"]).arg(target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f")).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", COMPILER);
    cargo.envs([("CC", COMPILER), ("CFLAGS", &cflags), ("SOURCE_DATE_EPOCH", "0")]);
    cargo
}

/// Where cargo builds, its own folder, that of the crates (whatever registry they came from), and that of Rust's own library. The
/// checkout needs none: cargo names files in it from its root.
fn remaps(checkout: &Checkout, rust: &Rust, target: &Path) -> Result<Remaps, BuildError> {
    let mut remaps = vec![(target.to_owned(), "/target")];
    if let Some(home) = cargo_home() {
        remaps.push((home, "/cargo"));
    }
    remaps.extend(registries(checkout, rust)?.into_iter().map(|folder| (folder, "/crates")));
    remaps.push((rust.library.clone(), "/rust"));
    match remaps.iter().find(|(path, _)| path.as_os_str().as_encoded_bytes().contains(&b' ')) {
        Some((path, _)) => Err(BuildError::Path { path: path.clone() }),
        None => Ok(remaps),
    }
}

/// Folders that have the sources of crates in them.
fn registries(checkout: &Checkout, rust: &Rust) -> Result<BTreeSet<PathBuf>, BuildError> {
    let mut metadata = program("cargo", &rust.path);
    metadata.current_dir(checkout.root()).args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--filter-platform",
        TARGET,
    ]);
    let said: Metadata = serde_json::from_str(&output(&mut metadata)?)
        .map_err(|error| BuildError::input(Path::new("cargo metadata"), &error))?;
    let folders = said.packages.iter().filter_map(|package| package.manifest_path.parent()?.parent());
    Ok(folders.filter(|folder| !folder.starts_with(checkout.root())).map(Path::to_owned).collect())
}

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(serde::Deserialize)]
struct Package {
    manifest_path: PathBuf,
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")))
}

fn home() -> Option<PathBuf> {
    // That of root in a container is sometimes `/`, which every path has in it.
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.components().count() > 1)
}

/// Nothing but itself is needed to run it, nothing of its builder is in it, and no dev mode.
///
/// # Errors
/// The first thing that is wrong.
pub fn check<'a>(enclave: &[u8], paths: impl IntoIterator<Item = &'a Path>) -> Result<(), BuildError> {
    let refused = |why: String| Err(BuildError::Enclave(why));
    if let Err(error) = elf::check_static(enclave) {
        return refused(error.to_string());
    }
    if contains(enclave, DEV_MODE.as_bytes()) {
        return refused(
            "dev mode is compiled in: an image's enclave is built without the feature `software`".to_owned(),
        );
    }
    let with_slash = |path: &Path| [path.as_os_str().as_encoded_bytes(), b"/"].concat();
    match paths.into_iter().find(|path| contains(enclave, &with_slash(path))) {
        Some(path) => {
            refused(format!("the path {} is in it: nobody with another one could rebuild it", path.display()))
        }
        None => Ok(()),
    }
}

fn contains(bytes: &[u8], searched: &[u8]) -> bool {
    bytes.windows(searched.len()).any(|window| window == searched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(elf: &[u8], path: &str) -> String {
        check(elf, [Path::new(path)]).map_or_else(|error| error.to_string(), |()| String::new())
    }

    /// The shortest executable that starts by itself, and some text.
    fn elf(text: &[u8]) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(64, 0);
        elf[18] = 62;
        [elf.as_slice(), text].concat()
    }

    #[test]
    fn an_enclave_with_a_linker_dev_mode_or_a_path_is_refused() {
        assert_eq!(refusal(&elf(b"/src/main.rs"), "/home/somebody"), "");
        assert!(refusal(&std::fs::read("/usr/bin/env").unwrap(), "/x").contains("linked dynamically"));
        assert!(refusal(&elf(DEV_MODE.as_bytes()), "/x").contains("dev mode is compiled in"));
        assert!(
            refusal(&elf(b"at /home/somebody/src/main.rs"), "/home/somebody")
                .contains("the path /home/somebody is in it")
        );
    }
}
