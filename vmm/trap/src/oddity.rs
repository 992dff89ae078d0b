//! Calls that did not come back as what they entered as, and the like.

use serde::{Deserialize, Serialize};

/// What can't be in a kernel that handles what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oddity {
    /// Another number was handled than the one that entered.
    Dispatched {
        /// The one that entered.
        entered: u64,
        /// The one that was saved for the kernel.
        handled: u64,
        /// Who called.
        pid: u32,
    },
    /// A result came, and its call had not entered.
    Unentered {
        /// The number.
        nr: u64,
        /// Who returned.
        pid: u32,
    },
    /// A call entered and never returned, and its task went on to another one.
    Unreturned {
        /// The number.
        nr: u64,
        /// Who called.
        pid: u32,
    },
    /// A task has not the number that it had when it called, or its process has not.
    Renumbered {
        /// The one that its process had.
        pid: u32,
        /// The one that it has now.
        now: u32,
    },
    /// A program has reached into the agent: traced it, or written to its memory.
    Reached {
        /// Who did.
        pid: u32,
        /// Into whom.
        agent: u32,
    },
    /// What the kernel's addresses lead to is not for this process what it is for the kernel itself.
    Tables {
        /// Whose page tables they are.
        pid: u32,
    },
}
