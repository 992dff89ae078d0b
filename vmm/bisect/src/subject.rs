//! What the history is of, and what a scenario has to become to be run at one of its commits.

use crate::{
    drive::Build,
    git::{GitError, Repository},
    sign::Sign,
};
use base::{
    cache::{self, CacheError},
    wanted::Wanted,
};
use judge::Verdict;
use kernel::patch::{PatchError, Series};
use scenario::{ModuleKind, ModuleSource, Scenario};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// What the history is of.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The kernel's source.
    Kernel(Repository),
    /// Modules; the kernel stays.
    Modules(Repository),
    /// A series of patches, in this folder; the commits are the patches' names.
    Series(PathBuf),
    /// A configuration: the good one, which is a whole configuration, and the lines by which the bad one differs. The commits are
    /// these lines.
    Config {
        /// The configuration without any of them.
        without: String,
        /// Lines that are always added.
        always: Vec<String>,
        /// All others.
        lines: Vec<String>,
    },
}

/// Where a commit is checked out, and what else is written.
#[derive(Clone, Debug)]
pub struct Places {
    /// A folder that is ours.
    pub work: PathBuf,
}

impl Places {
    /// Where a commit is checked out.
    pub fn tree(&self, build: Build) -> String {
        self.folder(build).join("tree").display().to_string()
    }

    fn folder(&self, build: Build) -> PathBuf {
        self.work.join(match build {
            Build::Kept => "search",
            Build::Fresh => "proof",
        })
    }
}

/// Why a commit can't be run, in the form of a run.
fn not_run(error: &GitError) -> Box<Sign> {
    Box::new(match error {
        GitError::Input(why) => Sign::without_run(Verdict::BadInput, why),
        GitError::Machine(error) => Sign::without_run(Verdict::Infra, &format!("failed to {error}")),
    })
}

impl Subject {
    /// The scenario as it has to be run at a commit. `wanted` is the kernel that is asked for otherwise.
    ///
    /// # Errors
    /// What the run comes to instead.
    pub fn at(
        &self,
        commit: &str,
        build: Build,
        scenario: &Scenario,
        wanted: &Wanted,
        places: &Places,
    ) -> Result<Scenario, Box<Sign>> {
        let mut scenario = Scenario { kernel: wanted.clone(), ..scenario.clone() };
        let folder = places.folder(build);
        let io = |error: CacheError| not_run(&error.into());
        match self {
            Self::Kernel(repository) => {
                // A build has a copy of its own of what is checked out.
                let folder = places.folder(Build::Kept);
                check_out(repository, commit, &folder)?;
                // What the scenario runs on otherwise is not what is searched.
                (scenario.kernel.kernel, scenario.kernel.modules) = (None, None);
                // By its tree, so that it is the same kernel as who names the revision gets.
                scenario.kernel.source = Some(repository.place().display().to_string());
                scenario.kernel.revision = Some(repository.tree(commit).map_err(|error| not_run(&error))?);
                scenario.kernel.checkout = Some(folder.join("tree"));
                fresh_kernel(&mut scenario.kernel, build, places).map_err(io)?;
            }
            Self::Modules(repository) => {
                check_out(repository, commit, &folder)?;
                let top = repository.top.clone().unwrap_or_default();
                for module in scenario.modules.iter_mut().filter(|module| self.has(module)) {
                    let Some(inside) = inside(&top, &module.path) else { continue };
                    module.path = folder.join("tree").join(inside);
                    if build == Build::Fresh && module.path.is_dir() {
                        // Modules are found by what they are made from: this makes them others.
                        let mark = module.path.join("fresh-for-bisect");
                        fs::write(&mark, commit).map_err(CacheError::io("write", &mark)).map_err(io)?;
                    }
                }
            }
            Self::Series(series) => {
                // It is our own copy, of which all could be read once.
                let part = part_of(series, commit, &folder).map_err(|error| {
                    Box::new(Sign::without_run(Verdict::Infra, &format!("failed to {error}")))
                })?;
                scenario.kernel.series = Some(part);
                fresh_kernel(&mut scenario.kernel, build, places).map_err(io)?;
            }
            Self::Config { without, always, lines } => {
                let text = configuration(without, always, lines, commit);
                fs::create_dir_all(&folder)
                    .map_err(CacheError::io("make the folder", &folder))
                    .map_err(io)?;
                // Its path is part of the build folder's name, so it stays the same.
                let file = folder.join("config");
                fs::write(&file, text).map_err(CacheError::io("write", &file)).map_err(io)?;
                scenario.kernel.config = Some(file.display().to_string());
                fresh_kernel(&mut scenario.kernel, build, places).map_err(io)?;
            }
        }
        Ok(scenario)
    }

