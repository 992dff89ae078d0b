//! A scenario's modules: built or taken as they are, and held against the kernel before anything boots.

use crate::Abort;
use base::{
    cache::Cache,
    module::{is_same_module, kernels_name},
    text,
};
use judge::Build;
use kernel::Kernel;
use module::preflight::{self, Candidate, Facts, Gravity, Problem, Way};
use plan::image::GuestModule;
use scenario::model::{
    Action, Check, Interval, ModuleKind, ModuleSource, Num, Scenario, Step, Want, module_path,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Modules that the kernel will take.
pub(crate) struct Modules {
    /// For the image.
    pub modules: Vec<GuestModule>,
    /// Where they come from.
    pub builds: Vec<Build>,
    /// Their parameters, by the names that the kernel gives them.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// How long it took to look at them.
    pub preflight: Duration,
}

/// What the scenario needs of the kernel's configuration. Cheap, so it comes before anything is built.
pub(crate) fn needs(scenario: &Scenario, facts: &Facts) -> Result<(), Abort> {
    match plan::needs::lacking(scenario, facts) {
        None => Ok(()),
        Some(diagnostics) => Err(Abort::input(diagnostics.to_string())),
    }
}

/// What is wrong with files and folders whatever kernel they are for. Cheap, so it comes before a kernel is built.
pub(crate) fn look(sources: &[ModuleSource]) -> Result<(), Abort> {
    let of = |kind| sources.iter().filter(move |source| source.kind == kind).map(|source| &source.path);
    for folder in of(ModuleKind::Folder) {
        module::look(&text::path(folder)).map_err(|error| Abort::fault(&error, error.fault()))?;
    }
    let load = |path: &PathBuf| Candidate::load(path, path, Way::Given).err();
    let problems: Vec<Problem> = of(ModuleKind::Object).filter_map(load).collect();
    refuse(problems.iter())
}

/// The modules that the kernel should refuse, by the steps that load them, as the kernel calls them: what a lesson is about is
/// no mistake in it.
pub(crate) fn unwanted(scenario: &Scenario) -> BTreeSet<String> {
    // Where it succeeds, a step that loads returns 0, and a program exits with it.
    let no_success = |range: &Interval| {
        matches!(range.low, Some(Num::Int(1..))) || matches!(range.high, Some(Num::Int(..0)))
    };
    let fails = |check: &Check| match &check.want {
        Want::Errno(_) => true,
        Want::Returns(range) | Want::Exit(range) => no_success(range),
        _ => false,
    };
    let name = |step: &Step| match &step.action {
        Action::Insmod { module, .. } | Action::Reload { module, .. } => Some(kernels_name(module)),
        Action::Modprobe { module, remove: false, .. } => Some(kernels_name(module)),
        _ => None,
    };
    scenario.steps.iter().filter(|step| step.checks.iter().any(fails)).filter_map(name).collect()
}

/// Builds or finds every module, and looks whether the kernel will take them, all together. Of a file that it should not take
/// (`unwanted`) that is only told.
pub(crate) fn prepare(
    sources: &[ModuleSource],
    unwanted: &BTreeSet<String>,
    kernel: &Kernel,
    facts: &Facts,
    cache: &Cache,
) -> Result<Modules, Abort> {
    let mut files = Vec::new();
    let mut builds = Vec::new();
    // A folder may use what those before it export.
    let mut exports = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let path = &source.path;
        let mut build = Build {
            source: path.clone(),
            modules: Vec::new(),
            files: Vec::new(),
            cached: true,
            warnings: Vec::new(),
        };
        match source.kind {
            ModuleKind::Object => files.push((index, path.clone(), path.clone(), path.clone(), Way::Given)),
            ModuleKind::Folder => {
                let folder = text::path(path);
                let built = module::build(&folder, &exports, kernel, cache)
                    .map_err(|error| Abort::fault(&error, error.fault()))?;
                exports.extend(built.exports);
                let built = built.modules;
                build.cached = built.iter().all(|module| module.cached);
                build.warnings = built.first().map(|module| module.warnings.clone()).unwrap_or_default();
                for module in built {
                    let shown = folder.join(format!("{}.ko", module.name));
                    files.push((index, module.whole, module.ko, shown, Way::Built));
                }
            }
        }
        builds.push(build);
    }

    let start = Instant::now();
    let (mut candidates, mut problems) = (Vec::new(), Vec::new());
    for (_, _, path, shown, way) in &files {
        match Candidate::load(path, shown, *way) {
            Ok(candidate) => candidates.push(candidate),
            Err(problem) => problems.push(problem),
        }
    }
    let checked = preflight::check(&candidates, facts, cache);
    problems.extend(checked.problems);
    let preflight = start.elapsed();
    refuse(mistakes(&problems, &candidates, unwanted))?;

    for ((index, whole, ..), candidate) in files.iter().zip(&candidates) {
        let build = &mut builds[*index];
        // Lines are read from it.
        build.files.push(whole.clone());
        build.modules.push(candidate.name.clone());
        let about = problems.iter().filter(|problem| problem.shown == candidate.shown);
        build.warnings.extend(about.map(Problem::to_string));
    }
    let module = |candidate: Candidate| GuestModule { name: candidate.name, bytes: candidate.bytes };
    Ok(Modules {
        modules: candidates.into_iter().map(module).collect(),
        builds,
        parameters: checked.parameters,
        preflight,
    })
}

