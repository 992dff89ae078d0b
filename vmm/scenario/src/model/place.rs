//! Where modules leave things behind, and when that is looked at.

/// Where a module can leave something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The modules that are loaded.
    Modules,
    /// Major numbers and the drivers that have them.
    Devices,
    /// What stands in /dev.
    Nodes,
    /// The kernel's taint, but for what every module sets.
    Taint,
    /// Memory of the kernel's, as kmemleak finds it in kernels that have it, else as its caches count it.
    Memory,
}

impl Place {
    /// As scenarios write it.
    pub const NAMES: &[(&str, Self)] = &[
        ("modules", Self::Modules),
        ("devices", Self::Devices),
        ("nodes", Self::Nodes),
        ("taint", Self::Taint),
        ("memory", Self::Memory),
    ];

    /// So many bytes of a folder's listing are read: some thousand names.
    pub const LISTING: u32 = 256 << 10;

    /// As scenarios write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, place)| *place == self).map_or("", |(name, _)| name)
    }

    /// The file or folder to look at.
    pub fn path(self) -> &'static str {
        match self {
            Self::Modules => "/proc/modules",
            Self::Devices => "/proc/devices",
            Self::Nodes => "/dev",
            Self::Taint => "/proc/sys/kernel/tainted",
            Self::Memory => "/proc/slabinfo",
        }
    }
}

/// Before the scenario's own steps, or after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum When {
    Before,
    After,
}
