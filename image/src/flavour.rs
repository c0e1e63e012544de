//! What an image is for. One enclave and one wire; the command line, which is measured, says the rest.

use clap::ValueEnum;

use crate::disk;

/// Which kernel: they differ by a fragment of their configuration (image/kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// vsock alone.
    Metal,
    /// IP, the devices of Hyper-V, disks, a jail.
    Azure,
}

impl Kernel {
    /// As in image/kernel and in the cache.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metal => "metal",
            Self::Azure => "azure",
        }
    }
}

/// What all command lines begin with.
macro_rules! kernel {
    () => {
        "console=ttyS0 quiet panic=-1 random.trust_bootloader=off GLIBC_TUNABLES=glibc.malloc.tcache_count=128"
    };
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Flavour {
    /// Own hosts: the host is outside the VM, at the end of a vsock
    Metal,
    /// Azure: the host is another VM in the same private network
    Azure,
    /// Azure: the host is a jailed process in the same VM
    AzureSingle,
}

impl Flavour {
    /// All of them, in the order in which they are built.
    pub const ALL: [Self; 3] = [Self::Metal, Self::Azure, Self::AzureSingle];

    /// Its folder's name, and `flavour` in `measurements.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metal => "metal",
            Self::Azure => "azure",
            Self::AzureSingle => "azure-single",
        }
    }

    /// The flavour of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flavour| flavour.name() == name)
    }

    /// The kernel in it.
    pub const fn kernel(self) -> Kernel {
        match self {
            Self::Metal => Kernel::Metal,
            Self::Azure | Self::AzureSingle => Kernel::Azure,
        }
    }

    /// Features of the enclave in it: evidence providers, the jail, and no dev mode.
    pub const fn features(self) -> &'static str {
        match self {
            Self::Metal => "tpm,tsm",
            Self::Azure | Self::AzureSingle => "tpm,sandbox",
        }
    }

    /// The kernel's command line, the same for every deployment; behind ` -- ` that of the enclave. A seed that the host's firmware
    /// gives is mixed into the random numbers and counts as nothing. What the kernel does not know becomes the enclave's environment:
    /// its allocator is set as in an enclave that is the host's child (`ENCLAVE_ENVIRONMENT` there).
    pub const fn cmdline(self) -> &'static str {
        match self {
            Self::Metal => concat!(kernel!(), " -- --listen vsock:5000 --isolation vm"),
            Self::Azure => concat!(kernel!(), " ip=dhcp -- --listen tcp:5000 --isolation vm --imds"),
            Self::AzureSingle => concat!(kernel!(), " ip=dhcp -- --listen vsock:5000 --isolation process --payload"),
        }
    }

    /// Bytes of the partition for the host, if its disk has one.
    pub const fn payload(self) -> Option<u64> {
        match self {
            Self::Metal | Self::Azure => None,
            Self::AzureSingle => Some(disk::PAYLOAD_SIZE),
        }
    }
}