/// Whether there is what the steps call a module. Of some folders that is known once they are built, and of aliases always.
pub(crate) fn named(scenario: &Scenario, modules: &[GuestModule]) -> Result<(), Abort> {
    let Some((step, name)) = missing(scenario, modules) else { return Ok(()) };
    let nearest = base::diagnostic::nearest(name, modules.iter().map(|module| &*module.name));
    let nearest = nearest.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    let (scenario, line) = (scenario.path.display(), step.line);
    Err(Abort::input(format!("{scenario}:{line}: no module named `{name}` comes of `modules`{nearest}")))
}

/// The first step that names a module which is not there, and that name.
pub(crate) fn missing<'a>(scenario: &'a Scenario, modules: &[GuestModule]) -> Option<(&'a Step, &'a str)> {
    scenario.steps.iter().find_map(|step| {
        let (name, found) = match &step.action {
            Action::Insmod { module: name, .. }
            | Action::Reload { module: name, .. }
            | Action::Rmmod { module: name }
            | Action::Modinfo { module: name } => {
                (name, modules.iter().any(|module| is_same_module(&module.name, name)))
            }
            Action::Modprobe { module: name, .. } => {
                let is = |module: &GuestModule| {
                    is_same_module(&module.name, name) || has_alias(&module.bytes, name)
                };
                (name, modules.iter().any(is) || configures_modprobe(scenario))
            }
            _ => return None,
        };
        (!found && !brings(scenario, name)).then_some((step, &**name))
    })
}

/// Whether a scenario has a module of this name among its files.
fn brings(scenario: &Scenario, name: &str) -> bool {
    let path = module_path(name);
    scenario.files.iter().any(|file| file.guest.starts_with(&path))
}

/// The scenario with its modules called as their files are, if a step calls one as only the kernel does.
pub(crate) fn by_file_names(scenario: &Scenario, modules: &[GuestModule]) -> Option<Scenario> {
    let file = |name: &str| {
        let is_there = brings(scenario, name) || modules.iter().any(|module| module.name == name);
        let same = || modules.iter().find(|module| is_same_module(&module.name, name));
        if is_there { None } else { same().map(|module| module.name.clone()) }
    };
    let mut named = scenario.clone();
    let mut changed = false;
    for step in &mut named.steps {
        if let Action::Insmod { module, .. } | Action::Reload { module, .. } = &mut step.action
            && let Some(name) = file(module)
        {
            *module = name;
            changed = true;
        }
    }
    changed.then_some(named)
}

