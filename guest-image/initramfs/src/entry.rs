//! One file of an archive.

/// One file of whatever type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Permissions only, without the type.
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

/// What a file is, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Dir {
        /// False for one that is there because something lies in it.
        asked_for: bool,
    },
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to there.
    Symlink(String),
    /// A device node.
    Node {
        /// Its type.
        kind: NodeKind,
        /// Of its number.
        major: u32,
        /// Of its number.
        minor: u32,
    },
}

/// The two types of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
}
