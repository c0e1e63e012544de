//! The quickstart, compiled in: what `host --dev-enclave` runs without `--config`.

use std::env;
use std::path::PathBuf;

/// `cmcp-config.yaml`.
pub const CONFIG: &str = include_str!("../../policies/quickstart/cmcp-config.yaml");
/// `catalog.json`.
pub const CATALOG: &str = include_str!("../../policies/quickstart/catalog.json");
/// The policy bundle: path in the bundle and text.
pub const POLICY: [(&str, &str); 3] = [
    ("manifest.json", include_str!("../../policies/quickstart/policies/manifest.json")),
    ("demo.cedar", include_str!("../../policies/quickstart/policies/demo.cedar")),
    ("schema.cedarschema", include_str!("../../policies/quickstart/policies/schema.cedarschema")),
];
/// Where the catalog expects its tool server.
pub const DEMO_SERVER: &str = "127.0.0.1:9001";

/// Folder of the quickstart's record store: `$XDG_STATE_HOME/cmcp/quickstart-store`, or below `~/.local/state`, or, for a
/// user without a home, in the folder for temporary files.
pub fn store() -> PathBuf {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join("cmcp/quickstart-store")
}
