//! Everybody who wants to know how a run goes.

use crate::Reporter;
use judge::{Began, Judged};
use std::io::{self, ErrorKind};

/// Several reporters as one. One who can't write gets nothing more, and the run goes on for the others.
#[derive(Default)]
pub struct Reporters {
    all: Vec<Box<dyn Reporter>>,
    /// What could not be written, and why.
    pub errors: Vec<String>,
}

impl Reporters {
    /// Tells one more, after those that are there.
    pub fn add(&mut self, reporter: impl Reporter + 'static) {
        self.all.push(Box::new(reporter));
    }

    /// Tells all of them what is going to run.
    pub fn begin(&mut self, all: &[Began]) {
        self.each(|reporter| reporter.begin(all));
    }

    /// Tells all of them what happened.
    pub fn tell(&mut self, judged: &Judged) {
        self.each(|reporter| reporter.event(judged));
    }

    /// Tells all of them that nothing more comes.
    pub fn finish(&mut self) {
        self.each(|reporter| reporter.finish());
    }

    fn each(&mut self, mut tell: impl FnMut(&mut dyn Reporter) -> io::Result<()>) {
        let errors = &mut self.errors;
        self.all.retain_mut(|reporter| match tell(reporter.as_mut()) {
            Ok(()) => true,
            // `vmm run ... | head` has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
            Err(error) => {
                errors.push(format!("failed to write a report: {error}"));
                false
            }
        });
    }
}
