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
    pub fn relative_to(self, folder: &Path) -> Self {
        self.placed(folder, |path| path)
    }

    /// Paths that are relative, and are there, become absolute: whoever takes them for relative to something else finds the same.
    pub fn absolute(self) -> Self {
        self.placed(Path::new(""), |path| std::path::absolute(&path).unwrap_or(path))
    }

    /// Paths that are there become those without links and `..`: what is the same file has the same name.
    pub fn canonical(self) -> Self {
        self.placed(Path::new(""), |path| std::fs::canonicalize(&path).unwrap_or(path))
    }

    fn placed(mut self, folder: &Path, whole: fn(PathBuf) -> PathBuf) -> Self {
        let place = |text: &mut String| {
            let path = folder.join(text.as_str());
            if path.exists() {
                *text = whole(path).display().to_string();
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
        self.modules = self.modules.map(|path| whole(folder.join(path)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a scenario names is looked for below its folder once, and not below that again by who runs it.
    #[test]
    fn an_absolute_path_stays_what_it_is_wherever_it_is_looked_for() {
        // Tests run in their crate's folder.
        let wanted = Wanted {
            modules: Some("wanted.rs".into()),
            source: Some("wanted.rs#v1".to_owned()),
            config: Some("wanted.rs".to_owned()),
            fragments: vec!["./wanted.rs".to_owned(), "kasan".to_owned()],
            ..Wanted::default()
        };
        let once = wanted.relative_to(Path::new("src")).absolute();
        let path = std::path::absolute("src/wanted.rs").unwrap();
        assert_eq!((once.modules.as_deref(), once.config.as_deref()), (Some(&*path), path.to_str()));
        assert_eq!(once.source, Some(format!("{}#v1", path.display())));
        assert_eq!(once.fragments[1], "kasan");
        assert_eq!(once.clone().relative_to(Path::new("src")), once);
    }
}
