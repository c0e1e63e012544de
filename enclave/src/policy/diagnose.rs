//! Cedar's errors as refusals: which file, where, what Cedar says about it.

use cedar_policy::ffi::DetailedError;
use wire::{BootRefusal, RefusalCode};

use super::bundle::document_of;
use crate::document::refusal;

/// The refusal of a file of which Cedar said this. `place` names the policy, if one is known.
pub(super) fn refused(path: &str, text: &str, place: &str, error: &DetailedError, fallback: &str) -> BootRefusal {
    let position = error.source_locations.first().map(|label| position(text, label.loc.start)).unwrap_or_default();
    let field = [place, position.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let label = error.source_locations.iter().find_map(|label| label.label.as_deref());
    let hints: Vec<_> = [label, error.help.as_deref()].into_iter().flatten().collect();
    let expected = if hints.is_empty() { fallback.to_owned() } else { hints.join("; ") };
    refusal(RefusalCode::Cedar, &document_of(path), &field.join(", "), &error.message, &expected)
}

/// `line 2, column 5` of a byte offset, both from 1, columns in characters.
fn position(text: &str, offset: usize) -> String {
    let before = text.char_indices().take_while(|(start, _)| *start < offset).map(|(_, character)| character);
    let (mut line, mut column) = (1_usize, 1_usize);
    for character in before {
        (line, column) = if character == '\n' { (line.saturating_add(1), 1) } else { (line, column.saturating_add(1)) };
    }
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn positions_count_from_one_in_characters() {
        assert_eq!(position("ab\ncd", 0), "line 1, column 1");
        assert_eq!(position("ab\ncd", 4), "line 2, column 2");
        assert_eq!(position("éé\né;", 7), "line 2, column 2");
        assert_eq!(position("a", 9), "line 1, column 2");
    }
}
