//! Stubs out of the packages that `image/pins.toml` names.

use std::process::Command;

use image::fetch::{Cache, fetch, fetch_unpinned};
use image::pins::Pins;
use tests::bin;
use tests::vm::Image;

/// Which.
#[derive(Clone, Copy)]
pub(crate) enum Stub {
    /// That of the images.
    Program252,
    /// A newer one, which looks at SMBIOS and addons.
    Program257,
    /// What addons are made of.
    Addon257,
}

/// Its bytes.
pub(crate) fn stub(which: Stub) -> Vec<u8> {
    let path = bin::root().join("image/pins.toml");
    let pins = Pins::read(&path).expect("image/pins.toml");
    let (packages, file) = match which {
        Stub::Program252 => (&pins.data, "linuxx64.efi.stub"),
        Stub::Program257 => (&pins.test, "linuxx64.efi.stub"),
        Stub::Addon257 => (&pins.test, "addonx64.efi.stub"),
    };
    let package = packages.iter().find(|package| package.name == "systemd-boot-efi").expect("a pin");
    let cache = Cache::of_user().expect("a cache");
    let get = if Image::of("metal").unpinned() { fetch_unpinned } else { fetch };
    let deb = get(package, &cache).expect("the package");
    let folder = tempfile::tempdir().expect("a folder");
    let done = Command::new("dpkg-deb").arg("-x").args([&deb.path, folder.path()]).status().expect("dpkg-deb");
    assert!(done.success());
    std::fs::read(folder.path().join("usr/lib/systemd/boot/efi").join(file)).expect("a stub")
}
