//! Tools: installed packages in the pinned versions, and the pinned Rust.

use std::path::{Path, PathBuf};

use crate::checkout::Checkout;
use crate::error::{BuildError, text};
use crate::measurements::Input;
use crate::pins::Tool;
use crate::run::{answer, output, program};

/// Where Debian's programs are, and nothing that somebody put in front of them.
pub(crate) const PATH: &str = "/usr/bin:/bin";

/// The packages as they are installed.
///
/// # Errors
/// One is missing, or of another version and `pinned`.
pub fn check(tools: &[Tool], pinned: bool) -> Result<Vec<Input>, BuildError> {
    let installed = installed(tools)?;
    let wrong: Vec<_> = tools
        .iter()
        .zip(&installed)
        .filter(|(tool, version)| version.as_ref().is_none_or(|version| pinned && *version != tool.version))
        .collect();
    if wrong.is_empty() {
        let inputs = tools.iter().zip(installed).map(|(tool, version)| Input {
            name: tool.name.clone(),
            version: version.unwrap_or_default(),
            sha256: None,
        });
        return Ok(inputs.collect());
    }
    let line = |(tool, version): &(&Tool, &Option<String>)| {
        let found = version.as_deref().unwrap_or("not installed");
        format!("  {}: found {found}, expected {}", tool.name, tool.version)
    };
    let list: Vec<_> = wrong.iter().map(line).collect();
    let exact =
        |tool: &Tool| if pinned { format!(" {}={}", tool.name, tool.version) } else { format!(" {}", tool.name) };
    let install = wrong.iter().map(|(tool, _)| exact(tool)).collect::<String>();
    let install = format!("apt-get install -y --no-install-recommends --allow-downgrades{install}");
    Err(BuildError::Tools { list: list.join("\n"), install })
}

/// Their versions, of those that are installed.
fn installed(tools: &[Tool]) -> Result<Vec<Option<String>>, BuildError> {
    let mut query = program("dpkg-query", PATH);
    query.args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]);
    let said = answer(query.args(tools.iter().map(|tool| &tool.name)))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = |tool: &Tool| {
        let is_it = |line: &&str| line.starts_with(&format!("installed {} ", tool.name));
        said.lines().find(is_it).and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    Ok(tools.iter().map(version).collect())
}

/// Rust, as rust-toolchain.toml names it.
#[derive(Clone, Debug)]
pub struct Rust {
    /// Folder of `cargo`, in front of [`PATH`].
    pub path: String,
    /// Where the compiler's own library is, if its source is installed.
    pub library: PathBuf,
    /// Commit of the compiler.
    pub commit: String,
    /// Version and commit.
    pub input: Input,
}

impl Rust {
    /// What `cargo` and `rustc` are in the checkout.
    ///
    /// # Errors
    /// They are not there, or not the ones of rust-toolchain.toml.
    pub fn of(checkout: &Checkout) -> Result<Self, BuildError> {
        let path = format!("{}:{PATH}", folder_of_cargo().display());
        let rustc = |args: &[&str]| output(program("rustc", &path).args(args).current_dir(checkout.root()));
        let version = rustc(&["--version", "--verbose"])?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_default().to_owned()
        };
        let (release, commit) = (field("release"), field("commit-hash"));
        let expected = channel(&checkout.root().join("rust-toolchain.toml"))?;
        if release != expected {
            return Err(BuildError::Toolchain { found: release, expected });
        }
        let library = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
        let input = Input { name: "rustc".to_owned(), version: format!("{release} ({commit})"), sha256: None };
        Ok(Self { path, library, commit, input })
    }
}

/// The first folder of `PATH` that has `cargo`: rustup's, which reads rust-toolchain.toml.
fn folder_of_cargo() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|folder| folder.join("cargo").is_file());
    found.unwrap_or_else(|| PathBuf::from("/usr/local/bin"))
}

fn channel(path: &Path) -> Result<String, BuildError> {
    let text = text(path)?;
    let document = text.parse::<toml_edit::DocumentMut>().map_err(|error| BuildError::input(path, &error))?;
    let channel = document.get("toolchain").and_then(|item| item.get("channel")).and_then(|item| item.as_str());
    channel.map(str::to_owned).ok_or_else(|| BuildError::input(path, &"no toolchain.channel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, version: &str) -> Tool {
        Tool { name: name.to_owned(), version: version.to_owned() }
    }

    #[test]
    fn a_tool_of_another_version_is_refused_and_the_command_to_install_it_said() {
        let other = [tool("dpkg", "0"), tool("no-such-package", "1")];
        let error = check(&other, true).unwrap_err().to_string();
        assert!(error.contains("dpkg: found ") && error.contains("no-such-package: found not installed"), "{error}");
        assert!(error.contains("--allow-downgrades dpkg=0 no-such-package=1\n"), "{error}");
        assert!(check(&other, false).unwrap_err().to_string().contains("--allow-downgrades no-such-package\n"));
        assert!(check(&[tool("dpkg", "0")], false).is_ok());
    }
}
