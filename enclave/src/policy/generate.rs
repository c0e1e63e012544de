//! A Cedar schema for the tools of a catalog: one action for each tool, its arguments typed from the `input_schema`.

use std::fmt::Write;

use super::action::Action;
use super::definition::Definition;
use super::vocabulary::{Attribute, ContextAttribute, PrincipalAttribute, ResourceAttribute};
use crate::catalog::{Catalog, Tool};

/// Objects in objects that are written out; a definition that refers to itself would never end.
const DEEPEST: usize = 8;

/// Longest type that is written for one argument, in bytes.
const LONGEST: usize = 16 << 10;

/// The schema as Cedar text. It says of each argument that it leaves out why Cedar cannot see it.
pub fn schema(catalog: &Catalog) -> String {
    let mut text = String::from(
        "// One action for each tool of the catalog, with the tool's arguments in context.input. A rule about all tool calls says\n\
         // action in cMCP::Action::\"call_tool\". Arguments that the comments leave out are passed on and not shown to policies;\n\
         // those that a tool's input_schema does not name are denied.\n\nnamespace cMCP {\n",
    );
    entity::<PrincipalAttribute>(&mut text, "Principal");
    entity::<ResourceAttribute>(&mut text, "Resource");
    let _ = writeln!(text, "  action {};\n", quoted(Action::CallTool.as_str()));
    for tool in catalog.tools() {
        action(&mut text, tool);
    }
    text.push_str("}\n");
    text
}

fn entity<A: Attribute>(text: &mut String, name: &str) {
    let _ = writeln!(text, "  entity {name} = {{");
    attributes::<A>(text, "    ");
    text.push_str("  };\n\n");
}

fn attributes<A: Attribute>(text: &mut String, indent: &str) {
    for (_, name, kind) in A::ALL {
        let _ = writeln!(text, "{indent}{name}: {},", kind.as_str());
    }
}

fn action(text: &mut String, tool: &Tool) {
    let known = Action::ALL.iter().any(|action| action.as_str() == tool.name);
    if known {
        let _ =
            writeln!(text, "  // The tool {} has the name of another action: its calls are denied here.\n", tool.name);
        return;
    }
    let group = quoted(Action::CallTool.as_str());
    let _ = writeln!(
        text,
        "  action {} in [{group}] appliesTo {{\n    principal: [Principal],\n    resource: [Resource],\n    context: {{",
        quoted(&tool.name)
    );
    attributes::<ContextAttribute>(text, "      ");
    input(text, Definition::of(&tool.definition.input_schema));
    text.push_str("    },\n  };\n\n");
}

fn input(text: &mut String, definition: Definition<'_>) {
    if !definition.lists_members() {
        text.push_str("      // no input: the input_schema lists no arguments\n");
        return;
    }
    text.push_str("      input: {\n");
    for (name, member) in definition.members() {
        let mark = if definition.requires(name) { "" } else { "?" };
        let _ = match cedar_type(member, 0) {
            Ok(kind) => writeln!(text, "        {}{mark}: {kind},", quoted(name)),
            Err(reason) => writeln!(text, "        // {} is left out: {reason}", quoted(name)),
        };
    }
    text.push_str("      },\n");
}

/// The Cedar type of what a schema admits, or why there is none.
fn cedar_type(definition: Definition<'_>, depth: usize) -> Result<String, &'static str> {
    if depth > DEEPEST {
        return Err("it nests too deep");
    }
    let kind = match definition.one_type() {
        Some("string") => "String".to_owned(),
        Some("integer") => "Long".to_owned(),
        Some("boolean") => "Bool".to_owned(),
        Some("number") => return Err("it may be a fraction; declare it as Long to admit whole numbers only"),
        Some("array") if definition.is_tuple() => return Err("its elements have types by their place"),
        Some("array") => format!("Set<{}>", cedar_type(definition.items(), depth.saturating_add(1))?),
        Some("object") if definition.lists_members() => record(definition, depth)?,
        Some("object") => return Err("it is any object"),
        _ => return Err("it has no single JSON type"),
    };
    if kind.len() > LONGEST { Err("its type is too long") } else { Ok(kind) }
}

fn record(definition: Definition<'_>, depth: usize) -> Result<String, &'static str> {
    let mut text = String::from("{ ");
    for (name, member) in definition.members() {
        let mark = if definition.requires(name) { "" } else { "?" };
        // What Cedar cannot see in here is left out as above, without a word: a comment would end the line.
        if let Ok(kind) = cedar_type(member, depth.saturating_add(1)) {
            let _ = write!(text, "{}{mark}: {kind}, ", quoted(name));
        }
        if text.len() > LONGEST {
            return Err("its type is too long");
        }
    }
    text.push('}');
    Ok(text)
}

/// A string of Cedar's, whose escapes are Rust's.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}
