//! Ceilings on sensitivity: of what a tool may be told, and of what an agent may be answered.

use wire::BootRefusal;

use super::{Sink, Stop, label, tool};
use crate::catalog::Catalog;
use crate::config::SinkPolicy;
use crate::error::Code;
use crate::labels::{Label, Labels};

/// What a session may hold for each sink.
pub(super) struct Ceilings {
    /// By tool, in the order of the catalog.
    tools: Vec<Labels>,
    /// By server: what all of its tools may be told.
    servers: Vec<Labels>,
    answers: Labels,
}

impl Ceilings {
    pub(super) fn new(policy: &SinkPolicy, catalog: &Catalog) -> Result<Option<Self>, BootRefusal> {
        if policy.tools.is_empty() && policy.response_max_sensitivity.is_none() {
            return Ok(None);
        }
        let everything: Labels = Label::ALL.into_iter().collect();
        let mut tools = vec![everything; catalog.tools().len()];
        for (name, ceiling) in &policy.tools {
            let field = format!("sink_policy.tools.{name}");
            if let Some(place) = tools.get_mut(tool(catalog, &field, name)?) {
                *place = up_to(label(&field, ceiling)?);
            }
        }
        let behind = |server| catalog.behind(server).filter_map(|tool| tools.get(tool.index));
        let servers = (0..catalog.servers().len())
            .map(|server| behind(server).fold(everything, |all, ceiling| intersection(all, *ceiling)))
            .collect();
        let answers = match &policy.response_max_sensitivity {
            Some(name) => up_to(label("sink_policy.response_max_sensitivity", name)?),
            None => everything,
        };
        Ok(Some(Self { tools, servers, answers }))
    }

    pub(super) fn may_reach(&self, sink: Sink, labels: Labels) -> Result<(), Stop> {
        let ceiling = match sink {
            Sink::Tool(index) => self.tools.get(index),
            Sink::Server(index) => self.servers.get(index),
            Sink::Nothing => return Ok(()),
        };
        within(labels, ceiling.copied().unwrap_or_default())
            .map_err(|label| stop(Code::SinkCeiling, "sink_policy.tools", "session holds", label))
    }

    pub(super) fn may_answer(&self, labels: Labels) -> Result<(), Stop> {
        within(labels, self.answers).map_err(|label| {
            stop(Code::ResponseCeiling, "sink_policy.response_max_sensitivity", "result is withheld: it is", label)
        })
    }
}

/// What a ceiling admits: itself and everything of a lower rank. Another label of its own rank is another kind of secret.
fn up_to(ceiling: Label) -> Labels {
    Label::ALL.into_iter().filter(|label| *label == ceiling || label.rank() < ceiling.rank()).collect()
}

fn intersection(one: Labels, other: Labels) -> Labels {
    one.iter().filter(|label| other.contains(*label)).collect()
}

/// The first label that the ceiling does not admit.
fn within(labels: Labels, ceiling: Labels) -> Result<(), Label> {
    if labels.join(ceiling) == ceiling {
        return Ok(());
    }
    Err(labels.iter().find(|label| !ceiling.contains(*label)).unwrap_or(Label::Public))
}

fn stop(code: Code, rule: &str, what: &str, label: Label) -> Stop {
    Stop::new(code, rule, &format!("{what} {label}"))
}

#[cfg(test)]
mod tests {
    use super::{up_to, within};
    use crate::labels::{Label, Labels};

    #[test]
    fn a_ceiling_admits_lower_ranks_and_itself() {
        let admits = |ceiling, held: &[Label]| within(held.iter().copied().collect(), up_to(ceiling));
        assert_eq!(admits(Label::Public, &[]), Ok(()));
        assert_eq!(admits(Label::Public, &[Label::Pii]), Err(Label::Pii));
        assert_eq!(admits(Label::Confidential, &[Label::Pii, Label::Confidential]), Ok(()));
        assert_eq!(admits(Label::Confidential, &[Label::Pii, Label::Mnpi]), Err(Label::Mnpi));
        assert_eq!(admits(Label::Mnpi, &[Label::Pii, Label::Confidential, Label::Mnpi]), Ok(()));
        assert_eq!(admits(Label::Mnpi, &[Label::HipaaPhi]), Err(Label::HipaaPhi), "of equal rank, and another");
        for ceiling in Label::ALL {
            for held in Label::ALL {
                let expected = held == ceiling || held.rank() < ceiling.rank();
                assert_eq!(within(Labels::of(held), up_to(ceiling)).is_ok(), expected, "{held} under {ceiling}");
            }
        }
    }
}
