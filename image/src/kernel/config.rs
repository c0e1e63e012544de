//! Is a kernel configured as it was asked to be, and as the policy says? Kconfig drops what it cannot have without a word.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkout::Checkout;
use crate::error::{BuildError, text};
use crate::flavour::Kernel;

/// What the policy calls both kernels.
const BOTH: &str = "both";

/// Compares the resolved configuration with the fragments and with the policy.
///
/// # Errors
/// Everything that is not as it must be, by the symbol's name.
pub(super) fn check(checkout: &Checkout, kernel: Kernel, config: &str) -> Result<(), BuildError> {
    let resolved = Config::read(config);
    let mut wrong = Vec::new();
    for fragment in checkout.fragments(kernel) {
        let asked = text(&fragment)?;
        wrong.extend(
            resolved.without(&Config::read(&asked)).into_iter().map(|line| format!("  {}: {line}", name(&fragment))),
        );
    }
    let policy = checkout.policy();
    let said = text(&policy)?;
    let rules = rules(&said, kernel).map_err(|why| BuildError::input(&policy, &why))?;
    wrong.extend(rules.iter().filter_map(|rule| rule.broken(&resolved)).map(|line| format!("  policy: {line}")));
    if wrong.is_empty() { Ok(()) } else { Err(BuildError::Kernel { kernel: kernel.name(), list: wrong.join("\n") }) }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Symbols, without `CONFIG_`, and their values.
struct Config<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Config<'a> {
    fn read(config: &'a str) -> Self {
        let lines = config.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
        Self(lines.collect())
    }

    /// `n` is how a symbol is spelt that is not there.
    fn value(&self, symbol: &str) -> &'a str {
        self.0.get(symbol).copied().unwrap_or("n")
    }

    /// What was asked for and did not come to be.
    fn without(&self, asked: &Config<'_>) -> Vec<String> {
        let differs = |(symbol, value): &(&&str, &&str)| self.value(symbol) != **value;
        let say = |(symbol, value): (&&str, &&str)| {
            let found = self.value(symbol);
            format!(
                "{symbol}={value} is asked for, the configuration has {found}; it does not exist, or needs a symbol that is not set"
            )
        };
        asked.0.iter().filter(differs).map(say).collect()
    }
}

/// A line of the policy.
#[derive(Debug, PartialEq, Eq)]
struct Rule<'a> {
    symbol: &'a str,
    value: &'a str,
    reason: &'a str,
}

impl Rule<'_> {
    fn broken(&self, config: &Config<'_>) -> Option<String> {
        let Self { symbol, value, reason } = self;
        let found = config.value(symbol);
        (found != *value).then(|| format!("{symbol} must be {value}, the configuration has {found}: {reason}"))
    }
}

/// The rules for a kernel: lines of kernel, symbol, value, reason.
fn rules(policy: &str, kernel: Kernel) -> Result<Vec<Rule<'_>>, String> {
    let lines = policy.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'));
    let rules = lines.map(|(line, number)| {
        let malformed = || format!("line {number}: expected both|metal|azure SYMBOL VALUE REASON, found {line:?}");
        let mut words = line.split_whitespace();
        let (Some(whose), Some(symbol), Some(value)) = (words.next(), words.next(), words.next()) else {
            return Err(malformed());
        };
        let reason = line.split_once(value).map(|(_, reason)| reason.trim()).filter(|reason| !reason.is_empty());
        let known = [BOTH, Kernel::Metal.name(), Kernel::Azure.name()].contains(&whose);
        let rule = Rule { symbol, value, reason: reason.filter(|_| known).ok_or_else(malformed)? };
        Ok((whose == BOTH || whose == kernel.name()).then_some(rule))
    });
    rules.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_did_not_come_is_named() {
        let resolved = Config::read("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n");
        let asked = Config::read("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"x\"\nCONFIG_D=250\n");
        let wrong = resolved.without(&asked);
        assert_eq!(wrong.len(), 2);
        assert!(
            wrong[0].starts_with("B=y is asked for, the configuration has n") && wrong[1].starts_with("D=250 "),
            "{wrong:?}"
        );
    }

    #[test]
    fn the_policy_of_a_kernel_is_its_own_and_that_of_both() {
        let policy = "# why\n\nboth  MODULES n  no code\nmetal INET n no IP\nazure INET y IP\n";
        let symbols = |kernel| {
            rules(policy, kernel)
                .unwrap()
                .iter()
                .map(|rule| format!("{}={}", rule.symbol, rule.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(symbols(Kernel::Metal), ["MODULES=n", "INET=n"]);
        assert_eq!(symbols(Kernel::Azure), ["MODULES=n", "INET=y"]);
        let broken = rules(policy, Kernel::Metal).unwrap()[0].broken(&Config::read("CONFIG_MODULES=y\n"));
        assert_eq!(broken.unwrap(), "MODULES must be n, the configuration has y: no code");
        assert!(rules("both MODULES n\n", Kernel::Metal).unwrap_err().starts_with("line 1: "));
        assert!(rules("other MODULES n why\n", Kernel::Metal).is_err());
    }

    #[test]
    fn every_rule_of_the_projects_own_policy_is_read() {
        let policy = include_str!("../../kernel/policy");
        for kernel in [Kernel::Metal, Kernel::Azure] {
            assert!(rules(policy, kernel).unwrap().len() > 40);
        }
    }
}
