//! `host policy`

use clap::{Args, Subcommand};

use super::Outcome;

mod cases;
mod explain;
mod test;

const EXAMPLES: &str = "\
Examples:
  Run the cases of the quickstart's bundle:
    host policy test policies/quickstart/policies policies/quickstart/cases

  Which policies decide on a call of a session that holds personal data, and what each of them says:
    host policy explain policies/quickstart/policies --tool salesforce.contacts --label pii";

/// Try a policy bundle without a gateway: run cases against it, or explain one decision
///
/// The answers are the enclave's own: it is started in dev mode, asked and stopped.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::Test),
    Explain(Box<explain::Explain>),
}

impl Policy {
    pub(super) async fn execute(self) -> Outcome {
        match self.command {
            Command::Test(test) => test.execute().await,
            Command::Explain(explain) => explain.execute().await,
        }
    }
}

/// How a decision reads: `deny by demo.cedar:2`.
fn by(decision: &str, policies: &[String]) -> String {
    if policies.is_empty() { decision.to_owned() } else { format!("{decision} by {}", policies.join(", ")) }
}
