//! The same sources, built by somebody else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// An unprivileged user that is on every machine: `nobody`.
const OTHER_USER: &str = "65534";
/// The one thing that it may: read what belongs to others, here Rust and the caches.
const READS: &str = "+dac_read_search";

/// The tool, for a checkout.
pub(crate) fn tool(checkout: &Path) -> Command {
    let mut tool = Command::new(root().join("target/debug/image"));
    tool.current_dir(checkout);
    tool
}

/// This checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// The output of a run that ended well.
pub(crate) fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Names a folder that is left as it is at the end: what crates of others were compiled to there is good for the next run, by the same
/// other user.
const KEPT: &str = "CMCP_ELSEWHERE";

/// A copy of a checkout's files in another folder, with another home and another `CARGO_HOME`, of another user if this one may
/// become another.
pub(crate) struct Elsewhere {
    folder: PathBuf,
    other_user: bool,
    _temporary: Option<TempDir>,
}

impl Elsewhere {
    /// One to build in.
    pub(crate) fn workshop(root: &Path) -> Self {
        let Some(folder) = std::env::var_os(KEPT).map(PathBuf::from) else { return Self::copy_of(root) };
        for part in ["elsewhere", "home", "cache"] {
            run(Command::new("rm").args(["-r", "-f"]).arg(folder.join(part)));
        }
        let elsewhere = Self::of(root, folder, None);
        let (build, kept) = (elsewhere.images().join("build"), elsewhere.folder.join("build"));
        run(Command::new("mkdir").arg("--parents").arg(elsewhere.images()).arg(&kept));
        run(Command::new("ln").arg("--symbolic").args([kept, build]));
        elsewhere.hand_over();
        elsewhere
    }

    pub(crate) fn copy_of(root: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("someone-elses").tempdir_in("/var/tmp").expect("/var/tmp");
        Self::of(root, folder.path().to_owned(), Some(folder))
    }

    fn of(root: &Path, folder: PathBuf, temporary: Option<TempDir>) -> Self {
        let other_user = run(Command::new("id").arg("-u")).trim() == "0";
        let elsewhere = Self { folder, other_user, _temporary: temporary };
        let list =
            run(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root));
        for file in list.lines().filter(|file| root.join(file).is_file()) {
            let to = elsewhere.checkout().join(file);
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            std::fs::copy(root.join(file), to).expect("a copy");
        }
        // What was downloaded is copied, and the kernels, so that neither takes its time again.
        for part in ["cache", "index"] {
            let to = elsewhere.cargo_home().join("registry");
            std::fs::create_dir_all(&to).expect("a folder");
            run(Command::new("cp").arg("--recursive").arg(own_cargo_home().join("registry").join(part)).arg(to));
        }
        run(Command::new("cp").arg("--recursive").args([own_cache(), elsewhere.cache()]));
        std::fs::create_dir_all(elsewhere.home()).expect("a folder");
        elsewhere.hand_over();
        elsewhere
    }

    /// All of it is the other user's.
    fn hand_over(&self) {
        if self.other_user {
            let owner = format!("{OTHER_USER}:{OTHER_USER}");
            run(Command::new("chown").args(["--recursive", "--no-dereference", &owner]).arg(&self.folder));
        }
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.checkout().join("target/image")
    }

    /// What `verify` has built.
    pub(crate) fn rebuilt(&self) -> PathBuf {
        self.images().join("rebuilt")
    }

    /// Replaces a text that is in a file once.
    pub(crate) fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.checkout().join(file);
        let text = std::fs::read_to_string(&path).expect("a source");
        assert_eq!(text.matches(from).count(), 1, "{file} has {from:?} once");
        std::fs::write(path, text.replace(from, to)).expect("a source");
    }

    pub(crate) fn build(&self, unpinned: bool) -> Output {
        let mut image = self.image();
        image.args(["build", "--flavour", "metal"]).args(unpinned.then_some("--unpinned"));
        image.output().expect("image starts")
    }

    pub(crate) fn verify(&self, measurements: &Path) -> Output {
        self.image().arg("verify").arg(measurements).output().expect("image starts")
    }

    fn image(&self) -> Command {
        let own = tool(&self.checkout());
        let mut command = Command::new(own.get_program());
        if self.other_user {
            command = Command::new("setpriv");
            command.args(["--reuid", OTHER_USER, "--regid", OTHER_USER, "--clear-groups"]);
            command.args(["--inh-caps", READS, "--ambient-caps", READS]).arg(own.get_program());
        }
        command.current_dir(self.checkout());
        command.env("HOME", self.home()).env("CARGO_HOME", self.cargo_home()).env("RUSTUP_HOME", own_rustup_home());
        command.env("CMCP_IMAGE_CACHE", self.cache()).env("USER", "somebody-else").env("TZ", "Pacific/Auckland");
        // What a build must not let in.
        command
            .env("RUSTFLAGS", "-Ctarget-cpu=native")
            .env("CFLAGS", "-O0 -g")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command
    }

    fn checkout(&self) -> PathBuf {
        self.folder.join("elsewhere/checkout")
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn cargo_home(&self) -> PathBuf {
        self.folder.join("cargo")
    }
}

fn own_home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").expect("HOME"))
}

fn own(variable: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| own_home().join(otherwise), PathBuf::from)
}

fn own_cargo_home() -> PathBuf {
    own("CARGO_HOME", ".cargo")
}

fn own_rustup_home() -> PathBuf {
    own("RUSTUP_HOME", ".rustup")
}

fn own_cache() -> PathBuf {
    std::env::var_os("CMCP_IMAGE_CACHE")
        .map_or_else(|| own("XDG_CACHE_HOME", ".cache").join("cmcp-image"), PathBuf::from)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program of Debian");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
