//! What has no pattern of its own. It must stand last.

use crate::kind::Kind::Bug;
use crate::patterns::Place::{No, Trace as OnTrace};
use crate::patterns::Role::{Alone, Guess};
use crate::patterns::Trace::Maybe;
use crate::patterns::{Pattern, p};

pub static PATTERNS: &[Pattern] = &[
    p(
        Bug,
        Alone,
        "BUG: ",
        r"^BUG: Dentry .* still in use",
        "BUG: Dentry still in use",
        No,
        Maybe,
        "a file system unmounted while in use",
    ),
    p(
        Bug,
        Guess,
        "BUG: ",
        r"^(?:[\w-]{1,24}: )?BUG: (?<what>.{3,})$",
        "BUG: {what}{in}",
        OnTrace,
        Maybe,
        "the kernel says so, in words that this table does not know",
    ),
];
