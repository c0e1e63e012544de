use wire::{Blob, BootRefusal, Document, PolicyFile, RefusalCode};

use super::{DEMO, MANIFEST, SCHEMA, SCHEMA_FULL, SCHEMA_TEXT, bundle, catalog, file, load};
use crate::policy::Policy;

const PERMIT: &str = "permit (principal, action, resource);";

/// Computed by the Python loader of cmcp-runtime 0.7.1 over the quickstart's folder.
const PEER_BUNDLE_HASH: &str = "sha256:5ffe13d8e404272595c1a0c616c6c4188ea6b1f23b3a84abb694d712e080f296";

fn refused(files: &[PolicyFile]) -> BootRefusal {
    Policy::load(files, &catalog()).unwrap_err()
}

/// Code, file and field.
fn place(refused: &BootRefusal) -> (RefusalCode, &str, &str) {
    let Document::Policy(path) = &refused.document else { panic!("{refused:?}") };
    (refused.code, &path.0, &refused.field.0)
}

/// A schema with these attributes of `call_tool`'s principal, resource and context.
fn schema(principal: &str, resource: &str, context: &str) -> String {
    format!(
        "entity P = {{ {principal} }}; entity R = {{ {resource} }};
         action call_tool appliesTo {{ principal: P, resource: R, context: {{ {context} }} }};"
    )
}

#[test]
fn the_hash_is_the_one_that_others_compute() {
    assert_eq!(load(DEMO, SCHEMA).unwrap().bundle_hash().prefixed(), PEER_BUNDLE_HASH);
    let windows = bundle(&DEMO.replace('\n', "\r\n"), &SCHEMA.replace('\n', "\r"));
    assert_eq!(Policy::load(&windows, &catalog()).unwrap().bundle_hash().prefixed(), PEER_BUNDLE_HASH);
}

/// Computed by the same loader over files with CRLF, CR, a folder, names beyond ASCII and a signature.
#[test]
fn the_hash_agrees_on_what_is_easy_to_get_wrong() {
    let manifest = r#"{"version":"2.10","authored_at":"2026-06-05T00:00:00+00:00","author_identity":"Zo\u00eb \ud83d\ude00 <zoe@example.com>","commit_sha":"a/b\"c","signature":"AAAA"}"#;
    let files = [
        file("sub/b.cedar", "// only a comment\r"),
        file("manifest.json", manifest),
        file("a.cedar", "permit (principal, action, resource);\r\n// é\r\n"),
        file(
            "schema.cedarschema",
            "entity P;\r\nentity R;\raction call_tool appliesTo { principal: P, resource: R };\n",
        ),
    ];
    let policy = Policy::load(&files, &catalog()).unwrap();
    let expected = "sha256:99baf2c7b010b93fb0c7b29fcd7f2c6a3ca6404cd74a69125bf5189abfb74c4a";
    assert_eq!(policy.bundle_hash().prefixed(), expected);
    assert_eq!(policy.version(), "2.10");
}

#[test]
fn the_hash_covers_every_file_but_not_the_signature() {
    let hash = |files: &[PolicyFile]| Policy::load(files, &catalog()).unwrap().bundle_hash();
    let plain = bundle(PERMIT, SCHEMA);
    let with = |path: &str, text: &str| {
        let mut files = plain.clone();
        files.retain(|file| file.path.0 != path);
        files.push(file(path, text));
        files
    };
    let base = hash(&plain);
    assert_ne!(hash(&with("demo.cedar", &format!("{PERMIT} "))), base);
    assert_ne!(hash(&with("schema.cedarschema", SCHEMA_TEXT)), base);
    assert_ne!(hash(&with("manifest.json", &MANIFEST.replace("0.1.0", "0.1.1"))), base);
    assert_ne!(hash(&with("more/b.cedar", "")), base);
    assert_eq!(hash(&with("README.md", "about")), base);
    let signed = MANIFEST.replace("\"version\"", "\"signature\": \"AAAA\", \"version\"");
    assert_eq!(hash(&with("manifest.json", &signed)), base);
}

