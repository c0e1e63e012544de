//! A published image, rebuilt and compared.

use std::path::Path;

use crate::build::{Order, build};
use crate::checkout::Checkout;
use crate::diff::{self, Difference};
use crate::error::{BuildError, read};
use crate::flavour::Flavour;
use crate::measurements::Measurements;
use crate::progress::Progress;

/// Rebuilds the image that `path` tells of from the pins of this checkout, and returns every difference: parts first, each after
/// those that it is made from.
///
/// # Errors
/// Measurements that are none, an image that nobody could rebuild, an input that is not the pinned one, a build that fails.
pub fn verify(checkout: &Checkout, path: &Path, progress: &Progress<'_>) -> Result<Vec<Difference>, BuildError> {
    let refused = |why: String| BuildError::Verify { path: path.to_owned(), why };
    let published = Measurements::parse(&read(path)?).map_err(|error| refused(error.to_string()))?;
    if published.unreleasable {
        return Err(refused("it was built from inputs that are not the pinned ones".to_owned()));
    }
    let flavour = Flavour::named(&published.flavour);
    let flavour = flavour.ok_or_else(|| refused(format!("flavour {:?} is unknown here", published.flavour)))?;
    let order = Order { flavours: vec![flavour], to: checkout.rebuilt(), pinned: true };
    let rebuilt = build(checkout, &order, progress)?;
    Ok(rebuilt.iter().flat_map(|rebuilt| diff::compare(&published, rebuilt)).collect())
}
