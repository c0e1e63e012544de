//! `upstream`: how tool servers without a pin show that they are the right ones.

use serde::Deserialize;
use wire::BootRefusal;

use super::{check_text, invalid};

/// Names of one list.
const MAX_NAMES: usize = 1000;

/// How tool servers without a pin show that they are the right ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Certificates of the CAs that vouch for `https` tool servers without a pin, in PEM. The system's are not used.
    pub ca_roots: Option<String>,
    /// `display_name`s of tool servers that mode `enforcing` starts with outside dev mode although the catalog does not pin them, at most 1000.
    #[cfg_attr(test, schemars(length(max = 1000)))]
    pub allow_unpinned: Vec<String>,
}

impl Upstream {
    pub(super) fn check(&self) -> Result<(), BootRefusal> {
        if self.allow_unpinned.len() > MAX_NAMES {
            let found = self.allow_unpinned.len().to_string();
            return Err(invalid("upstream.allow_unpinned", &found, &format!("at most {MAX_NAMES}")));
        }
        let mut names = self.allow_unpinned.iter().enumerate();
        names.try_for_each(|(place, name)| check_text(&format!("upstream.allow_unpinned[{place}]"), name))
    }
}
