//! `docs/checks.md` is what the table of checks says. `UPDATE_DOCS=1 cargo test -p verify documentation` writes it.

use std::fmt::Write;
use std::path::Path;

use verify::evidence::{Check, Question};

const HEAD: &str = "\
# Checks on evidence

Every check that `cmcp-verify` makes on evidence, by the question that it answers. A check fails for one reason only. How each is made, with
layouts and constants: [verification.md](verification.md). Written from `host/verify/src/evidence/checks.rs`; `cmcp-verify evidence FILE --explain` prints the same
texts.
";

const fn meaning(question: Question) -> &'static str {
    match question {
        Question::Genuine => "Genuine: did this vendor's hardware make it, in a state in which its promises hold?",
        Question::Current => "Current: was the hardware, and what vouches for it, up to date at the time in question?",
        Question::Ours => {
            "Ours: is it about the approved image and settings, and bound to this key, session or challenge?"
        }
    }
}

fn rendered() -> String {
    let mut text = HEAD.to_owned();
    for question in Question::ALL {
        let _ = write!(
            text,
            "\n## {}\n\n| check | reason of a failure | what it shows |\n|---|---|---|\n",
            meaning(question)
        );
        for check in Check::ALL.iter().filter(|check| check.question() == question) {
            let _ = writeln!(text, "| `{}` | `{}` | {} |", check.id(), check.reason(), check.explain());
        }
    }
    text
}

#[test]
fn documentation_lists_every_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, rendered()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered(), "docs/checks.md is old: UPDATE_DOCS=1 cargo test -p verify documentation");
}
