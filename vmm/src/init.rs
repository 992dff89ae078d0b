//! `vmm init`: a first scenario for a driver's or a kernel's repository, and a workflow.

use crate::say;
use base::kbuild;
use clap::Args;
use harness::Abort;
use regex::Regex;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Write a first scenario for this repository, and a workflow for GitHub.
///
/// Looks at the folder: a kernel module (`obj-m` in a Kbuild or Makefile, in C or Rust), or a kernel's source. Nothing that
/// is there already is changed.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The repository
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Write no workflow
    #[arg(long)]
    no_workflow: bool,
}

/// What a repository is.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A kernel's source.
    Kernel,
    /// Modules: the folder that builds them, from the repository's, and their names.
    Modules { folder: PathBuf, names: Vec<String> },
}

/// Does it, and returns the exit code.
pub fn init(args: &InitArgs) -> u8 {
    say::outcome(write(args))
}

fn write(args: &InitArgs) -> Result<String, Abort> {
    let InitArgs { folder, no_workflow } = args;
    if !folder.is_dir() {
        return Err(Abort::input(format!("{}: there is no such folder", folder.display())));
    }
    let found = look(folder).ok_or_else(|| {
        let unread = |place: PathBuf| {
            let name = kbuild::misnamed(&place)?;
            (!modules(&place, &[name]).is_empty()).then_some((place, name))
        };
        if let Some((place, name)) = places(folder).find_map(unread) {
            return Abort::input(format!("{}: {}", place.display(), kbuild::advice(&place, name)));
        }
        Abort::input(format!(
            "{}: there is neither a kernel's source nor a Kbuild or Makefile with `obj-m` here or one folder below; name \
             the folder of a module: vmm init DIR",
            folder.display()
        ))
    })?;
    let mut files = vec![(PathBuf::from("vmm/first.yaml"), scenario(&found))];
    if !no_workflow {
        files.push((PathBuf::from(".github/workflows/vmm.yml"), WORKFLOW.to_owned()));
    }
    // Before anything is written: half of it would be worse than nothing.
    if let Some((there, _)) = files.iter().find(|(path, _)| folder.join(path).exists()) {
        return Err(Abort::input(format!(
            "{}: it is there already; remove it, or write the next scenario beside it (docs/scenarios.md)",
            folder.join(there).display()
        )));
    }
    let mut said = match &found {
        Found::Kernel => "this is a kernel's source\n".to_owned(),
        Found::Modules { names, .. } => format!("this builds {}\n", names.join(", ")),
    };
    for (path, text) in &files {
        let path = folder.join(path);
        let cannot =
            |error: std::io::Error| Abort::infra(format!("failed to write {}: {error}", path.display()));
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(cannot)?;
        fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(cannot)?;
        said += &format!("wrote {}\n", path.display());
    }
    Ok(said + &format!("next: vmm run {}\n", folder.join("vmm").display()))
}

fn look(folder: &Path) -> Option<Found> {
    let is_kernel = ["Kconfig", "Kbuild", "arch/x86", "scripts"].iter().all(|it| folder.join(it).exists());
    if is_kernel && fs::read_to_string(folder.join("Makefile")).is_ok_and(|it| it.contains("PATCHLEVEL =")) {
        return Some(Found::Kernel);
    }
    places(folder).find_map(|place| {
        let names = modules(&place, &kbuild::READ);
        let folder = place.strip_prefix(folder).unwrap_or(&place).to_owned();
        (!names.is_empty()).then_some(Found::Modules { folder, names })
    })
}

/// Where modules may be: the folder itself, and those in it.
fn places(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut below: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .collect();
    below.sort();
    std::iter::once(folder.to_owned()).chain(below)
}

