//! Pins to images: every part in its order, nothing written that was not made from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use claim::Digest;

use crate::checkout::{Checkout, image};
use crate::error::{BuildError, read, scratch, short, write};
use crate::fetch::{Cache, Fetched, fetch, fetch_unpinned};
use crate::flavour::{Flavour, Kernel};
use crate::initramfs::Initramfs;
use crate::kernel::{self, Builder};
use crate::measurements::{self, Input, Measurements};
use crate::pins::{Pins, Recorded, record};
use crate::progress::Progress;
use crate::run::{output, program};
use crate::tools::{self, PATH, Rust};
use crate::{binary, disk, uki};

/// Name of the measurements of an image that nobody else can rebuild.
pub const UNRELEASABLE: &str = "measurements.unreleasable.json";
/// The package with the EFI stub, and where in it that is.
const STUB: (&str, &str) = ("systemd-boot-efi", "usr/lib/systemd/boot/efi/linuxx64.efi.stub");

/// What to build.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which flavours.
    pub flavours: Vec<Flavour>,
    /// The folder of images.
    pub to: PathBuf,
    /// From the pins alone, or from what there is.
    pub pinned: bool,
}

/// Builds images, each into a folder of its flavour's name, and returns their measurements.
///
/// # Errors
/// An input that is not the pinned one, a build that fails, a part that must not be in an image.
pub fn build(checkout: &Checkout, order: &Order, progress: &Progress<'_>) -> Result<Vec<Measurements>, BuildError> {
    let mut works = Works::open(checkout, order.pinned, progress)?;
    order.flavours.iter().map(|flavour| works.image(*flavour, &order.to)).collect()
}

/// Writes into image/pins.toml what each kernel is; builds those twice that it has not. Returns them.
///
/// # Errors
/// As [`build`], and a kernel that two builds made differently.
pub fn record_kernels(checkout: &Checkout, progress: &Progress<'_>) -> Result<Vec<Recorded>, BuildError> {
    let mut works = Works::open(checkout, true, progress)?;
    let mut recorded = Vec::new();
    for kernel in [Kernel::Metal, Kernel::Azure] {
        let kernel = works.builder.record(kernel, progress)?;
        record(&checkout.pins(), &kernel)?;
        recorded.push(kernel);
    }
    Ok(recorded)
}

/// Inputs, fetched and checked.
struct Inputs {
    rust: Rust,
    tools: Vec<Input>,
    source: Fetched,
    stub: Fetched,
    kernels: Vec<Recorded>,
}

impl Inputs {
    fn gather(checkout: &Checkout, cache: &Cache, pinned: bool, progress: &Progress<'_>) -> Result<Self, BuildError> {
        let path = checkout.pins();
        let pins = Pins::read(&path)?;
        let rust = progress.step("rust", || Rust::of(checkout).map(|rust| (rust.clone(), rust.input.version)))?;
        let tools = progress.step("tools", || {
            let about = if pinned { "as pinned" } else { "as installed, NOT PINNED" };
            tools::check(&pins.tools, pinned).map(|tools| (tools, format!("{} packages {about}", pins.tools.len())))
        })?;
        let package = |name: &str| {
            let package = pins.package(&path, name)?;
            progress.step(name, || {
                let fetched = if pinned { fetch(package, cache) } else { fetch_unpinned(package, cache) }?;
                let about = format!("{} from the {}", fetched.version, fetched.from);
                Ok((fetched, about))
            })
        };
        let (source, stub) = (package(kernel::SOURCE)?, package(STUB.0)?);
        Ok(Self { rust, tools, source, stub, kernels: pins.kernels })
    }

    /// In a fixed order, for `measurements.json`.
    fn list(&self, checkout: &Checkout, kernel: &Input) -> Result<Vec<Input>, BuildError> {
        let data = |name: &str, fetched: &Fetched| Input {
            name: name.to_owned(),
            version: fetched.version.clone(),
            sha256: Some(fetched.sha256),
        };
        let lock = Input {
            name: "Cargo.lock".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: Some(Digest::of(read(&checkout.root().join("Cargo.lock"))?)),
        };
        let first = [
            data(kernel::SOURCE, &self.source),
            data(STUB.0, &self.stub),
            kernel.clone(),
            self.rust.input.clone(),
            lock,
        ];
        Ok(first.into_iter().chain(self.tools.iter().cloned()).collect())
    }
}

/// What images are put together from, made once.
struct Works<'a, 'p> {
    checkout: &'a Checkout,
    progress: &'a Progress<'p>,
    builder: Builder<'a>,
    inputs: Inputs,
    stub: Vec<u8>,
    kernels: BTreeMap<Kernel, kernel::Built>,
    initramfses: BTreeMap<&'static str, Initramfs>,
    pinned: bool,
}

