//! The configuration that fragments are put on.

use super::{config::ConfigError, sources::hex};
use base::unpack::unpack_apart;
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// `make tinyconfig`: everything off.
    #[default]
    Tiny,
    /// `make defconfig kvm_guest.config`: what the kernel's own developers boot, in a virtual machine.
    Default,
    /// A whole configuration, such as a distribution's `/boot/config-*`, or the `/proc/config.gz` of a running kernel.
    File(PathBuf),
    /// A whole configuration without the modules that a machine does not have loaded (`make
    /// localmodconfig`).
    Local {
        /// What `lsmod` printed there.
        lsmod: PathBuf,
        /// That machine's configuration.
        config: PathBuf,
    },
}

/// A base with what is in its files.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadedBase {
    /// Changes with all that it is made from.
    pub identity: String,
    /// The configuration to begin with, where there is a file of it.
    pub config: Option<String>,
}

impl Base {
    /// make's targets; none where the configuration is there already.
    pub(super) fn targets(&self) -> &'static [&'static str] {
        match self {
            Self::Tiny => &["tinyconfig"],
            Self::Default => &["defconfig", "kvm_guest.config"],
            Self::File(_) => &["olddefconfig"],
            Self::Local { .. } => &["olddefconfig", "localmodconfig"],
        }
    }

    /// Reads its files.
    ///
    /// # Errors
    /// One that can't be read, or is something else.
    pub(super) fn load(&self) -> Result<LoadedBase, ConfigError> {
        let mut identity = self.targets().join(" ");
        let mut read = |path: &PathBuf| {
            let bytes =
                fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            identity += &format!(" {}", hex(Sha256::digest(&bytes)));
            Ok(bytes)
        };
        let config = match self {
            Self::Tiny | Self::Default => None,
            Self::File(config) => Some(configuration(config, read(config)?)?),
            Self::Local { lsmod, config } => {
                let configuration = configuration(config, read(config)?)?;
                check_lsmod(lsmod, &String::from_utf8_lossy(&read(lsmod)?))?;
                Some(configuration)
            }
        };
        Ok(LoadedBase { identity, config })
    }
}

fn configuration(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigError> {
    let other =
        |found| ConfigError::Other { path: path.to_owned(), wanted: "a kernel's configuration", found };
    let bytes =
        unpack_apart(bytes).map_err(|source| ConfigError::Compressed { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    match text.lines().any(|line| line.starts_with("CONFIG_")) {
        true => Ok(text.into_owned()),
        false => Err(other("no line of it begins with CONFIG_".to_owned())),
    }
}

/// `Module Size Used by`, and then a name and a size in each line; what is in /proc/modules begins like that, too.
fn check_lsmod(path: &Path, text: &str) -> Result<(), ConfigError> {
    let other = |found| ConfigError::Other { path: path.to_owned(), wanted: "what lsmod printed", found };
    if text.trim().is_empty() {
        return Err(other("it is empty".to_owned()));
    }
    let is_module =
        |line: &str| line.split_whitespace().nth(1).is_some_and(|size| size.parse::<u64>().is_ok());
    let is_good =
        |(index, line): &(usize, &str)| is_module(line) || *index == 0 && line.starts_with("Module");
    match text.lines().enumerate().find(|line| !is_good(line)) {
        Some((index, _)) => Err(other(format!("line {} has no name and size of a module", index + 1))),
        None => Ok(()),
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiny => write!(f, "tinyconfig"),
            Self::Default => write!(f, "defconfig and kvm_guest.config"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Local { lsmod, config } => {
                write!(f, "{}, only the modules in {}", config.display(), lsmod.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CONFIG: &str = "# Linux\nCONFIG_64BIT=y\n# CONFIG_SMP is not set\n";
    const LSMOD: &str = "Module                  Size  Used by\next4                  983040  1\n";

    struct Files(tempfile::TempDir);

    impl Files {
        fn of(bytes: &[(&str, &[u8])]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            bytes.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
            Self(folder)
        }

        fn local(&self) -> Result<LoadedBase, String> {
            let path = |name| self.0.path().join(name);
            let base = Base::Local { lsmod: path("lsmod"), config: path("config") };
            base.load().map_err(|error| error.to_string())
        }
    }

    #[test]
    fn files_are_read_and_part_of_the_identity() {
        let plain = Files::of(&[("config", CONFIG.as_bytes()), ("lsmod", LSMOD.as_bytes())]).local().unwrap();
        assert_eq!(plain.config.as_deref(), Some(CONFIG));
        let proc = b"ext4 983040 1 - Live 0xffffffffc0000000\n";
        let other = Files::of(&[("config", CONFIG.as_bytes()), ("lsmod", proc)]).local().unwrap();
        assert!(plain.identity != other.identity);
        assert!(Base::Tiny.load().unwrap().config.is_none());
    }

    #[test]
    fn a_running_kernels_configuration_is_compressed() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(CONFIG.as_bytes()).unwrap();
        let packed = gzip.finish().unwrap();
        let files = Files::of(&[("config", &packed), ("lsmod", LSMOD.as_bytes())]);
        assert_eq!(files.local().unwrap().config.as_deref(), Some(CONFIG));
        let cut = Files::of(&[("config", &packed[..12]), ("lsmod", LSMOD.as_bytes())]);
        assert!(cut.local().unwrap_err().contains("damaged"));
    }

    #[test]
    fn what_is_something_else_is_told() {
        let config =
            |bytes| Files::of(&[("config", bytes), ("lsmod", LSMOD.as_bytes())]).local().unwrap_err();
        assert!(config(b"\x7fELF\xff\xff").contains("config as a kernel's configuration: no line"));
        assert!(config(LSMOD.as_bytes()).contains("CONFIG_"));
        let lsmod =
            |bytes| Files::of(&[("config", CONFIG.as_bytes()), ("lsmod", bytes)]).local().unwrap_err();
        assert!(lsmod(b"").contains("lsmod as what lsmod printed: it is empty"));
        assert!(lsmod(CONFIG.as_bytes()).contains("line 1 has no name and size"));
        assert!(lsmod(b"Module Size Used by\next4 big\n").contains("line 2"));
    }
}
