//! What numbers, addresses and paths of a run are called.

use board::wire::Door;
use kernel::lines::{Code, Place, Stands};

/// Makes another line of one, if it has to be another.
pub type Rewrite = dyn Fn(&str) -> Option<String> + Send;

/// The line of source code that a piece of code was compiled from.
pub type FindLine = dyn Fn(&Code, Stands) -> Option<Place> + Send;

/// What is known of the kernel that runs, for a person's eyes.
pub struct Names {
    /// The name of a system call, by the door that it came through.
    pub syscall: Box<dyn Fn(Door, u64) -> Option<String> + Send>,
    /// `function+0x1f` of an address.
    pub symbol: Box<dyn Fn(u64) -> Option<String> + Send>,
    /// A line of the kernel's log in which a path stands that the user does not know, with the one that they
    /// do: modules are built in a copy of their folder.
    pub at_home: Box<Rewrite>,
    /// Where there is debug info. Asked only for findings and hangs, once a run is over.
    pub source: Box<FindLine>,
}

impl Names {
    pub(crate) fn line(&self, text: &str) -> String {
        (self.at_home)(text).unwrap_or_else(|| text.to_owned())
    }
}

impl Default for Names {
    /// Knows nothing.
    fn default() -> Self {
        Self {
            syscall: Box::new(|_, _| None),
            symbol: Box::new(|_| None),
            at_home: Box::new(|_| None),
            source: Box::new(|_, _| None),
        }
    }
}
