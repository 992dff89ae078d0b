//! One file of an archive.

/// One file of whatever type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Permissions only, without the type.
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `asked_for` is false for a folder that is there because something lies in it.
    Dir {
        asked_for: bool,
    },
    File(Vec<u8>),
    Symlink(String),
    Node {
        kind: NodeKind,
        major: u32,
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
