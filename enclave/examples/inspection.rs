//! What inspecting a result costs: `cargo run --release -p enclave --example inspection`.
//!
//! The patterns and definitions are the bank's (`policies/bfsi`); the results are its news, of three sizes, as they usually are and
//! made to be slow.

use std::time::Instant;

use enclave::catalog::Catalog;
use enclave::policy::Policy;
use wire::{Blob, PolicyFile};

const CATALOG: &[u8] = include_bytes!("../../policies/bfsi/catalog.json");
const BUNDLE: [(&str, &[u8]); 3] = [
    ("manifest.json", include_bytes!("../../policies/bfsi/policies/manifest.json")),
    ("bank.cedar", include_bytes!("../../policies/bfsi/policies/bank.cedar")),
    ("schema.cedarschema", include_bytes!("../../policies/bfsi/policies/schema.cedarschema")),
];
const PROSE: &str =
    "The central bank left its rates unchanged on Tuesday; 14 of 22 analysts had expected that, at 3.25 per cent. ";
/// Almost an IBAN, everywhere, in letters that are not ASCII.
const HOSTILE: &str = "DE89 3704 004ＸAB12CD34EF56 é ";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catalog = Catalog::parse(CATALOG).map_err(|refusal| format!("{refusal:?}"))?;
    let files = BUNDLE.map(|(path, bytes)| PolicyFile { path: path.into(), bytes: Blob(bytes.to_vec()) });
    let policy = Policy::load(&files, &catalog).map_err(|refusal| format!("{refusal:?}"))?;
    let inspection = policy.inspection().ok_or("no inspection")?;
    let tool = catalog.tool("news.search").ok_or("no tool")?;
    println!("{:>10} {:>16} {:>16} {:>16}", "bytes", "search, us", "hostile, us", "definition, us");
    for size in [1 << 10, 64 << 10, 1 << 20] {
        let (prose, slow) = (result(PROSE, size), result(HOSTILE, size));
        let search = time(|| drop(inspection.see(&prose)));
        let hostile = time(|| drop(inspection.see(&slow)));
        let definition = time(|| drop(inspection.result(tool, &prose)));
        println!("{size:>10} {search:>16.1} {hostile:>16.1} {definition:>16.1}");
    }
    Ok(())
}

/// A result of about this many bytes: a structured one, and the same as text.
fn result(text: &str, size: usize) -> String {
    let article = |text: String| format!(r#"{{"articles":[{{"title":"t","text":"{text}"}}]}}"#);
    let text = text.repeat(size / 2 / text.len());
    let quoted = article(text.clone()).replace('"', "\\\"");
    format!(r#"{{"content":[{{"type":"text","text":"{quoted}"}}],"structuredContent":{}}}"#, article(text))
}

/// Microseconds of one run, the median of many.
fn time(mut run: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || (start.elapsed().as_millis() < 500 && times.len() < 10_000) {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
