//! A kernel as people name it, on the command line or in a scenario.

use std::path::{Path, PathBuf};

/// What people ask for; what they leave out is the project's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A series (`6.12`), the hash of a kernel that was built, a `vmlinuz`, or a Debian package's file.
    pub kernel: Option<String>,
    /// The modules of a kernel that was not built here: `/lib/modules/RELEASE`.
    pub modules: Option<PathBuf>,
    /// A folder, a tarball, a Debian source package, or a git repository (`REPOSITORY#REVISION`).
    pub source: Option<String>,
    /// A git revision of the source.
    pub revision: Option<String>,
    /// Where that is checked out already; the revision is then the tree's hash. What comes of it is what comes of the repository.
    pub checkout: Option<PathBuf>,
    /// A folder with patches, or `none`.
    pub series: Option<String>,
    /// `tiny`, `defconfig`, `localmodconfig:LSMOD[:CONFIG]`, or a configuration's file.
    pub config: Option<String>,
    /// Fragments: names of those in the project, or files.
    pub fragments: Vec<String>,
    /// Build with clang: `1`, or the version (`19`).
    pub llvm: Option<String>,
}

impl Wanted {
    /// A series by its name.
    pub fn series(name: &str) -> Self {
        Self { kernel: Some(name.to_owned()), ..Self::default() }
    }

    /// These wishes, and where they say nothing those of `other`. Who names a kernel or a source means all
    /// of it: then only the fragments of `other` are left.
    pub fn or(mut self, other: &Self) -> Self {
        let fragments = other.fragments.iter().chain(&self.fragments).cloned().collect();
        if self.kernel.is_none() && self.source.is_none() {
            self.kernel.clone_from(&other.kernel);
            self.source.clone_from(&other.source);
            self.revision = self.revision.or_else(|| other.revision.clone());
            self.checkout = self.checkout.or_else(|| other.checkout.clone());
            self.modules = self.modules.or_else(|| other.modules.clone());
            self.series = self.series.or_else(|| other.series.clone());
            self.config = self.config.or_else(|| other.config.clone());
            self.llvm = self.llvm.or_else(|| other.llvm.clone());
        }
        Self { fragments, ..self }
    }

    /// Paths that are relative, and are there below `folder`, become paths through it: a scenario's are relative
    /// to the scenario.
    pub fn relative_to(mut self, folder: &Path) -> Self {
        let place = |text: &mut String| {
            let path = folder.join(text.as_str());
            if Path::new(text).is_relative() && path.exists() {
                *text = path.display().to_string();
            }
        };
        if let Some(source) = &mut self.source {
            match source.rsplit_once('#') {
                Some((before, revision)) if !folder.join(&*source).exists() => {
                    let mut before = before.to_owned();
                    place(&mut before);
                    *source = format!("{before}#{revision}");
                }
                _ => place(source),
            }
        }
        // Names of series, hashes and ready-made fragments are no paths unless they look like one.
        let looks = |text: &&mut String| text.contains('/');
        self.kernel.as_mut().filter(looks).map(place);
        self.series.as_mut().filter(looks).map(place);
        self.fragments.iter_mut().filter(looks).for_each(place);
        if let Some(config) = self.config.as_mut().filter(|it| !it.starts_with("localmodconfig:")) {
            place(config);
        }
        if let Some(lsmod) =
            self.config.as_mut().and_then(|it| it.strip_prefix("localmodconfig:").map(str::to_owned))
        {
            let mut parts: Vec<String> = lsmod.split(':').map(str::to_owned).collect();
            parts.iter_mut().for_each(place);
            self.config = Some(format!("localmodconfig:{}", parts.join(":")));
        }
        self.modules = self.modules.map(|path| folder.join(path));
        self
    }
}