    /// The same as it is now, whatever becomes of the user's files while it is searched: a series up to and with `last` is copied.
    pub(crate) fn kept(&self, last: &str, places: &Places) -> Result<Self, PatchError> {
        match self {
            Self::Series(folder) => {
                Ok(Self::Series(part_of(folder, last, &places.work.join("begun"))?.into()))
            }
            other => Ok(other.clone()),
        }
    }

    /// The modules' folders in their repository; `None` if their files lead out of them at one of these commits, or that can't be told, and
    /// anything may matter.
    pub fn folders(&self, scenario: &Scenario, places: &Places, ends: [&str; 2]) -> Option<Vec<PathBuf>> {
        let Self::Modules(repository) = self else { return None };
        let top = repository.top.as_ref()?;
        let modules = scenario.modules.iter().filter(|module| module.kind == ModuleKind::Folder);
        let folders: Vec<PathBuf> = modules.filter_map(|module| inside(top, &module.path)).collect();
        let checked_out = places.folder(Build::Kept);
        let tree = checked_out.join("tree");
        for end in ends {
            repository.check_out(end, &tree, &checked_out.join("index")).ok()?;
            if folders.iter().any(|folder| leads_out(&tree.join(folder))) {
                return None;
            }
        }
        Some(folders)
    }

    /// The scenario with its modules named by where they lie now: another commit may not have them, or have a link there, and the user's work
    /// tree is at any.
    pub fn placed(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.clone();
        for module in &mut scenario.modules {
            let placed = ModuleSource { path: real(&module.path), ..module.clone() };
            if self.has(&placed) {
                *module = placed;
            }
        }
        scenario
    }

    /// Whether the scenario has something in this history.
    pub fn concerns(&self, scenario: &Scenario) -> bool {
        !matches!(self, Self::Modules(_)) || scenario.modules.iter().any(|module| self.has(module))
    }

    /// Whether a module is taken from this history.
    pub(crate) fn has(&self, module: &ModuleSource) -> bool {
        let Self::Modules(Repository { top: Some(top), .. }) = self else { return false };
        module.kind == ModuleKind::Folder && inside(top, &module.path).is_some()
    }
}

/// A path's place in a folder, as [`Subject::placed`] has found it.
fn inside(top: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(top).ok().map(Path::to_owned)
}

/// Where a path leads, also if its end is not there now.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.components().fold(PathBuf::new(), |mut at, part| {
        match part {
            Component::ParentDir => _ = at.pop(),
            part => at.push(part),
        }
        fs::canonicalize(&at).unwrap_or(at)
    })
}

/// Whether a file in this folder is a link, or may name one that is not in it.
fn leads_out(folder: &Path) -> bool {
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(path),
                Ok(kind) if kind.is_symlink() => return true,
                _ if fs::read(&path).is_ok_and(|text| text.windows(3).any(|it| it == b"../")) => {
                    return true;
                }
                _ => {}
            }
        }
    }
    false
}

fn check_out(repository: &Repository, commit: &str, folder: &Path) -> Result<(), Box<Sign>> {
    fs::create_dir_all(folder)
        .map_err(CacheError::io("make the folder", folder))
        .map_err(|error| not_run(&error.into()))?;
    let missing = repository.check_out(commit, &folder.join("tree"), &folder.join("index"));
    for path in missing.map_err(|error| not_run(&error))? {
        let path = path.display();
        base::progress::note(&format!(
            "the submodule {path}, at this commit, is not in your work tree or was never fetched there, so it is left out; \
             `git submodule update --init`, or `git fetch` in it, brings it"
        ));
    }
    Ok(())
}

/// The old end of a series: without any patch.
pub const NO_PATCH: &str = "none of the patches";
/// The old end of a configuration: with no line of the bad one.
pub const NO_LINE: &str = "the good configuration";

