//! The desk of a relying party: what it approves, what it was shown, and what `cmcp-verify` says of it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tests::bin;
use tests::vm::Image;

/// Files of a relying party.
pub(crate) struct Desk(TempDir);

impl Desk {
    /// Of one that has built the image and read the documents in this folder: nothing is asked of the gateway.
    pub(crate) fn approving(image: &Image, documents: &Path) -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        let mut check = Command::new(bin::path("host"));
        check.args(["check", "--json", "--config"]).arg(documents.join("cmcp-config.yaml"));
        let checked = check.env_remove("CMCP_DEV_MODE").output().expect("host runs");
        desk.save("documents.json", &checked.stdout);
        let mut measurements = image.measurements();
        // What was built without pins nobody approves, but these tests, where the archive has other packages by now.
        measurements.as_object_mut().expect("an object").remove("unreleasable");
        desk.save("measurements.json", measurements.to_string().as_bytes());
        desk.approve(&[]);
        desk
    }

    /// Approves anew, with these words besides.
    pub(crate) fn approve(&self, more: &[&str]) {
        let words = ["reference", "--measurements", "measurements.json", "--documents", "documents.json"];
        let (code, approved) = self.run(&[&words, more].concat());
        assert_eq!(code, Some(0), "{approved}");
        self.save("approved.json", approved.as_bytes());
    }

    /// Keeps a file.
    pub(crate) fn save(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).expect("a file");
    }

    /// A file's JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.path().join(name)).expect("a file")).expect("JSON")
    }

    /// `cmcp-verify` beside the files: exit code, and all that it says.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(bin::path("cmcp-verify"));
        command.args(words).current_dir(self.0.path()).env_remove("CMCP_REFERENCE_VALUES");
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// What becomes of a claim with this evidence.
    pub(crate) fn judge(&self, claim: &Value, evidence: &Value) -> (Option<i32>, String) {
        self.save("claim.json", claim.to_string().as_bytes());
        self.save("evidence.json", evidence.to_string().as_bytes());
        self.run(&["claim.json", "--attachment", "evidence.json", "--reference", "approved.json"])
    }

    /// As far as it goes with a TPM that nobody vouches for: ours, and not verified.
    pub(crate) fn finds_ours(&self, claim: &Value, evidence: &Value) {
        let (code, text) = self.judge(claim, evidence);
        assert_eq!(code, Some(1), "{text}");
        for line in ["  genuine  NO", "  ours     yes", "RESULT: unverified (TPM_AK_NOT_VOUCHED)"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    /// Not ours, by this check.
    pub(crate) fn refuses(&self, claim: &Value, evidence: &Value, check: &str) {
        let (code, text) = self.judge(claim, evidence);
        assert_eq!(code, Some(1), "{check}: {text}");
        let failed = text.lines().any(|line| line.split_whitespace().take(2).eq([check, "FAIL"]));
        assert!(failed && text.contains("  ours     NO"), "{check}: {text}");
    }
}
