//! The kernel: Debian's source, our configuration, checked against our policy, built once for each set of inputs.

mod config;

use std::path::{Path, PathBuf};
use std::process::Command;

use claim::Digest;
use tempfile::TempDir;

use crate::checkout::Checkout;
use crate::error::{BuildError, folder, read, scratch, short, text, write};
use crate::fetch::{Cache, Fetched};
use crate::flavour::Kernel;
use crate::measurements::Input;
use crate::progress::Progress;
use crate::run::{logged, output, program};
use crate::tools::PATH;

/// The package with the source.
pub const SOURCE: &str = "linux-source-6.12";
/// What the build is told, and so part of what a kernel is cached by: the clock and names of a machine are in no kernel.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
    ("KBUILD_BUILD_USER", "enclave"),
    ("KBUILD_BUILD_HOST", "enclave"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("SOURCE_DATE_EPOCH", "0"),
];
const COMPILER: [&str; 2] = ["CC=gcc-12", "HOSTCC=gcc-12"];
/// Sources of drivers that no kernel here has, which are two thirds of the tree. What Kconfig reads stays.
const LEFT_OUT: [&str; 12] = [
    "*/Documentation/*.rst",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/infiniband/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/testing/*",
    "*/tools/perf/*",
    "*.dts*",
    "*.yaml",
];

/// A kernel and how it was configured.
#[derive(Clone, Debug)]
pub struct Built {
    /// The kernel: an EFI program.
    pub vmlinuz: Vec<u8>,
    /// Its whole configuration.
    pub input: Input,
}

/// Builds kernels from one source.
pub struct Builder<'a> {
    checkout: &'a Checkout,
    cache: Cache,
    tools: Vec<Input>,
    source: Source,
}

/// What a kernel is made from: the same inputs, the same kernel.
fn key(checkout: &Checkout, kernel: Kernel, source: &Digest, tools: &[Input]) -> Result<Digest, BuildError> {
    let mut inputs = format!("{source}\n{ENVIRONMENT:?}\n{COMPILER:?}\n");
    inputs.extend(tools.iter().flat_map(|tool| [&tool.name, " ", &tool.version, "\n"]));
    for fragment in checkout.fragments(kernel) {
        inputs.push_str(&text(&fragment)?);
    }
    Ok(Digest::of(inputs))
}

impl<'a> Builder<'a> {
    /// Nothing is unpacked before a kernel needs it.
    pub fn new(checkout: &'a Checkout, cache: Cache, package: Fetched, tools: Vec<Input>) -> Self {
        Self { checkout, cache, tools, source: Source { package, unpacked: None } }
    }

    /// The kernel, from the cache if it is there.
    ///
    /// # Errors
    /// A configuration that is not what was asked for or what the policy says, a build that fails.
    pub fn build(&mut self, kernel: Kernel, progress: &Progress<'_>) -> Result<Built, BuildError> {
        let key = key(self.checkout, kernel, &self.source.package.sha256, &self.tools)?;
        let cached = self.cache.kernel(&key);
        progress.step(&format!("kernel {}", kernel.name()), || {
            let from = if cached.join("vmlinuz").exists() { "from the cache" } else { "built" };
            if from == "built" {
                self.make(kernel, &cached, progress)?;
            }
            let config = text(&cached.join("config"))?;
            config::check(self.checkout, kernel, &config)?;
            let vmlinuz = read(&cached.join("vmlinuz"))?;
            let about = format!("{from}, {} KiB, key {}", vmlinuz.len() / 1024, short(&key));
            let input = Input {
                name: format!("kernel configuration {}", kernel.name()),
                version: self.source.package.version.clone(),
                sha256: Some(Digest::of(config)),
            };
            Ok((Built { vmlinuz, input }, about))
        })
    }

    fn make(&mut self, kernel: Kernel, cached: &Path, progress: &Progress<'_>) -> Result<(), BuildError> {
        let log = self.checkout.log(&format!("kernel-{}", kernel.name()));
        progress.say(&format!(
            "kernel {}: not in the cache; some 9 minutes of a processor, log {}",
            kernel.name(),
            log.display()
        ));
        let objects = scratch(&self.checkout.images())?;
        let fragments = self.checkout.fragments(kernel);
        let asked = fragments.iter().map(|path| text(path)).collect::<Result<String, _>>()?;
        let all = objects.path().join("asked.config");
        write(&all, &asked)?;
        let tree = self.source.unpacked(self.checkout, progress)?;
        let make = || make(&tree, objects.path());
        logged(make().arg("allnoconfig").env("KCONFIG_ALLCONFIG", &all), &log)?;
        let config = text(&objects.path().join(".config"))?;
        config::check(self.checkout, kernel, &config)?;
        logged(make().arg(format!("-j{}", processors())).arg("bzImage"), &log)?;
        folder(cached)?;
        write(&cached.join("config"), config)?;
        write(&cached.join("vmlinuz"), read(&objects.path().join("arch/x86/boot/bzImage"))?)
    }
}

fn make(tree: &Path, objects: &Path) -> Command {
    let mut make = program("make", PATH);
    make.current_dir(tree).env_remove("HOME").envs(ENVIRONMENT).args(COMPILER);
    make.arg("--silent").arg(format!("O={}", objects.display()));
    make
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The package, and once it is needed the tree in it.
struct Source {
    package: Fetched,
    unpacked: Option<TempDir>,
}

impl Source {
    fn unpacked(&mut self, checkout: &Checkout, progress: &Progress<'_>) -> Result<PathBuf, BuildError> {
        if self.unpacked.is_none() {
            let to = scratch(&checkout.images())?;
            progress.step("kernel source unpacked", || {
                unpack(&self.package, to.path()).map(|()| ((), "650 MB".to_owned()))
            })?;
            self.unpacked = Some(to);
        }
        Ok(self.unpacked.as_ref().map(|unpacked| unpacked.path().join("tree")).unwrap_or_default())
    }
}

fn unpack(package: &Fetched, to: &Path) -> Result<(), BuildError> {
    output(program("dpkg-deb", PATH).arg("--extract").args([&package.path, to]))?;
    let archive = to.join("usr/src").join(format!("{SOURCE}.tar.xz"));
    let tree = to.join("tree");
    folder(&tree)?;
    let mut tar = program("tar", PATH);
    tar.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&tree);
    tar.args(["--strip-components=1", "--no-same-owner", "--wildcards", "--wildcards-match-slash"]);
    output(tar.args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}"))))?;
    std::fs::remove_dir_all(to.join("usr")).map_err(|error| BuildError::File { what: "remove", path: archive, error })
}