/// Whether a module says in its `.modinfo` that it goes by this name too; a `*` there stands for whatever follows.
fn has_alias(object: &[u8], name: &str) -> bool {
    let name = kernels_name(name);
    object.split(|byte| *byte == 0).filter_map(|text| text.strip_prefix(b"alias=")).any(|alias| {
        let alias = kernels_name(&String::from_utf8_lossy(alias));
        alias.split_once('*').map_or(alias == name, |(begin, _)| name.starts_with(begin))
    })
}

/// Whether the scenario itself gives modules other names, or may.
fn configures_modprobe(scenario: &Scenario) -> bool {
    const FOLDER: &str = "/etc/modprobe.d";
    let writes =
        |step: &Step| matches!(&step.action, Action::WriteFile { path, .. } if path.starts_with(FOLDER));
    // Nobody reads here what a script or a program of the scenario's own does.
    let names_brought = |text: &str| {
        let words = text.split(|c: char| !(c.is_alphanumeric() || "/._-+".contains(c)));
        let mut paths = words.map(|word| Path::new("/").join(word));
        paths.any(|path| scenario.files.iter().any(|file| path.starts_with(&file.guest)))
    };
    let runs = |step: &Step| match &step.action {
        Action::Run { argv, stdin, .. } => {
            let stdin = stdin.written();
            let mut said =
                argv.iter().map(|word| word.as_bytes()).chain([&*stdin]).map(String::from_utf8_lossy);
            said.any(|text| text.contains("modprobe.d") || names_brought(&text))
        }
        _ => false,
    };
    scenario.files.iter().any(|file| file.guest.starts_with(FOLDER))
        || scenario.steps.iter().any(|step| writes(step) || runs(step))
}

/// The problems but those of files that the kernel should refuse.
fn mistakes<'a>(
    problems: &'a [Problem],
    candidates: &[Candidate],
    unwanted: &BTreeSet<String>,
) -> impl Iterator<Item = &'a Problem> {
    let meant = |one: &&Candidate| one.way == Way::Given && unwanted.contains(&kernels_name(&one.name));
    let meant: BTreeSet<&PathBuf> = candidates.iter().filter(meant).map(|one| &one.shown).collect();
    problems.iter().filter(move |problem| !meant.contains(&problem.shown))
}