impl<'a, 'p> Works<'a, 'p> {
    fn open(checkout: &'a Checkout, pinned: bool, progress: &'a Progress<'p>) -> Result<Self, BuildError> {
        let cache = Cache::of_user()?;
        let inputs = Inputs::gather(checkout, &cache, pinned, progress)?;
        let stub = stub(checkout, &inputs.stub)?;
        let (source, tools) = (inputs.source.clone(), inputs.tools.clone());
        let builder = Builder::new(checkout, cache, source, tools, inputs.kernels.clone(), pinned);
        Ok(Self {
            checkout,
            progress,
            builder,
            inputs,
            stub,
            kernels: BTreeMap::new(),
            initramfses: BTreeMap::new(),
            pinned,
        })
    }

    fn image(&mut self, flavour: Flavour, to: &Path) -> Result<Measurements, BuildError> {
        let kernel = self.kernel(flavour.kernel())?;
        let initramfs = self.initramfs(flavour)?;
        let inputs = self.inputs.list(self.checkout, &kernel.input)?;
        let folder = image(to, flavour);
        self.progress.step(&format!("image {}", flavour.name()), || {
            let mut measurements = put_together(flavour, &self.stub, &kernel.vmlinuz, &initramfs, inputs, &folder)?;
            measurements.unreleasable = !self.pinned;
            publish(&measurements, &folder)?;
            let size = measurements.sizes.get("enclave.efi").copied().unwrap_or_default();
            let about = format!("{}, EFI program of {} KiB", folder.display(), size / 1024);
            Ok((measurements, about))
        })
    }

    fn kernel(&mut self, kernel: Kernel) -> Result<kernel::Built, BuildError> {
        if let Some(built) = self.kernels.get(&kernel) {
            return Ok(built.clone());
        }
        let built = self.builder.build(kernel, self.progress)?;
        self.kernels.insert(kernel, built.clone());
        Ok(built)
    }

    /// Flavours whose enclave is the same share it, packed once.
    fn initramfs(&mut self, flavour: Flavour) -> Result<Initramfs, BuildError> {
        let features = flavour.features();
        if let Some(initramfs) = self.initramfses.get(features) {
            return Ok(initramfs.clone());
        }
        let log = binary::log(self.checkout, flavour);
        let step = format!("enclave {features}");
        self.progress.say(&format!("{step}: cargo, the first time some minutes, log {}", log.display()));
        let enclave = self.progress.step(&step, || {
            let enclave = binary::build(self.checkout, &self.inputs.rust, flavour)?;
            let about = format!("{} KiB, sha256 {}", enclave.len() / 1024, short(&Digest::of(&enclave)));
            Ok((enclave, about))
        })?;
        let initramfs = self.progress.step(&format!("initramfs {features}"), || {
            let initramfs = Initramfs::of(enclave)?;
            let about = format!("{} KiB, packed {} KiB", initramfs.archive.len() / 1024, initramfs.packed.len() / 1024);
            Ok((initramfs, about))
        })?;
        self.initramfses.insert(features, initramfs.clone());
        Ok(initramfs)
    }
}

/// The EFI stub in its package.
fn stub(checkout: &Checkout, package: &Fetched) -> Result<Vec<u8>, BuildError> {
    let unpacked = scratch(&checkout.images())?;
    output(program("dpkg-deb", PATH).arg("--extract").arg(&package.path).arg(unpacked.path()))?;
    read(&unpacked.path().join(STUB.1))
}

/// Makes the parts that are made from others, and writes all of them.
///
/// # Errors
/// A stub or a kernel that is none, a file that cannot be written.
pub fn put_together(
    flavour: Flavour,
    stub: &[u8],
    vmlinuz: &[u8],
    initramfs: &Initramfs,
    inputs: Vec<Input>,
    folder: &Path,
) -> Result<Measurements, BuildError> {
    let Initramfs { enclave, archive, packed } = initramfs;
    let cmdline = flavour.cmdline();
    let efi = uki::assemble(stub, &uki::Parts { cmdline, initrd: packed, linux: vmlinuz })?;
    let raw = disk::raw(&efi, flavour.payload());
    let raw = raw.map_err(|error| BuildError::File { what: "make", path: folder.join("disk.raw"), error })?;
    let vhd = disk::vhd(raw.clone());
    let built = measurements::Built {
        enclave,
        vmlinuz,
        initramfs: archive,
        initrd: packed,
        cmdline,
        efi: &efi,
        disk: &raw,
        vhd: &vhd,
    };
    let measurements = Measurements::of(flavour.name(), &built, inputs, env!("CARGO_PKG_VERSION"))?;
    for (name, bytes) in built.parts() {
        write(&folder.join(name), bytes)?;
    }
    Ok(measurements)
}

/// Writes the measurements under the name that says what they are good for, and leaves none under the other.
fn publish(measurements: &Measurements, folder: &Path) -> Result<(), BuildError> {
    let names = (measurements::FILE, UNRELEASABLE);
    let (name, other) = if measurements.unreleasable { (names.1, names.0) } else { names };
    let stale = folder.join(other);
    match std::fs::remove_file(&stale) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BuildError::File { what: "remove", path: stale, error })
        }
        _ => write(&folder.join(name), measurements.text()),
    }
}