/// A folder with the patches up to and with this one, for kernels that are built as those of the whole series.
fn part_of(series: &Path, last: &str, folder: &Path) -> Result<String, PatchError> {
    let names = patches(series)?;
    let count = match last {
        NO_PATCH => 0,
        last => names.iter().position(|name| name == last).map_or(names.len(), |at| at + 1),
    };
    let Series { patches, recipe } = Series::load(series)?;
    let patches =
        names.into_iter().zip(patches).take(count).map(|(name, patch)| (name, patch.text)).collect();
    let part = folder.join("series");
    cache::remove(&part)?;
    for (name, text) in kernel::patch::folder(patches, recipe) {
        let path = part.join(name);
        let folder = path.parent().unwrap_or(&part);
        fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    Ok(part.display().to_string())
}

/// The names of a series' patches, in order.
///
/// # Errors
/// There is no such file, or it asks for what is not done here.
pub fn patches(series: &Path) -> Result<Vec<String>, PatchError> {
    kernel::patch::names(series).map(|all| all.into_iter().map(|(_, name)| name).collect())
}

/// Makes a kernel another one, by the name that it gives itself, in a build folder of this bisection's own, by the fragment's name.
fn fresh_kernel(kernel: &mut Wanted, build: Build, places: &Places) -> Result<(), CacheError> {
    if build == Build::Fresh {
        let folder = places.folder(build);
        fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        let name = places.work.file_name().unwrap_or_default().to_string_lossy();
        let file = folder.join(format!("proof-of-{name}.config"));
        // Another bisection, which would remove it, has another one. A release has 64 letters at most.
        let text = format!("CONFIG_LOCALVERSION=\"-proof-{}\"\n", name.trim_start_matches("bisect-"));
        fs::write(&file, text).map_err(CacheError::io("write", &file))?;
        kernel.fragments.push(file.display().to_string());
    }
    Ok(())
}

/// The configuration with the lines up to and with `last`.
fn configuration(without: &str, always: &[String], lines: &[String], last: &str) -> String {
    let symbol =
        |line: &str| line.trim_start_matches("# ").split(['=', ' ']).next().unwrap_or_default().to_owned();
    let upto = lines.iter().position(|line| line == last).map_or(0, |at| at + 1);
    let added: Vec<&String> = always.iter().chain(&lines[..upto]).collect();
    let symbols: Vec<String> = added.iter().map(|line| symbol(line)).collect();
    let kept = without.lines().filter(|line| !symbols.contains(&symbol(line)));
    kept.map(str::to_owned).chain(added.into_iter().cloned()).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_bad_configuration_replace_those_of_the_good_one() {
        let without = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=3\n";
        let lines = ["CONFIG_B=y", "# CONFIG_C is not set"].map(str::to_owned);
        assert_eq!(configuration(without, &[], &lines, NO_LINE), without);
        let one = configuration(without, &[], &lines, "CONFIG_B=y");
        assert_eq!(one, "CONFIG_A=y\nCONFIG_C=3\nCONFIG_B=y\n");
        let both = configuration(without, &lines[1..], &lines[..1], "CONFIG_B=y");
        assert_eq!(both, "CONFIG_A=y\n# CONFIG_C is not set\nCONFIG_B=y\n");
    }

    /// README: the work tree may change meanwhile. Each further commit would be skipped, and the state keeps that.
    #[test]
    fn a_module_is_found_at_its_commit_wherever_the_work_tree_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let git = |words: &[&str]| {
            let mut git = std::process::Command::new("git");
            kernel::LED.iter().for_each(|name| _ = git.env_remove(name));
            git.arg("-C").arg(at("repository")).args(["-c", "user.name=A", "-c", "user.email=a@b.c"]);
            assert!(git.args(words).status().unwrap().success());
        };
        fs::create_dir_all(at("repository/mine")).unwrap();
        fs::write(at("repository/mine/Makefile"), "obj-m := mine.o\n").unwrap();
        let path = at("repository/s.yaml");
        fs::write(&path, "modules: [../repository/mine]\nsteps:\n- sleep: 1 s\n").unwrap();
        git(&["init", "--quiet"]);
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "-m", "first"]);
        let subject = Subject::Modules(Repository::open(&at("repository/mine")).unwrap());
        let given = scenario::load(&path).unwrap();
        let scenario = subject.placed(&given);
        assert!(subject.concerns(&scenario));
        fs::remove_dir_all(at("repository/mine")).unwrap();
        let again = subject.placed(&given);
        assert_eq!(again.modules[0].path, scenario.modules[0].path, "who goes on from there");
        let places = Places { work: at("work") };
        let run = subject.at("HEAD", Build::Kept, &scenario, &Wanted::default(), &places).unwrap();
        assert_eq!(run.modules[0].path, at("work/search/tree/mine"));
        assert!(run.modules[0].path.join("Makefile").exists());
    }

    /// README: `work/` may be deleted. All further patches would be skipped.
    #[test]
    fn a_copy_of_a_series_that_somebody_deleted_is_no_patchs_fault() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("all")).unwrap();
        fs::write(at("all/1.patch"), "1").unwrap();
        fs::write(at("all/series"), "1.patch\n").unwrap();
        let path = at("s.yaml");
        fs::write(&path, "steps:\n- sleep: 1 s\n").unwrap();
        let scenario = scenario::load(&path).unwrap();
        let places = Places { work: at("work") };
        let subject = Subject::Series(at("all")).kept("1.patch", &places).unwrap();
        let run = || subject.at("1.patch", Build::Kept, &scenario, &Wanted::default(), &places);
        assert!(run().is_ok());
        fs::remove_dir_all(at("work")).unwrap();
        assert_eq!(run().unwrap_err().verdict, Verdict::Infra.name());
    }

    /// The bad end includes a header from elsewhere, the good one did not yet: whoever looks at one of them would leave out what changed it.
    #[test]
    fn a_module_leads_out_of_its_folder_if_it_does_so_at_one_end() {
        let sandbox = crate::git::tests::Sandbox::new();
        sandbox.write("s.yaml", "modules: [driver]\nsteps:\n- insmod: driver\n");
        sandbox.commit("driver/Makefile", "obj-m := driver.o\n");
        let good = sandbox.commit("driver/driver.c", "alone");
        let bad = sandbox.commit("driver/driver.c", "#include \"../common/ring.h\"");
        let scenario = scenario::load(&sandbox.folder.path().join("s.yaml")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let places = Places { work: elsewhere.path().to_owned() };
        let subject = Subject::Modules(sandbox.repository());
        let of = |ends: [&str; 2]| subject.folders(&scenario, &places, ends);
        assert_eq!(of([&good, &good]), Some(vec!["driver".into()]));
        assert_eq!((of([&good, &bad]), of([&bad, &good])), (None, None));
        assert_eq!(of([&good, &"f".repeat(40)]), None);
    }

    /// Each removes its kernels when it ends.
    #[test]
    fn two_bisections_have_no_kernel_of_the_proof_in_common() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| {
            let mut kernel = Wanted::default();
            let places = Places { work: folder.path().join(name) };
            fresh_kernel(&mut kernel, Build::Fresh, &places).unwrap();
            fs::read_to_string(&kernel.fragments[0]).unwrap()
        };
        assert_eq!(text("bisect-5c4aea69d53f"), "CONFIG_LOCALVERSION=\"-proof-5c4aea69d53f\"\n");
        assert_ne!(text("bisect-5c4aea69d53f"), text("bisect-ffffaea69d53"));
    }

    #[test]
    fn a_part_of_a_series_is_a_series() {
        let folder = tempfile::tempdir().unwrap();
        let series = folder.path().join("all");
        fs::create_dir(&series).unwrap();
        for name in ["1.patch", "2.patch", "3.patch"] {
            fs::write(series.join(name), name).unwrap();
        }
        fs::write(series.join("series"), "# ours\n1.patch\n2.patch -p1\n3.patch\n").unwrap();
        assert_eq!(patches(&series).unwrap(), ["1.patch", "2.patch", "3.patch"]);
        fs::write(series.join("recipe.yaml"), "compiler: llvm\n").unwrap();
        let recipe = |part: &Path| fs::read_to_string(part.join("recipe.yaml")).unwrap();
        let none = PathBuf::from(part_of(&series, NO_PATCH, folder.path()).unwrap());
        assert_eq!(patches(&none).unwrap(), [""; 0]);
        assert_eq!(recipe(&none), "compiler: llvm\n");
        let part = PathBuf::from(part_of(&series, "2.patch", folder.path()).unwrap());
        assert_eq!(patches(&part).unwrap(), ["1.patch", "2.patch"]);
        assert!(!part.join("3.patch").exists());
        assert_eq!(recipe(&part), "compiler: llvm\n");
        // Who edits one while it is searched changes nothing of this search.
        let places = Places { work: folder.path().join("work") };
        let Subject::Series(kept) = Subject::Series(series.clone()).kept("3.patch", &places).unwrap() else {
            panic!()
        };
        fs::write(series.join("1.patch"), "edited").unwrap();
        fs::write(series.join("series"), "1.patch\n").unwrap();
        fs::remove_file(series.join("recipe.yaml")).unwrap();
        assert_eq!(patches(&kept).unwrap(), ["1.patch", "2.patch", "3.patch"]);
        assert_eq!(fs::read_to_string(kept.join("1.patch")).unwrap(), "1.patch");
        assert_eq!(recipe(&kept), "compiler: llvm\n");
    }
}
