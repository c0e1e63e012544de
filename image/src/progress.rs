//! What a build says while it runs: what it does, whether it was done before, how long it took.

use std::cell::RefCell;
use std::io::Write;
use std::time::Instant;

use crate::error::BuildError;

/// Where a build says what it does.
pub struct Progress<'a> {
    out: RefCell<&'a mut dyn Write>,
    began: Instant,
}

impl<'a> Progress<'a> {
    /// Says it to `out`.
    pub fn to(out: &'a mut dyn Write) -> Self {
        Self { out: RefCell::new(out), began: Instant::now() }
    }

    /// A line of its own.
    pub fn say(&self, line: &str) {
        // A standard error that is closed leaves nobody to tell.
        let _ = writeln!(self.out.borrow_mut(), "{line}");
    }

    /// Does a step. What it says of itself comes behind its name, with the time that it took.
    ///
    /// # Errors
    /// Those of the step.
    pub fn step<T>(&self, name: &str, step: impl FnOnce() -> Result<(T, String), BuildError>) -> Result<T, BuildError> {
        let began = Instant::now();
        let (made, about) = step()?;
        self.say(&format!("{name:<28} {:>6.1} s  {about}", began.elapsed().as_secs_f32()));
        Ok(made)
    }

    /// The last line.
    pub fn done(&self, what: &str) {
        self.say(&format!("{what:<28} {:>6.1} s  in all", self.began.elapsed().as_secs_f32()));
    }
}