/// All errors at once: who mends the first wants to know of the second. What was built and is no good is a
/// verdict; of files that were given, bad input.
fn refuse<'a>(problems: impl Iterator<Item = &'a Problem>) -> Result<(), Abort> {
    let errors: Vec<&Problem> = problems.filter(|problem| problem.gravity == Gravity::Error).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let text = errors.iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\nerror: ");
    Err(Abort { verdict: first.fault.into(), why: text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenario::fixture::scenario;

    #[test]
    fn a_module_may_be_called_as_the_kernel_calls_it() {
        let loads = |name: &str, files: &str| {
            let scenario = scenario(&format!(
                "modules: [../modules/dashed]\n{files}steps:\n- insmod: {name}\n- reload: {name}\n- rmmod: {name}\n"
            ));
            let modules = [GuestModule { name: "my-driver".into(), bytes: Vec::new() }];
            assert!(named(&scenario, &modules).is_ok(), "{name}");
            let scenario = by_file_names(&scenario, &modules)?;
            let [Action::Insmod { module: one, .. }, Action::Reload { module: other, .. }] =
                [&scenario.steps[0].action, &scenario.steps[1].action]
            else {
                panic!("{:?}", scenario.steps)
            };
            assert_eq!(one, other);
            Some(one.clone())
        };
        assert_eq!(loads("my_driver", "").as_deref(), Some("my-driver"));
        assert_eq!(loads("my-driver", ""), None);
        let own = "files: {/lib/modules/my_driver.ko: test.yaml}\n";
        assert_eq!(loads("my_driver", own), None, "the scenario brings one of this name");
    }

    fn refusal(step: &str) -> Option<String> {
        // Its last line is there so that nothing is taken for a typo when it is loaded.
        let files = "files: {/setup.sh: test.yaml, /tests: ../modules/hello}";
        let scenario = format!("modules: [../modules/hello]\n{files}\nsteps:\n{step}\n# modprobe.d\n");
        let scenario = scenario::fixture::scenario(&scenario);
        let bytes = b"\0alias=fs-drv\0alias=char-major-240-*\0".to_vec();
        let modules = [GuestModule { name: "hello-module".into(), bytes }];
        named(&scenario, &modules).err().map(|abort| abort.why)
    }

    #[test]
    fn a_file_that_the_kernel_should_refuse_is_no_mistake() {
        let wanted = |step: &str| {
            unwanted(&scenario(&format!("modules: [../modules/hello]\nsteps:\n- {step}\n")))
                .contains("helloModule")
        };
        for step in [
            "{insmod: helloModule, expect: ENOEXEC}",
            "{insmod: helloModule, expect: {errno: ENOENT, log: Unknown symbol}}",
            "{insmod: helloModule, expect: -8}",
            "{modprobe: helloModule, expect: 1}",
            "{modprobe: helloModule, expect: {exit: {at-least: 1}}}",
            "{reload: helloModule, expect: ENOENT}",
        ] {
            assert!(wanted(step), "{step}");
        }
        for step in [
            "{insmod: helloModule}",
            "{insmod: helloModule, expect: 0}",
            "{insmod: helloModule, expect: {log: Unknown symbol}}",
            "{modprobe: helloModule, expect: {exit: {at-most: 1}}}",
            "{rmmod: helloModule, expect: ENOENT}",
        ] {
            assert!(!wanted(step), "{step}");
        }
        let candidate = |name: &str, way| {
            let shown = PathBuf::from(format!("{name}.ko"));
            Candidate { shown, name: name.into(), way, bytes: Vec::new() }
        };
        let candidates =
            [candidate("a-b", Way::Given), candidate("built", Way::Built), candidate("other", Way::Given)];
        let problem = |one: &Candidate| Problem {
            shown: one.shown.clone(),
            what: "is bad".into(),
            fault: base::cache::Fault::Input,
            gravity: Gravity::Error,
        };
        let problems = candidates.each_ref().map(problem);
        let unwanted = ["a_b", "built"].map(str::to_owned).into();
        let left: Vec<&PathBuf> =
            mistakes(&problems, &candidates, &unwanted).map(|problem| &problem.shown).collect();
        assert_eq!(left, [&PathBuf::from("built.ko"), &PathBuf::from("other.ko")]);
        assert!(refuse(mistakes(&problems, &candidates, &unwanted)).is_err());
        assert!(refuse(mistakes(&problems[..1], &candidates, &unwanted)).is_ok());
    }

    #[test]
    fn steps_name_modules_that_were_built() {
        // By the makefile its name is another one, as of a folder whose makefile nobody understands.
        let why = refusal("- {insmod: helloModule, expect: ENOENT}").unwrap();
        assert!(why.contains(":4: no module named `helloModule`") && why.contains("hello-module"), "{why}");
        for alias in ["hello_module", "fs-drv", "char-major-240-7"] {
            assert_eq!(refusal(&format!("- modprobe: {alias}")), None, "{alias}");
        }
        assert!(refusal("- modprobe: fs-other").is_some());
        let alias = "- {file: /etc/modprobe.d/a.conf, write: 'alias x hello-module'}\n- modprobe: x";
        assert_eq!(refusal(alias), None);
        for (step, may) in [
            ("- script: cd /etc; echo alias x hello-module >modprobe.d/a.conf", true),
            ("- run: [/bin/sh, -c, 'echo alias x hello-module >/etc/modprobe.d/a']", true),
            ("- {run: [/bin/tee, /etc/modprobe.d/a.conf], stdin: alias x hello-module}", true),
            ("- run: [/bin/sh, /setup.sh]", true),
            ("- script: cd / && sh ./setup.sh", true),
            ("- {run: [/bin/sh], stdin: '. /tests/names.sh'}", true),
            ("- run: [/bin/sh, /other.sh, /setup.sh.bak]", false),
            ("- run: [/bin/true]", false),
            ("- script: modprobe x", false),
        ] {
            assert_eq!(refusal(&format!("{step}\n- modprobe: x")).is_none(), may, "{step}");
        }
    }
}