#[test]
fn files_are_checked() {
    use RefusalCode::{Duplicate, InvalidValue, Malformed, Missing};
    let without = |path: &str| {
        let mut files = bundle(PERMIT, SCHEMA);
        files.retain(|file| file.path.0 != path);
        files
    };
    let plus = |extra: PolicyFile| {
        let mut files = bundle(PERMIT, SCHEMA);
        files.push(extra);
        files
    };
    let bytes = |path: &str| PolicyFile { path: path.into(), bytes: Blob(vec![0xff]) };
    let long = format!("{}.cedar", "x".repeat(100));
    for (files, code, path) in [
        (without("manifest.json"), Missing, "manifest.json"),
        (without("schema.cedarschema"), Missing, "schema.cedarschema"),
        (without("demo.cedar"), Missing, "*.cedar"),
        (Vec::new(), Missing, "manifest.json"),
        (plus(file("demo.cedar", PERMIT)), Duplicate, "demo.cedar"),
        (plus(file("../x.cedar", PERMIT)), InvalidValue, "../x.cedar"),
        (plus(file("/x.cedar", PERMIT)), InvalidValue, "/x.cedar"),
        (plus(file("a//x.cedar", PERMIT)), InvalidValue, "a//x.cedar"),
        (plus(file("a\\x.cedar", PERMIT)), InvalidValue, "a\\x.cedar"),
        (plus(file("ä.cedar", PERMIT)), InvalidValue, "ä.cedar"),
        (plus(file("", PERMIT)), InvalidValue, ""),
        (plus(file(&long, PERMIT)), InvalidValue, long.as_str()),
        (plus(bytes("x.cedar")), Malformed, "x.cedar"),
    ] {
        let refused = refused(&files);
        assert_eq!(place(&refused), (code, path, ""), "{refused:?}");
    }
}

