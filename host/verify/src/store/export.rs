//! One session out of a store: what `GET /audit/export` would have answered, also after a crash.
//!
//! The bundle's own signature cannot be made here: the key died with the enclave. The entries are proven by the signed
//! batches that hold them instead, which are exported beside the bundle (`proof`). A batch is signed as a whole, so
//! they hold records of other sessions too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use claim::bootlog::{Batch, BootId, Frame};
use claim::json::Json;

use super::folder::{self, StoreError, StoreOptions};
use super::{BootReport, Seen, StoreVerdict, proof};

/// What to export, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportOptions<'a> {
    /// The session's id, as the agent named it.
    pub session_id: &'a str,
    /// Folder for the files; it is made if needed.
    pub out: &'a Path,
}

/// One exported session. One id can name several: that of a closed or lost session can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Boot of the session.
    pub boot_id: BootId,
    /// The session's number in its boot.
    pub number: u64,
    /// Entries written.
    pub entries: u64,
    /// `{session_id, entries}`, without a bundle signature.
    pub bundle: PathBuf,
    /// The signed batches; see [`crate::read_proof`].
    pub proof: PathBuf,
    /// Each claim that was issued, in order.
    pub claims: Vec<PathBuf>,
}

/// Why nothing, or not everything, could be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Exports every session with this id, as far as it verifies. The verdict says whether the whole store does.
pub fn export_session(
    store: &Path,
    options: ExportOptions<'_>,
    store_options: StoreOptions<'_>,
) -> Result<(StoreVerdict, Vec<Exported>), ExportError> {
    let made = std::fs::create_dir_all(options.out);
    made.map_err(|error| ExportError::Write { path: options.out.to_owned(), error })?;
    let mut export =
        Export { options, sessions: BTreeMap::new(), first: Vec::new(), current: Vec::new(), failure: None };
    let verdict = folder::walk(store, store_options, &mut export)?;
    if let Some(failure) = export.failure {
        return Err(failure);
    }
    let exported = export.sessions.into_values().map(Files::finish).collect::<Result<_, _>>()?;
    Ok((verdict, exported))
}

struct Export<'a> {
    options: ExportOptions<'a>,
    sessions: BTreeMap<(BootId, u64), Files>,
    /// The frame with the current boot's record: every proof starts with the key.
    first: Vec<u8>,
    /// The frame that is being shown.
    current: Vec<u8>,
    failure: Option<ExportError>,
}

impl Seen for Export<'_> {
    fn batch(&mut self, _boot: &BootReport, frame: &Frame<'_>, batch: &Batch<'_>) {
        proof::write_frame(frame, &mut self.current);
        if batch.number() == 0 {
            self.first.clone_from(&self.current);
        }
        for files in self.sessions.values_mut() {
            files.has_current = false;
        }
    }

    fn entry(&mut self, boot_id: BootId, session: u64, session_id: &str, entry: &Json) {
        if session_id == self.options.session_id {
            self.write(boot_id, session, |files| files.entry(entry));
        }
    }

    fn claim(&mut self, boot_id: BootId, session: u64, session_id: &str, bytes: &[u8]) {
        if session_id == self.options.session_id {
            self.write(boot_id, session, |files| files.claim(bytes));
        }
    }
}

impl Export<'_> {
    fn write(&mut self, boot_id: BootId, session: u64, write: impl FnOnce(&mut Files) -> Result<(), ExportError>) {
        if self.failure.is_none() {
            self.failure = self.try_write(boot_id, session, write).err();
        }
    }

    fn try_write(
        &mut self,
        boot_id: BootId,
        session: u64,
        write: impl FnOnce(&mut Files) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let files = match self.sessions.entry((boot_id, session)) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let mut files = Files::create(self.options, boot_id, session)?;
                files.proof.put(&self.first)?;
                files.has_current = self.current == self.first;
                slot.insert(files)
            }
        };
        if !files.has_current {
            files.proof.put(&self.current)?;
            files.has_current = true;
        }
        write(files)
    }
}

/// The files of one session.
struct Files {
    exported: Exported,
    bundle: Output,
    proof: Output,
    /// Whether the proof has the batch that is being shown.
    has_current: bool,
    /// Path of claims without number and extension.
    stem: PathBuf,
}

impl Files {
    fn create(options: ExportOptions<'_>, boot_id: BootId, number: u64) -> Result<Self, ExportError> {
        // Session ids are file names already, but for the colon and a leading dot.
        let name: String =
            options.session_id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let boot: String = boot_id.to_string().chars().take(8).collect();
        let stem = options.out.join(format!("{name}-{boot}-{number}"));
        let mut bundle = Output::create(with(&stem, ".audit.json"))?;
        let mut proof = Output::create(with(&stem, ".batches"))?;
        bundle.put(
            format!("{{\"session_id\":{},\"entries\":[", Json::from(options.session_id).sorted_ascii()).as_bytes(),
        )?;
        proof.put(claim::bootlog::SEGMENT_MAGIC)?;
        let exported = Exported {
            boot_id,
            number,
            entries: 0,
            bundle: bundle.path.clone(),
            proof: proof.path.clone(),
            claims: Vec::new(),
        };
        Ok(Self { exported, bundle, proof, has_current: false, stem })
    }

    fn entry(&mut self, entry: &Json) -> Result<(), ExportError> {
        if self.exported.entries > 0 {
            self.bundle.put(b",")?;
        }
        self.bundle.put(b"\n")?;
        self.bundle.put(entry.sorted_ascii().as_bytes())?;
        self.exported.entries = self.exported.entries.saturating_add(1);
        Ok(())
    }

    fn claim(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let number = self.exported.claims.len().saturating_add(1);
        let mut file = Output::create(with(&self.stem, &format!(".claim-{number}.json")))?;
        file.put(bytes)?;
        self.exported.claims.push(file.path.clone());
        file.finish()
    }

    fn finish(mut self) -> Result<Exported, ExportError> {
        self.bundle.put(b"\n]}\n")?;
        self.bundle.finish()?;
        self.proof.finish()?;
        Ok(self.exported)
    }
}

fn with(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(path: PathBuf) -> Result<Self, ExportError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file) }),
            Err(error) => Err(ExportError::Write { path, error }),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.file.write_all(bytes).map_err(|error| ExportError::Write { path: self.path.clone(), error })
    }

    fn finish(mut self) -> Result<(), ExportError> {
        self.file.flush().map_err(|error| ExportError::Write { path: self.path.clone(), error })
    }
}
