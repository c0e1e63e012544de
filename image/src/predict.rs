//! What evidence will say of an image, computed from its EFI program before it boots.

use std::collections::BTreeMap;

use claim::Digest;
use serde::Serialize;

use crate::measurements::{Image, pretty};
use crate::pcr::{self, BootPath};
use crate::pe::PeError;
use crate::{authenticode, uki};

/// Images for reference values, and which is which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// One for each way to boot.
    pub images: Vec<Image>,
    /// Index into `images` of each way.
    pub boot_paths: BTreeMap<String, usize>,
}

impl Prediction {
    /// Adds one.
    pub fn add(&mut self, path: &str, image: Image) {
        self.boot_paths.insert(path.to_owned(), self.images.len());
        self.images.push(image);
    }

    /// As JSON.
    pub fn text(&self) -> String {
        pretty(self)
    }
}

/// PCRs 4, 9 and 11 for each [`BootPath`].
///
/// # Errors
/// No program, a part missing, a section that nothing here predicts.
pub fn pcrs(program: &[u8]) -> Result<Prediction, PeError> {
    let read = uki::read(program)?;
    let boot_applications = [authenticode::hash(program)?, authenticode::hash(read.parts.linux)?];
    let inputs = pcr::kernel_inputs(read.parts.cmdline, read.parts.initrd);
    let sections = pcr::sections(&read)?;
    let mut prediction = Prediction::default();
    for path in BootPath::ALL {
        let applications = pcr::boot_applications(path, boot_applications);
        let pcrs = [("4", applications), ("9", inputs), ("11", sections)];
        let pcrs: BTreeMap<String, Digest> = pcrs.map(|(number, value)| (number.to_owned(), value)).into();
        prediction.add(path.name(), Image::Pcrs { pcrs, boot_applications: boot_applications.to_vec() });
    }
    Ok(prediction)
}