/// The modules that a folder's makefile names, the first of these (Documentation/kbuild/modules.rst).
fn modules(folder: &Path, makefiles: &[&str]) -> Vec<String> {
    let text = makefiles.iter().find_map(|name| fs::read_to_string(folder.join(name)).ok());
    let Some(text) = text else { return Vec::new() };
    let line = Regex::new(r"(?m)^\s*obj-m\s*[:+]?=([^#\n]*)").expect("a constant pattern");
    let joined = text.replace("\\\n", " ");
    let words = line
        .captures_iter(&joined)
        .flat_map(|it| it[1].split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut names: Vec<String> =
        words.filter_map(|word| word.strip_suffix(".o").map(str::to_owned)).collect();
    names.retain(|name| !name.contains(['$', '/']));
    names.dedup();
    names
}

fn scenario(found: &Found) -> String {
    match found {
        Found::Kernel => KERNEL.to_owned(),
        Found::Modules { folder, names } => {
            let place = Path::new("..").join(folder).display().to_string();
            let place = place.trim_end_matches('/');
            let load: String = names.iter().map(|name| format!("  - insmod: {name}\n")).collect();
            let unload: String = names.iter().rev().map(|name| format!("  - rmmod: {name}\n")).collect();
            format!(
                "# A first scenario: the kernel takes the module and lets it go, and nothing is left behind.\n\
                 # What else can be written here: docs/scenarios.md of vmm.\n\
                 name: first\n\
                 tags: [quick]\n\
                 modules: [{place}]\n\
                 steps:\n{load}{unload}\
                 expect:\n  clean: [modules, devices, nodes, taint]\n"
            )
        }
    }
}

const KERNEL: &str = "\
# A first scenario: this kernel boots, and programs run.
# What else can be written here: docs/scenarios.md of vmm.
name: first
tags: [quick]
kernel: {source: .., series: none}
steps:
  - run: [uname, -r]
  - run: [sh, -c, \"ls /sys/module | wc -l\"]
";

/// The one that README shows.
const WORKFLOW: &str = concat!(
    "\
name: vmm
on: [push, pull_request]
jobs:
  guests:
    runs-on: ubuntu-latest
    container: {image: \"debian:12\", options: \"--device /dev/kvm\"}   # whose apt has the kernel's sources
    env: {VMM_CACHE: /var/cache/vmm}
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: OWNER/vmm@v",
    env!("CARGO_PKG_VERSION"),
    "          # OWNER: whose repository of vmm it is; it must have this release (make dist)
        with: {scenarios: vmm}
"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Found>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = look(folder.path());
        (folder, found)
    }

    #[test]
    fn modules_are_found_by_what_kbuild_would_build() {
        let names = |text: &str| match found(&[("Makefile", text)]).1 {
            Some(Found::Modules { names, .. }) => names,
            other => panic!("{other:?}"),
        };
        assert_eq!(names("obj-m := one.o\n"), ["one"]);
        assert_eq!(names("obj-m += one.o \\\n  two.o # three.o\none-y := a.o\n"), ["one", "two"]);
        assert_eq!(names("ifneq ($(KERNELRELEASE),)\n  obj-m := in.o\nelse\nall:\n\tmake\nendif\n"), ["in"]);
        let (_folder, below) = found(&[
            ("Makefile", "all:\n"),
            ("driver/Kbuild", "obj-m := rusty.o\n"),
            ("driver/rusty.rs", ""),
        ]);
        assert_eq!(below, Some(Found::Modules { folder: "driver".into(), names: vec!["rusty".into()] }));
        assert_eq!(found(&[("Makefile", "obj-y := x.o\n")]).1, None);
        assert_eq!(found(&[]).1, None);
    }

    #[test]
    fn a_makefile_that_the_kernel_does_not_read_is_told() {
        let (folder, _) = found(&[("a/makefile", "all:\n"), ("driver/makefile", "obj-m := one.o\n")]);
        let why = write(&InitArgs { folder: folder.path().to_owned(), no_workflow: true }).unwrap_err().why;
        assert!(why.contains("and no makefile; rename it: mv ") && why.contains("driver/Makefile"), "{why}");
    }

    #[test]
    fn what_is_written_is_a_scenario_and_nothing_is_written_over() {
        let (folder, _) = found(&[("Makefile", "obj-m := one.o\n"), ("one.c", "")]);
        let args = InitArgs { folder: folder.path().to_owned(), no_workflow: false };
        let said = write(&args).unwrap();
        assert!(said.contains("this builds one") && said.contains("next: vmm run"), "{said}");
        let scenario =
            scenario::load(&folder.path().join("vmm/first.yaml")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((scenario.name.as_str(), scenario.modules.len()), ("first", 1));
        assert!(folder.path().join(".github/workflows/vmm.yml").is_file());
        let again = write(&args).unwrap_err();
        assert_eq!(again.verdict, judge::Verdict::BadInput);
        fs::remove_file(folder.path().join("vmm/first.yaml")).unwrap();
        assert!(write(&args).is_err(), "the workflow is there");
        assert!(!folder.path().join("vmm/first.yaml").exists(), "so nothing was written");
        let nothing = InitArgs { folder: folder.path().join("vmm"), no_workflow: true };
        assert!(write(&nothing).unwrap_err().why.contains("obj-m"));
    }

    #[test]
    fn a_kernels_source_gets_a_scenario_that_boots_it() {
        let files =
            ["Kconfig", "Kbuild", "arch/x86/Kconfig", "scripts/x", "include/y"].map(|name| (name, ""));
        let (folder, found) =
            found(&[&files[..], &[("Makefile", "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 5\n")]].concat());
        assert_eq!(found, Some(Found::Kernel));
        write(&InitArgs { folder: folder.path().to_owned(), no_workflow: true }).unwrap();
        let scenario =
            scenario::load(&folder.path().join("vmm/first.yaml")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.kernel.series.as_deref(), Some("none"));
    }

    /// On GitHub's own Ubuntu the default kernel has no source: a workflow that is not tried there would end with 3.
    #[test]
    fn the_workflow_is_the_one_that_readme_shows() {
        assert!(include_str!("../../README.md").contains(&format!("```yaml\n{WORKFLOW}```\n")));
    }
}
