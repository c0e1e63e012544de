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
use crate::pins::Recorded;
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
    recorded: Vec<Recorded>,
    pinned: bool,
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
    /// From a source, with tools as they are installed and the kernels that image/pins.toml has. Nothing is unpacked before a kernel
    /// needs it.
    pub fn new(
        checkout: &'a Checkout,
        cache: Cache,
        source: Fetched,
        tools: Vec<Input>,
        recorded: Vec<Recorded>,
        pinned: bool,
    ) -> Self {
        let source = Source { package: source, unpacked: None };
        Self { checkout, cache, tools, source, recorded, pinned }
    }

    /// The kernel, from the cache if it is there: the recorded one, if the same inputs made one before; else, if inputs are pinned, one
    /// that two builds in different folders agree on.
    ///
    /// # Errors
    /// A configuration that is not what was asked for or what the policy says, a build that fails, a kernel that is another one.
    pub fn build(&mut self, kernel: Kernel, progress: &Progress<'_>) -> Result<Built, BuildError> {
        let key = self.key(kernel)?;
        let cached = self.cache.kernel(&key);
        let recorded = self.recorded(kernel, &key).map(|recorded| recorded.sha256);
        progress.step(&format!("kernel {}", kernel.name()), || {
            let there = cached.join("vmlinuz").exists();
            if !there {
                self.make(kernel, &cached, recorded.is_none() && self.pinned, progress)?;
            }
            let config = text(&cached.join("config"))?;
            config::check(self.checkout, kernel, &config)?;
            let vmlinuz = read(&cached.join("vmlinuz"))?;
            if let Some(expected) = recorded {
                same(kernel, &vmlinuz, ("the one in image/pins.toml", expected), &cached)?;
            }
            let from = if there { "from the cache" } else { "built" };
            let as_recorded = if recorded.is_some() { ", as recorded" } else { "" };
            let about = format!("{from}{as_recorded}, {} KiB, key {}", vmlinuz.len() / 1024, short(&key));
            let input = Input {
                name: format!("kernel configuration {}", kernel.name()),
                version: self.source.package.version.clone(),
                sha256: Some(Digest::of(config)),
            };
            Ok((Built { vmlinuz, input }, about))
        })
    }

    /// What image/pins.toml is to have of a kernel, or has: of one that it has not, two builds agree.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn record(&mut self, kernel: Kernel, progress: &Progress<'_>) -> Result<Recorded, BuildError> {
        let inputs = self.key(kernel)?;
        if let Some(recorded) = self.recorded(kernel, &inputs) {
            return Ok(recorded.clone());
        }
        let cached = self.cache.kernel(&inputs);
        progress.step(&format!("kernel {}", kernel.name()), || {
            self.make(kernel, &cached, true, progress)?;
            let sha256 = Digest::of(read(&cached.join("vmlinuz"))?);
            Ok((Recorded { name: kernel.name().to_owned(), inputs, sha256 }, "built twice".to_owned()))
        })
    }

    fn key(&self, kernel: Kernel) -> Result<Digest, BuildError> {
        key(self.checkout, kernel, &self.source.package.sha256, &self.tools)
    }

    fn recorded(&self, kernel: Kernel, inputs: &Digest) -> Option<&Recorded> {
        self.recorded.iter().find(|recorded| recorded.name == kernel.name() && recorded.inputs == *inputs)
    }

    fn make(&mut self, kernel: Kernel, cached: &Path, twice: bool, progress: &Progress<'_>) -> Result<(), BuildError> {
        let log = self.checkout.log(&format!("kernel-{}", kernel.name()));
        let times = if twice { "and not in image/pins.toml, so built twice; some 20" } else { "some 10" };
        progress.say(&format!(
            "kernel {}: not in the cache, {times} minutes of a processor, log {}",
            kernel.name(),
            log.display()
        ));
        let (config, vmlinuz) = self.compile(kernel, &self.checkout.images(), &log, progress)?;
        if twice {
            let (_, again) = self.compile(kernel, &std::env::temp_dir(), &log, progress)?;
            same(kernel, &again, ("one built in another folder", Digest::of(&vmlinuz)), cached)?;
        }
        folder(cached)?;
        write(&cached.join("config"), config)?;
        write(&cached.join("vmlinuz"), vmlinuz)
    }

    /// Its configuration and bytes, built in a new folder within this one.
    fn compile(
        &mut self,
        kernel: Kernel,
        within: &Path,
        log: &Path,
        progress: &Progress<'_>,
    ) -> Result<(String, Vec<u8>), BuildError> {
        let objects = scratch(within)?;
        let fragments = self.checkout.fragments(kernel);
        let asked = fragments.iter().map(|path| text(path)).collect::<Result<String, _>>()?;
        let all = objects.path().join("asked.config");
        write(&all, &asked)?;
        let tree = self.source.unpacked(self.checkout, progress)?;
        let make = || make(&tree, objects.path());
        logged(make().arg("allnoconfig").env("KCONFIG_ALLCONFIG", &all), log)?;
        let config = text(&objects.path().join(".config"))?;
        config::check(self.checkout, kernel, &config)?;
        logged(make().arg(format!("-j{}", processors())).arg("bzImage"), log)?;
        Ok((config, read(&objects.path().join("arch/x86/boot/bzImage"))?))
    }
}

/// Whether a kernel is what another one of the same inputs is.
fn same(
    kernel: Kernel,
    vmlinuz: &[u8],
    (other, expected): (&'static str, Digest),
    cached: &Path,
) -> Result<(), BuildError> {
    let found = Digest::of(vmlinuz);
    let differs =
        || BuildError::KernelDiffers { kernel: kernel.name(), found, other, expected, cached: cached.to_owned() };
    if found == expected { Ok(()) } else { Err(differs()) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Pins;

    /// Else every build makes each kernel twice.
    #[test]
    fn kernels_of_the_pins_are_recorded() {
        let checkout = Checkout::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let pins = Pins::read(&checkout.pins()).unwrap();
        let source = pins.package(&checkout.pins(), SOURCE).unwrap().sha256;
        let input =
            |tool: &crate::pins::Tool| Input { name: tool.name.clone(), version: tool.version.clone(), sha256: None };
        let tools: Vec<_> = pins.tools.iter().map(input).collect();
        for kernel in [Kernel::Metal, Kernel::Azure] {
            let inputs = key(&checkout, kernel, &source, &tools).unwrap();
            let recorded = pins.kernels.iter().find(|recorded| recorded.name == kernel.name());
            assert_eq!(recorded.map(|recorded| recorded.inputs), Some(inputs), "run image/build pins kernels");
        }
    }
}
