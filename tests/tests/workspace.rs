//! What the tree promises: who may depend on whom, what is measured, no unsafe code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crates that the measured binary may link, itself included.
const MEASURED_CAP: usize = 130;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// Normal and build dependencies between the workspace's own crates.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo metadata");
    let own: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let arrows_of = |package: &cargo_metadata::Package| {
        let shipped = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
        package
            .dependencies
            .iter()
            .filter(|d| shipped(d.kind) && own.contains(&d.name))
            .map(|d| d.name.clone())
            .collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), arrows_of(package))).collect()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let expected: [(&str, &[&str]); 8] = [
        ("claim", &[]),
        ("wire", &[]),
        ("enclave", &["claim", "wire"]),
        ("host", &["wire"]),
        ("verify", &["claim"]),
        ("cmcp-verify-python", &["verify"]),
        ("image", &["claim"]),
        ("tests", &["claim", "wire"]),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, to)| (name.to_owned(), to.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>()))
        .into();
    assert_eq!(arrows(), expected);
}

/// `name version` of every crate that the measured binary links, sorted.
fn measured() -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "enclave",
            "-e",
            "normal",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
            // Of every flavour of the image.
            "--no-default-features",
            "--features",
            "tpm,tsm,sandbox",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates: BTreeSet<String> = String::from_utf8(output.stdout)
        .expect("cargo tree prints UTF-8")
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("{name} {}\n", rest.split(' ').next().unwrap_or(rest)))
        .collect();
    crates.into_iter().collect()
}

/// A change to the list is a change to what is measured: `UPDATE_MEASURED=1 cargo test -p tests --test workspace`
/// writes it, and the commit says what was added and why.
#[test]
fn measured_crates_are_the_listed_ones() {
    let path = root().join("enclave/measured.txt");
    let now = measured();
    if std::env::var_os("UPDATE_MEASURED").is_some() {
        std::fs::write(&path, &now).expect("enclave/measured.txt is writable");
    }
    let listed = std::fs::read_to_string(&path).expect("enclave/measured.txt");
    assert_eq!(listed, now, "enclave/measured.txt is not what the enclave links");
    assert!(now.lines().count() <= MEASURED_CAP, "{} measured crates, at most {MEASURED_CAP}", now.lines().count());
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_unsafe_code_and_no_stub() {
    let mut files = Vec::new();
    for folder in ["enclave", "proto", "host", "image"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 10, "the sources are where this test looks");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for word in ["unsafe {", "unsafe fn", "unsafe impl", "todo!(", "unimplemented!(", "#[ignore"] {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
    }
}

#[test]
fn top_level_holds_only_what_the_design_names() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git ls-files");
    let files = String::from_utf8(output.stdout).expect("UTF-8");
    let top: BTreeSet<&str> =
        files.lines().filter_map(|path| path.split('/').next()).filter(|n| !n.starts_with('.')).collect();
    let allowed = BTreeSet::from([
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "clippy.toml",
        "deny.toml",
        "docs",
        "enclave",
        "host",
        "image",
        "policies",
        "proto",
        "rust-toolchain.toml",
        "rustfmt.toml",
        "tests",
    ]);
    assert_eq!(top.difference(&allowed).collect::<Vec<_>>(), Vec::<&&str>::new());
}
