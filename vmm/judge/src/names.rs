//! What numbers, addresses and paths of a run are called.

use board::wire::Door;
use kernel::lines::{Code, Place, Stands};

/// What is known of the kernel that runs, for a person's eyes. Whatever it does not know, it says nothing of.
pub trait Names: Send {
    /// The name of a system call, by the door that it came through.
    fn syscall(&self, door: Door, nr: u64) -> Option<String>;

    /// `function+0x1f` of an address.
    fn symbol(&self, address: u64) -> Option<String>;

    /// A line of the kernel's log in which a path stands that the user does not know, with the one that they
    /// do: modules are built in a copy of their folder.
    fn at_home(&self, line: &str) -> Option<String>;

    /// The line of source code that a piece of code was compiled from, where there is debug info. Asked only for findings
    /// and hangs, once a run is over.
    fn source(&self, code: &Code, stands: Stands) -> Option<Place>;

    /// The parameters of a module, by the name that the kernel gives it.
    fn parameters(&self, _module: &str) -> Option<&[String]> {
        None
    }

    /// The line, as the user knows its paths.
    fn line(&self, text: &str) -> String {
        self.at_home(text).unwrap_or_else(|| text.to_owned())
    }
}

/// Knows nothing.
pub(crate) struct Nameless;

impl Names for Nameless {
    fn syscall(&self, _: Door, _: u64) -> Option<String> {
        None
    }

    fn symbol(&self, _: u64) -> Option<String> {
        None
    }

    fn at_home(&self, _: &str) -> Option<String> {
        None
    }

    fn source(&self, _: &Code, _: Stands) -> Option<Place> {
        None
    }
}
