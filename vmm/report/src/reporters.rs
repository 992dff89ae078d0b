//! Everybody who wants to know how a run goes.

use crate::Reporter;
use judge::Judged;
use std::io::ErrorKind;

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

    /// Tells all of them.
    pub fn tell(&mut self, judged: &Judged) {
        let errors = &mut self.errors;
        self.all.retain_mut(|reporter| match reporter.event(judged) {
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