#[test]
fn the_manifest_is_checked() {
    use RefusalCode::{Duplicate, InvalidValue, Malformed, Missing, UnknownKey};
    let year = "2026-06-05T00:00:00Z";
    for (manifest, code, field) in [
        ("{", Malformed, ""),
        ("[]", InvalidValue, ""),
        ("{}", Missing, "version"),
        (r#"{"version": "1", "version": "2"}"#, Duplicate, ""),
        (&MANIFEST.replace("\"version\": \"0.1.0\",", ""), Missing, "version"),
        (&MANIFEST.replace("authored_at", "authored_on"), UnknownKey, "authored_on"),
        (&MANIFEST.replace("0.1.0", ""), InvalidValue, "version"),
        (&MANIFEST.replace("0.1.0", "0.1 ß"), InvalidValue, "version"),
        (&MANIFEST.replace("\"0.1.0\"", "1"), InvalidValue, "version"),
        (&MANIFEST.replace(year, "June"), InvalidValue, "authored_at"),
        (&MANIFEST.replace("developer@example.com", ""), InvalidValue, "author_identity"),
        (&MANIFEST.replace("quickstart-demo", "a\\nb"), InvalidValue, "commit_sha"),
    ] {
        let mut files = bundle(PERMIT, SCHEMA);
        files[0] = file("manifest.json", manifest);
        let refused = refused(&files);
        assert_eq!(place(&refused), (code, "manifest.json", field), "{refused:?}");
    }
}

#[test]
fn an_author_may_have_a_name_beyond_ascii() {
    let mut files = bundle(PERMIT, SCHEMA);
    files[0] = file("manifest.json", &MANIFEST.replace("developer", "Zoë"));
    assert!(Policy::load(&files, &catalog()).is_ok());
}

#[test]
fn cedar_errors_have_their_position() {
    for (cedar, field) in [
        ("permit (principal, action, resource)", "line 1, column 37"),
        ("// one\npermit (principal, actoin, resource);", "line 2, column 20"),
        (
            "permit (principal, action, resource);\n\npermit (principal, action, resource)\nwhen { context.colour == \"red\" };",
            "demo.cedar:2, line 4, column 8",
        ),
        (
            "@id(\"named\")\npermit (principal, action, resource) when { context.workflow_id == 1 };",
            "named, line 2, column 45",
        ),
        ("permit (principal == Agent::\"a\", action, resource);", "demo.cedar:1, line 1, column 22"),
        ("permit (principal, action == cMCP::Action::\"read\", resource);", "demo.cedar:1, line 1, column 30"),
    ] {
        let refused = load(cedar, SCHEMA).unwrap_err();
        assert_eq!(place(&refused), (RefusalCode::Cedar, "demo.cedar", field), "{refused:?}");
        assert!(!refused.found.0.is_empty() && !refused.expected.0.is_empty());
    }
}

#[test]
fn strict_mode_is_on() {
    // Permissive mode accepts a set of mixed types.
    let mixed = "permit (principal, action, resource) when { [1, \"a\"].contains(context.workflow_id) };";
    assert_eq!(load(mixed, SCHEMA).unwrap_err().code, RefusalCode::Cedar);
}

#[test]
fn templates_are_refused() {
    let refused = load("permit (principal == ?principal, action, resource);", SCHEMA).unwrap_err();
    assert_eq!(place(&refused), (RefusalCode::Unsupported, "demo.cedar", ""));
}

#[test]
fn policies_have_ids_of_their_own() {
    let twice = format!("@id(\"a\") {PERMIT} @id(\"a\") {PERMIT}");
    assert_eq!(place(&load(&twice, SCHEMA).unwrap_err()), (RefusalCode::Duplicate, "demo.cedar", "@id"));
    let mut files = bundle(&format!("@id(\"b.cedar:1\") {PERMIT}"), SCHEMA);
    files.push(file("b.cedar", PERMIT));
    assert_eq!(refused(&files).code, RefusalCode::Duplicate);
    for id in ["", "a b", "ä", &"x".repeat(129)] {
        let refused = load(&format!("{PERMIT} @id(\"{id}\") {PERMIT}"), SCHEMA).unwrap_err();
        assert_eq!(place(&refused), (RefusalCode::InvalidValue, "demo.cedar", "policy 2, @id"), "{id}");
    }
}

#[test]
fn files_are_read_in_order_and_policies_in_theirs() {
    let many = PERMIT.repeat(12);
    let mut files = bundle(&many, SCHEMA);
    files.push(file("a/first.cedar", PERMIT));
    let catalog = catalog();
    let policy = Policy::load(&files, &catalog).unwrap();
    let verdict = policy.decide(&super::question(catalog.tool("echo").unwrap()));
    let ids: Vec<_> = verdict.determining.iter().map(ToString::to_string).collect();
    let expected: Vec<_> = (1..=12).map(|number| format!("demo.cedar:{number}")).collect();
    assert_eq!(ids[0], "a/first.cedar:1");
    assert_eq!(ids[1..], expected);
}

#[test]
fn schema_errors_are_refused() {
    for (schema, code, field) in [
        ("entity", RefusalCode::Cedar, "line 1, column 7"),
        ("entity P = { a: Strong };", RefusalCode::Cedar, "line 1, column 17"),
        ("{", RefusalCode::Malformed, ""),
        (r#"{"": {}, "": {}}"#, RefusalCode::Duplicate, ""),
        (r#"{"": {"entityTypes": 1, "actions": {}}}"#, RefusalCode::Cedar, ""),
    ] {
        let refused = load(PERMIT, schema).unwrap_err();
        assert_eq!(place(&refused), (code, "schema.cedarschema", field), "{refused:?}");
    }
}

#[test]
fn a_schema_that_asks_for_what_is_not_there_is_refused() {
    for (principal, resource, context, field, found, expected) in [
        ("role: String", "", "", "P.role", "role: String", "groups: Set<String>"),
        ("", "owner: String", "", "R.owner", "owner: String", "tool_name: String"),
        ("", "", "colour: String", "Action::\"call_tool\".context.colour", "colour: String", "egress: Bool"),
        (
            "",
            "",
            "call_count: String",
            "Action::\"call_tool\".context.call_count",
            "call_count: String",
            "call_count: Long",
        ),
        ("", "", "time: Set<Long>", "Action::\"call_tool\".context.time", "time: Set<Long>", "time: Long"),
        ("session_id: Long", "", "", "P.session_id", "session_id: Long", "session_id: String"),
        ("groups: String", "", "", "P.groups", "groups: String", "groups: Set<String>"),
        ("", "tool_name: R", "", "R.tool_name", "tool_name: R", "tool_name: String"),
        (
            "",
            "",
            "input: { amount: Long }",
            "Action::\"call_tool\".context.input",
            "input: {amount: Long,}",
            "arguments in call_tool, input in an action that is named like a tool",
        ),
    ] {
        let refused = load(PERMIT, &schema(principal, resource, context)).unwrap_err();
        assert_eq!(place(&refused), (RefusalCode::Unsupported, "schema.cedarschema", field), "{refused:?}");
        assert_eq!(refused.found.0, found);
        assert!(refused.expected.0.contains(expected), "{}", refused.expected.0);
    }
}

#[test]
fn optional_attributes_and_named_types_are_supplied() {
    assert!(load(PERMIT, &schema("subject?: String", "server?: String", "time?: Long")).is_ok());
    assert!(load(PERMIT, &format!("type T = String; {}", schema("subject: T", "", ""))).is_ok());
    assert!(load(PERMIT, SCHEMA_FULL).is_ok());
}

#[test]
fn a_call_is_one_action_of_one_principal_and_one_resource() {
    use RefusalCode::{Missing, Unsupported};
    let applies = |principal: &str, resource: &str| {
        format!(
            "entity P; entity Q; entity R; entity G; entity M in G; entity E enum [\"a\"]; entity T tags String;
             action call_tool appliesTo {{ principal: {principal}, resource: {resource}, context: {{}} }};"
        )
    };
    let action = "Action::\"call_tool\"";
    let two = "namespace A { entity P; entity R; action call_tool appliesTo { principal: P, resource: R }; }
               namespace B { entity P; entity R; action call_tool appliesTo { principal: P, resource: R }; }";
    for (schema, code, field) in [
        (
            "entity P; entity R; action read appliesTo { principal: P, resource: R };".to_owned(),
            Missing,
            "actions".to_owned(),
        ),
        (two.to_owned(), Unsupported, "actions".to_owned()),
        ("entity P; action call_tool;".to_owned(), Unsupported, format!("{action}.appliesTo.principalTypes")),
        (applies("[P, Q]", "R"), Unsupported, format!("{action}.appliesTo.principalTypes")),
        (applies("P", "[Q, R]"), Unsupported, format!("{action}.appliesTo.resourceTypes")),
        (applies("P", "P"), Unsupported, format!("{action}.appliesTo")),
        (applies("M", "R"), Unsupported, "M".to_owned()),
        (applies("P", "M"), Unsupported, "M".to_owned()),
        (applies("E", "R"), Unsupported, "E".to_owned()),
        (applies("P", "T"), Unsupported, "T".to_owned()),
    ] {
        let refused = load(PERMIT, &schema).unwrap_err();
        assert_eq!(place(&refused), (code, "schema.cedarschema", field.as_str()), "{refused:?}");
    }
    assert!(load(PERMIT, &applies("P", "R")).is_ok());
}

#[test]
fn other_actions_are_held_to_the_same() {
    let with = |more: &str| {
        format!(
            "entity P; entity Q; entity R; entity Doc = {{ kind: String, name: String, size?: Long }};
             action call_tool appliesTo {{ principal: P, resource: R, context: {{}} }}; {more}"
        )
    };
    let read = "Action::\"read_resource\"";
    let two = "namespace A { entity S; entity T; action read_resource appliesTo { principal: S, resource: T }; }
               namespace B { entity S; entity T; action read_resource appliesTo { principal: S, resource: T }; }";
    for (more, field) in [
        (two, "actions".to_owned()),
        ("action read_resource;", format!("{read}.appliesTo.principalTypes")),
        (
            "action read_resource appliesTo { principal: [P, Q], resource: R };",
            format!("{read}.appliesTo.principalTypes"),
        ),
        (
            "action read_resource appliesTo { principal: P, resource: [Q, R] };",
            format!("{read}.appliesTo.resourceTypes"),
        ),
        ("action read_resource appliesTo { principal: P, resource: P };", format!("{read}.appliesTo")),
        ("action read_resource appliesTo { principal: P, resource: Doc };", "Doc.size".to_owned()),
        (
            "action read_resource appliesTo { principal: P, resource: R, context: { uri: String } };",
            format!("{read}.context.uri"),
        ),
    ] {
        let refused = load(PERMIT, &with(more)).unwrap_err();
        assert_eq!(place(&refused), (RefusalCode::Unsupported, "schema.cedarschema", field.as_str()), "{refused:?}");
    }
    assert!(load(PERMIT, &with("action read_resource appliesTo { principal: Q, resource: R };")).is_ok());
}

#[test]
fn only_a_forbid_says_what_it_means_and_in_three_words() {
    for (rule, found) in [
        ("@decision(\"stepup\") forbid (principal, action, resource);", "@decision(\"stepup\") on a forbid"),
        ("@decision(\"allow\") forbid (principal, action, resource);", "@decision(\"allow\") on a forbid"),
        ("@decision forbid (principal, action, resource);", "@decision(\"\") on a forbid"),
        ("@decision(\"step_up\") permit (principal, action, resource);", "@decision(\"step_up\") on a permit"),
    ] {
        let refused = load(&format!("{PERMIT} {rule}"), SCHEMA).unwrap_err();
        assert_eq!(
            place(&refused),
            (RefusalCode::InvalidValue, "demo.cedar", "demo.cedar:2, @decision"),
            "{refused:?}"
        );
        assert_eq!(refused.found.0, found);
    }
}

#[test]
fn doubtful_bundles_load_with_a_warning() {
    let warns = |cedar: &str, schema: &str, text: &str| {
        let policy = load(cedar, schema).unwrap();
        assert!(policy.warnings().iter().any(|warning| warning.contains(text)), "{text}: {:?}", policy.warnings());
    };
    warns(DEMO, SCHEMA, "demo.cedar:2: context.session_max_sensitivity == \"pii\" stops matching");
    warns(DEMO, SCHEMA, "session_labels.contains(\"pii\")");
    warns(
        "permit (principal, action, resource == cMCP::Resource::\"ecko\");",
        SCHEMA,
        "demo.cedar:1: the tool \"ecko\" is not in the catalog",
    );
    warns("forbid (principal, action, resource);", SCHEMA, "no policy permits anything");
    warns("", SCHEMA, "no policy permits anything");
    let more = format!(
        "{} action read appliesTo {{ principal: P, resource: R, context: {{ x: Long }} }};",
        schema("", "", "")
    );
    warns(PERMIT, &more, "Action::\"read\" is never asked");
    warns("permit (principal, action, resource) when { false };", SCHEMA, "");

    let mut files = bundle(PERMIT, SCHEMA);
    files.push(file("old.cedar.bak", PERMIT));
    let policy = Policy::load(&files, &catalog()).unwrap();
    assert!(policy.warnings()[0].starts_with("old.cedar.bak is neither hashed nor read"));

    assert_eq!(load(PERMIT, SCHEMA).unwrap().warnings(), [""; 0]);
    let public = "permit (principal, action, resource) when { context.session_max_sensitivity == \"public\" };";
    assert_eq!(load(public, SCHEMA).unwrap().warnings(), [""; 0]);
}

#[test]
fn deep_nesting_is_refused_not_a_crash() {
    let condition = |text: &str| format!("permit (principal, action, resource) when {{ {text} }};");
    let is_deep = |result: Result<Policy, BootRefusal>| {
        let refused = result.unwrap_err();
        assert_eq!(
            (refused.code, refused.found.0.as_str()),
            (RefusalCode::Unsupported, "an expression that nests too deep")
        );
    };
    for depth in [1_000, 100_000] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{a: ", "}"), ("if true then ", " else true"), ("true && ", ""), ("1 + ", "")]
        {
            is_deep(load(&condition(&format!("{}true{}", open.repeat(depth), close.repeat(depth))), SCHEMA));
        }
        is_deep(load(&condition(&format!("context{}", ".a".repeat(depth))), SCHEMA));
        is_deep(load(PERMIT, &schema(&format!("a: {}String{}", "Set<".repeat(depth), ">".repeat(depth)), "", "")));
        is_deep(load(PERMIT, &schema(&format!("a: {}String{}", "{a: ".repeat(depth), "}".repeat(depth)), "", "")));
        for operator in ["-", "!"] {
            assert_eq!(
                load(&condition(&format!("{}true", operator.repeat(depth))), SCHEMA).unwrap_err().code,
                RefusalCode::Cedar
            );
        }
    }
}

#[test]
fn what_is_just_allowed_does_not_overflow() {
    let condition = |text: &str| format!("permit (principal, action, resource) when {{ {text} }};");
    let catalog = catalog();
    let load_and_ask = |cedar: &str, schema: &str| {
        let policy = Policy::load(&bundle(cedar, schema), &catalog);
        policy.is_ok_and(|policy| policy.decide(&super::question(&catalog.tools()[0])).asked > 0)
    };
    for depth in [50, 240, 480] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("{a: ", "}"), ("if true then ", " else true"), ("true && ", ""), ("1 + ", "")]
        {
            load_and_ask(&condition(&format!("{}true{}", open.repeat(depth), close.repeat(depth))), SCHEMA);
        }
        load_and_ask(&condition(&format!("context{}", ".a".repeat(depth))), SCHEMA);
        let _ =
            load(PERMIT, &schema(&format!("a: {}String{}", "Set<".repeat(depth / 2), ">".repeat(depth / 2)), "", ""));
        let _ =
            load(PERMIT, &schema(&format!("a: {}String{}", "{a: ".repeat(depth / 2), "}".repeat(depth / 2)), "", ""));
    }
    let chain = "context.workflow_id == \"a\" || ".repeat(120);
    assert!(load_and_ask(&condition(&format!("{chain} true")), SCHEMA));
    let set = "\"a\", ".repeat(20_000);
    assert!(load_and_ask(&condition(&format!("[{set} \"b\"].contains(context.workflow_id)")), SCHEMA));
    assert!(load_and_ask(&PERMIT.repeat(2_000), SCHEMA));
}
