//! Arbitrary JSON values.

use claim::json::Json;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Text that leans towards what is hard to write: controls, DEL, quotes, astral characters, line separators.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let awkward = prop::sample::select(vec![
        '"',
        '\\',
        '/',
        '\u{0}',
        '\u{8}',
        '\t',
        '\n',
        '\u{b}',
        '\u{c}',
        '\r',
        '\u{1f}',
        '\u{7f}',
        '\u{80}',
        '\u{2028}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{fb33}',
        '\u{ffff}',
        '\u{10000}',
        '\u{1f600}',
        '\u{10ffff}',
    ]);
    vec(prop_oneof![3 => prop::char::range(' ', '~'), 1 => awkward, 1 => any::<char>()], 0..12)
        .prop_map(|characters| characters.into_iter().collect())
}

/// Finite floats of every magnitude.
pub(crate) fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1_000_000_i32..1_000_000, -30_i32..30)
            .prop_map(|(digits, exponent)| f64::from(digits) * 10_f64.powi(exponent)),
        // Halfway between two shortest spellings, where implementations round differently.
        (any::<[u32; 2]>(), 0_i32..9).prop_map(|([high, low], halvings)| {
            (f64::from(high >> 11) * 4_294_967_296.0 + f64::from(low)) / f64::from(1 << halvings)
        }),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1e16,
            1e15,
            9_999_999_999_999_998.0,
            1e-4,
            1e-5,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE
        ]),
    ]
    .prop_filter("finite", |value| value.is_finite())
}

/// Values without floats, nulls and unsafe integers.
pub(crate) fn signable() -> impl Strategy<Value = Json> {
    tree(prop_oneof![
        any::<bool>().prop_map(Json::Bool),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Json::Int),
        text().prop_map(Json::String),
    ])
}

/// Any value that `parse` can return.
pub(crate) fn value() -> impl Strategy<Value = Json> {
    tree(prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Int),
        any::<u64>().prop_map(Json::from),
        float().prop_map(Json::Float),
        text().prop_map(Json::String),
    ])
}

fn tree(leaf: impl Strategy<Value = Json> + 'static) -> impl Strategy<Value = Json> {
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Json::Array),
            btree_map(text(), inner, 0..6).prop_map(Json::Object)
        ]
    })
}
